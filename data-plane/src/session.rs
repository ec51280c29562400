//! The life of a session: accept -> PROXY header -> TLS -> dialogue -> identify -> register -> admit (resolve, hold,
//! dial, backend TLS, forward identity, replay) -> bridge -> close -> report (design section 6).
//!
//! `run` is its table of contents. Each stage gives the value that the next one needs, so none can be skipped, and
//! what a stage held is freed with it: the bridge is a task of its own.

pub mod admit;
pub(crate) mod answer;
mod arrive;
pub mod bridge;
pub(crate) mod close;
pub mod control;
mod dialogue;
mod identify;
mod legs;
pub(crate) mod pass_through;
mod secure;

use std::sync::Arc;

use mailswitch_config::ListenerName;
use mailswitch_config::protocol::Keyword as _;
use mailswitch_config::table::listener::Listener;
use mailswitch_dialogue::{ClientLeg, Protocol};
use mailswitch_telemetry::name;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use self::admit::Outcome;
use self::control::Connection;
use crate::backend::announce::ClientEnds;
use crate::drive::Leg;
use crate::listen::{Accepted, Permit};
use crate::node::Node;
use crate::sessions::{About, LegIsOver, SessionId, current_trace};

/// What the sessions of one listener share.
#[derive(Debug)]
pub struct Front {
    /// Its table.
    pub listener: Arc<Listener>,
    /// Its name, for what is listed of a session.
    pub name: Arc<ListenerName>,
    /// What is done with its connections.
    pub speaks: Speaks,
    /// The node.
    pub node: Arc<Node>,
}

/// What a listener does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// It reads a login in this protocol, and routes by it.
    Mail(Protocol),
    /// It passes the connection through (SMTP, LMTP).
    Nothing,
    /// It routes each request.
    Http,
}

/// A client's connection, from here to its end.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: SessionId,
    pub(crate) ends: ClientEnds,
    pub(crate) permit: Permit,
    pub(crate) connection: Connection,
}

impl Client {
    /// What is listed of its session.
    fn about(&self, front: &Front) -> About {
        About {
            id: self.id.clone(),
            protocol: front.listener.protocol,
            client: self.ends.client,
            listener: Arc::clone(&front.name),
            trace: current_trace(),
        }
    }
}

/// Serves one connection. Ends when its bridge begins, or when there is none.
pub async fn run(accepted: Accepted, front: Arc<Front>) {
    let id = new_id();
    let protocol = front.listener.protocol.as_str();
    // The fields are those of the log lines (behaviour §12); the attributes are the span's own. Of the highest level,
    // because a line has the fields only of those spans that the log's filter lets pass.
    let span = tracing::error_span!(
        name::span::SESSION,
        session = %id,
        listener = %front.name,
        protocol,
        // Known when it has arrived; said twice, a line would have both.
        peer = tracing::field::Empty,
        user = tracing::field::Empty,
    );
    span.set_attribute(name::SESSION, id.to_string());
    span.set_attribute(name::LISTENER, front.name.to_string());
    span.set_attribute(name::PROTOCOL, protocol);
    serve(accepted, id, &front).instrument(span).await;
}

/// Made of the time and of chance: never used again, by whatever process (behaviour §5.3).
fn new_id() -> SessionId {
    SessionId::new(&uuid::Uuid::now_v7().simple().to_string())
}

async fn serve(accepted: Accepted, id: SessionId, front: &Arc<Front>) {
    let connection = front.node.connections.open();
    let Some((client, tcp)) = arrive::arrive(accepted, id, connection, front).await else {
        return;
    };
    let Some((leg, encryption)) = secure::secure(tcp, &client, front).await else {
        return;
    };
    match front.speaks {
        Speaks::Mail(protocol) => sign_in(leg, encryption, client, protocol, front).await,
        Speaks::Nothing => pass_through::pass_through(leg, client, front).await,
        Speaks::Http => crate::http::serve(leg, client, front).await,
    }
}

async fn sign_in(leg: Leg, encryption: ClientLeg, client: Client, protocol: Protocol, front: &Front) {
    let login = dialogue::read_login(leg, encryption, &client, protocol, front).await;
    let Some((leg, login)) = login else {
        return;
    };
    let Some((mut leg, login)) = identify::identify(leg, login, front).await else {
        return;
    };
    // Registration comes before the first look at the mapping (promise A2).
    let registered = front
        .node
        .knowledge
        .sessions()
        .register(login.acting_for.clone(), client.about(front));
    if !login.is_current(front) {
        tracing::info!("identifiers got another form during the login");
        registered.unregister(LegIsOver::never_stood());
        answer::say_and_close(leg, &login.command.temporary_failure()).await;
        return;
    }
    let mut path = legs::Path::new(&login, &leg, &client, front);
    let outcome = admit::admit(registered, &mut path, dialogue::client_gone(&mut leg)).await;
    let dialled = path.into_dialled();
    match outcome {
        Outcome::Admitted(admitted) => close::bridge(leg, admitted, client),
        Outcome::Refused(reply) => answer::refused(leg, reply, &login, dialled.as_ref()).await,
        Outcome::TemporaryFailure(failure) => {
            answer::temporary_failure(leg, &failure, &login, dialled.as_ref(), front).await;
        }
        Outcome::ClientGone => tracing::debug!("the client left before its login was answered"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_session_id_can_be_said_to_every_backend_and_is_never_used_again() {
        let ids: Vec<SessionId> = (0..10_000).map(|_| new_id()).collect();
        assert!(
            ids.iter()
                .all(|id| mailswitch_dialogue::SessionId::new(id.as_str()).is_ok())
        );
        let different: HashSet<&SessionId> = ids.iter().collect();
        assert_eq!(different.len(), ids.len());
        // Of another process: it starts with the time, and goes on with chance, not with a count from zero.
        assert_ne!(ids[0].as_str()[13..], ids[1].as_str()[13..]);
    }
}
