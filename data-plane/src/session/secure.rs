//! TLS from the first byte, where the listener says so. STARTTLS happens in the dialogue.

use mailswitch_config::{Protocol, TlsMode};
use mailswitch_dialogue::ClientLeg;
use mailswitch_telemetry::name;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Client, Front};
use crate::drive::{Leg, Upgrade};
use crate::tls::Stream;

/// The client's leg, ready for its dialogue. None: closed, and logged why.
pub(super) async fn secure(tcp: TcpStream, client: &Client, front: &Front) -> Option<(Leg, ClientLeg)> {
    let mut leg = Leg::new(Stream::plain(tcp));
    let encryption = match front.listener.tls {
        TlsMode::Plain => ClientLeg::Plain,
        TlsMode::StartTls => ClientLeg::StartTls,
        TlsMode::Implicit => {
            let handshake = leg.start_tls(match front.listener.protocol {
                Protocol::Http => Upgrade::HttpServer(&front.node.tls),
                _ => Upgrade::Server(&front.node.tls),
            });
            let handshake = handshake.instrument(tracing::info_span!(name::span::CLIENT_TLS));
            let done = tokio::select! {
                () = client.connection.control().told_to_end() => return None,
                done = timeout(front.listener.preauth_timeout, handshake) => done,
            };
            match done {
                Ok(Ok(established)) => {
                    note(leg.stream());
                    ClientLeg::Encrypted(established)
                }
                Ok(Err(error)) => {
                    tracing::debug!(error = crate::error_chain(&error), "no TLS with the client");
                    return None;
                }
                Err(_) => {
                    tracing::debug!("the client did not finish its TLS handshake in time");
                    return None;
                }
            }
        }
    };
    Some((leg, encryption))
}

/// What was agreed: tells which versions clients use.
fn note(stream: Option<&Stream>) {
    let Some(session) = stream.and_then(Stream::session) else {
        return;
    };
    tracing::debug!(
        version = session.version,
        cipher = session.cipher,
        "TLS with the client"
    );
    let span = tracing::Span::current();
    span.set_attribute(name::TLS_VERSION, session.version);
    span.set_attribute(name::TLS_CIPHER, session.cipher);
}
