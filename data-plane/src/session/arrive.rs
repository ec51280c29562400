//! PROXY header -> who the client is (configuration §5).
//!
//! Read before anything else, by looking first: what is no header stays in the socket. Only from trusted peers; the
//! adopted address is *the* client address for limits, breaker, forwarding and logs.

use std::io;
use std::time::Duration;

use mailswitch_config::table::listener::ProxyProtocol;
use mailswitch_dialogue::proxy_header::{Announced, Beginning, MAX_HEADER, beginning};
use mailswitch_telemetry::name;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::control::Connection;
use super::{Client, Front};
use crate::backend::announce::ClientEnds;
use crate::listen::Accepted;
use crate::sessions::SessionId;

/// A trusted peer that sends nothing is greeted after this: a server that speaks first cannot wait for ever.
const FIRST_BYTE: Duration = Duration::from_secs(1);
/// Between two looks at a header that has come in part.
const NEXT_LOOK: Duration = Duration::from_millis(5);

/// Why a connection is closed before anything is said.
#[derive(Debug, thiserror::Error)]
enum ArriveError {
    #[error("no PROXY header came in time")]
    Late,
    #[error("a PROXY header is required")]
    Missing,
    #[error("the PROXY header is malformed")]
    Malformed,
    #[error("the peer closed before it had said what it is")]
    Gone,
    #[error("a PROXY header is required and this peer is not in proxy_trusted")]
    Untrusted,
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Full(#[from] crate::listen::Occupied),
}

/// Finds out who the client is. None: closed, and logged why.
pub(super) async fn arrive(
    accepted: Accepted,
    id: SessionId,
    connection: Connection,
    front: &Front,
) -> Option<(Client, TcpStream)> {
    let Accepted {
        mut tcp,
        ends,
        mut permit,
    } = accepted;
    let announced = tokio::select! {
        () = connection.control().told_to_end() => return None,
        announced = announced(&mut tcp, ends, front) => announced,
    };
    let peer = announced.as_ref().unwrap_or(&ends).client;
    tracing::Span::current().record("peer", tracing::field::display(peer));
    let adopted = match announced {
        Ok(adopted) => adopted,
        Err(error) => {
            tracing::debug!(%error, "closed before the dialogue");
            return None;
        }
    };
    if adopted != ends
        && let Err(error) = permit.adopt(adopted.client.ip())
    {
        tracing::warn!(%error, "connection closed");
        return None;
    }
    let span = tracing::Span::current();
    span.set_attribute(name::CLIENT_ADDRESS, adopted.client.ip().to_string());
    span.set_attribute(name::CLIENT_PORT, i64::from(adopted.client.port()));
    let client = Client {
        id,
        ends: adopted,
        permit,
        connection,
    };
    Some((client, tcp))
}

async fn announced(tcp: &mut TcpStream, ends: ClientEnds, front: &Front) -> Result<ClientEnds, ArriveError> {
    let mode = front.listener.proxy_protocol;
    match (mode, front.listener.trusts(ends.client.ip())) {
        (ProxyProtocol::Off, _) | (ProxyProtocol::Optional, false) => return Ok(ends),
        (ProxyProtocol::Required, false) => return Err(ArriveError::Untrusted),
        (ProxyProtocol::Optional | ProxyProtocol::Required, true) => {}
    }
    let patience = front.listener.preauth_timeout;
    if mode == ProxyProtocol::Optional {
        // A look, not `readable`: that may return with nothing there.
        let first = timeout(FIRST_BYTE.min(patience), tcp.peek(&mut [0])).await;
        if first.is_err() {
            return Ok(ends);
        }
    }
    let beginning = timeout(patience, look(tcp))
        .await
        .map_err(|_| ArriveError::Late)??;
    match (beginning, mode) {
        (Beginning::Header { length, announced }, _) => {
            let mut header = [0; MAX_HEADER];
            tcp.read_exact(&mut header[..length]).await?;
            Ok(match announced {
                Some(Announced { client, local }) => ClientEnds::new(client, local),
                None => ends,
            })
        }
        (Beginning::Malformed, _) => Err(ArriveError::Malformed),
        (Beginning::NoHeader, ProxyProtocol::Required) => Err(ArriveError::Missing),
        (Beginning::NoHeader, _) => Ok(ends),
    }
}

/// Looks at what has come until it is known what it is.
async fn look(tcp: &TcpStream) -> Result<Beginning, ArriveError> {
    let mut seen = 0;
    let mut bytes = [0; MAX_HEADER];
    loop {
        let length = tcp.peek(&mut bytes).await?;
        if length == 0 {
            return Err(ArriveError::Gone);
        }
        if length > seen {
            seen = length;
            if let Some(beginning) = beginning(&bytes[..length]) {
                return Ok(beginning);
            }
        }
        tokio::time::sleep(NEXT_LOOK).await;
    }
}
