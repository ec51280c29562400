//! The life of a request: read its head -> identify -> register -> admit (resolve, hold, leg) -> exchange -> relay (promise
//! A1, A3). A table of contents; each stage is a file.
//!
//! It is a task of its own: a client that goes away does not take it along before its leg is over.

use std::sync::Arc;

use http::{Method, Version};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::ext::Protocol;
use mailswitch_config::protocol::Keyword as _;
use mailswitch_http_rules::{Opening, Received, Rest as Following};
use mailswitch_telemetry::name;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::answer::ToClient;
use super::connection::Connection;
use super::exchange::{self, Exchanged, Going};
use super::identify::identify;
use super::path::{MayReuse, Path, Wants};
use super::relay::Relay;
use super::upgrade;
use super::upload::Rest;
use crate::session::admit::{self, Outcome};
use crate::sessions::{About, LegIsOver, current_trace};

/// What follows the head of an answer. It may go on for a day, and nothing of what came before is kept for it.
pub(super) enum Then {
    /// Its body.
    Body(Box<Relay>),
    /// The connection is a WebSocket.
    WebSocket(Box<upgrade::Switched>),
    Nothing,
}

/// Serves one request, to the end of its leg.
pub(super) async fn serve(
    request: Request<Incoming>,
    number: u64,
    to_client: ToClient,
    connection: Arc<Connection>,
) {
    let id = connection.session_id(number);
    let protocol = connection.front.listener.protocol.as_str();
    // As of a session: the fields of the log lines, and the attributes of the span.
    let span = tracing::error_span!(
        parent: None,
        name::span::REQUEST,
        session = %id,
        listener = %connection.front.name,
        protocol,
        peer = %connection.ends.client,
        user = tracing::field::Empty,
    );
    span.set_attribute(name::SESSION, id.to_string());
    span.set_attribute(name::LISTENER, connection.front.name.to_string());
    span.set_attribute(name::PROTOCOL, protocol);
    span.set_attribute(name::CLIENT_ADDRESS, connection.ends.client.ip().to_string());
    span.set_attribute(name::HTTP_METHOD, known_method(request.method()));
    let about = async {
        About {
            id,
            protocol: connection.front.listener.protocol,
            client: connection.ends.client,
            listener: Arc::clone(&connection.front.name),
            trace: current_trace(),
        }
    };
    let begin = async { begin(request, about.await, to_client, &connection).await };
    // The span ends here: what follows may take a day.
    match begin.instrument(span).await {
        Then::Body(relay) => relay.run(&connection).await,
        Then::WebSocket(switched) => switched.run().await,
        Then::Nothing => {}
    }
}

async fn begin(
    request: Request<Incoming>,
    about: About,
    to_client: ToClient,
    connection: &Arc<Connection>,
) -> Then {
    let Some((received, mut going)) = read(request, to_client, connection) else {
        return Then::Nothing;
    };
    let mut may_reuse = MayReuse::Yes;
    loop {
        let identified = match identify(&received, &mut going.rest, connection).await {
            Ok(identified) => identified,
            Err(error) => {
                going.to_client.not_identified(&error);
                return Then::Nothing;
            }
        };
        // Registration comes before the first look at the mapping (promise A2).
        let sessions = connection.front.node.knowledge.sessions();
        let registered = sessions.register(identified.acting_for.clone(), about.clone());
        if !identified.is_current(&connection.front) {
            tracing::debug!("the configuration changed: identified again");
            registered.unregister(LegIsOver::never_stood());
            continue;
        }
        let mut path = Path {
            connection,
            acting_for: &identified.acting_for,
            wants: received.upgrade().map_or(Wants::Exchange, |_| Wants::WebSocket),
            may_reuse,
            dialled: None,
        };
        let admitted = match admit::admit(registered, &mut path, going.client_gone(connection)).await {
            Outcome::Admitted(admitted) => {
                connection.signed_in();
                admitted
            }
            Outcome::TemporaryFailure(failure) => {
                going.to_client.temporary_failure(&failure, path.dialled.as_ref());
                return Then::Nothing;
            }
            Outcome::Refused(()) | Outcome::ClientGone => {
                tracing::debug!("the client left before its request was answered");
                return Then::Nothing;
            }
        };
        match exchange::exchange(admitted, &received, identified.expect, going, connection).await {
            Exchanged::Over => return Then::Nothing,
            Exchanged::Relaying(relay) => return Then::Body(relay),
            Exchanged::Switched(switched) => return Then::WebSocket(switched),
            Exchanged::Again(again) => {
                going = *again;
                may_reuse = MayReuse::No;
            }
        }
    }
}

/// None: it has more than one meaning, or is not ours to serve, and was refused.
fn read(
    mut request: Request<Incoming>,
    to_client: ToClient,
    connection: &Connection,
) -> Option<(Received, Going)> {
    let upgraded = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let protocol = head.extensions.get::<Protocol>().cloned();
    let opening = match head.version {
        Version::HTTP_2 => Opening::Http2 {
            protocol: protocol.as_ref().map(Protocol::as_str),
            rest: if body.is_end_stream() {
                Following::Ended
            } else {
                Following::Follows
            },
        },
        _ => Opening::Http1,
    };
    match Received::read(head, opening, &connection.front.node.pseudonym) {
        Ok(received) => {
            let rest = Rest::new(body, received.body());
            let going = Going {
                to_client,
                rest,
                upgraded,
            };
            Some((received, going))
        }
        Err(refusal) => {
            to_client.refuse(refusal);
            None
        }
    }
}

/// For the span: a client may write anything (the convention of `http.request.method`).
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 16] = [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "DELETE",
        "OPTIONS",
        "PATCH",
        "TRACE",
        "CONNECT",
        "PROPFIND",
        "PROPPATCH",
        "REPORT",
        "MKCOL",
        "MKCALENDAR",
        "COPY",
        "MOVE",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("_OTHER")
}
