//! PROXY header -> who the client is (configuration §5).
//!
//! Read before anything else, by looking first: what is no header stays in the socket. Only from trusted peers; the
//! adopted address is *the* client address for limits, breaker, forwarding and logs.

use std::io;
use std::time::Duration;

use mailswitch_config::table::listener::ProxyProtocol;
use mailswitch_telemetry::name;
use ppp::HeaderResult;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::control::Connection;
use super::{Client, Front};
use crate::backend::announce::ClientEnds;
use crate::listen::Accepted;
use crate::sessions::SessionId;

/// The longest header that is read: stops a header that never ends.
const MAX_HEADER: usize = 1024;
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
    #[error("a PROXY header is required and this peer is not in proxy_trusted")]
    Untrusted,
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Full(#[from] crate::listen::Occupied),
}

/// What stands at the beginning of a connection.
enum Beginning {
    Header { length: usize, ends: Option<ClientEnds> },
    NoHeader,
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
        (Beginning::Header { length, ends: new }, _) => {
            let mut header = [0; MAX_HEADER];
            tcp.read_exact(&mut header[..length]).await?;
            Ok(new.unwrap_or(ends))
        }
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
        if length > seen || seen == 0 {
            match classify(&bytes[..length]) {
                Some(beginning) => return beginning,
                None if length == 0 || length == MAX_HEADER => return Err(ArriveError::Malformed),
                None => seen = length,
            }
        }
        tokio::time::sleep(NEXT_LOOK).await;
    }
}

/// None: more is needed.
fn classify(bytes: &[u8]) -> Option<Result<Beginning, ArriveError>> {
    const V1: &[u8] = b"PROXY ";
    let may_begin = |signature: &[u8]| {
        let common = bytes.len().min(signature.len());
        bytes[..common] == signature[..common]
    };
    if !may_begin(V1) && !may_begin(ppp::v2::PROTOCOL_PREFIX) {
        return Some(Ok(Beginning::NoHeader));
    }
    if !is_complete(bytes)? {
        return Some(Err(ArriveError::Malformed));
    }
    let header = HeaderResult::parse(bytes);
    Some(match header {
        HeaderResult::V1(Ok(header)) => Ok(Beginning::Header {
            length: header.header.len(),
            ends: v1_ends(&header.addresses),
        }),
        HeaderResult::V2(Ok(header)) => Ok(Beginning::Header {
            length: header.len(),
            ends: match header.command {
                ppp::v2::Command::Local => None,
                ppp::v2::Command::Proxy => v2_ends(&header.addresses),
            },
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(ArriveError::Malformed),
    })
}

/// Whether a header stands here whole: none while it has not come yet, false when it never will. The library takes a
/// text header that is cut within its last number for a whole one.
fn is_complete(bytes: &[u8]) -> Option<bool> {
    /// The longest text header (PROXY protocol, section 2.1).
    const V1_MAX: usize = 107;
    const V2_FIXED: usize = 16;
    if bytes.starts_with(b"PROXY ") {
        return match bytes.iter().take(V1_MAX).position(|byte| *byte == b'\n') {
            Some(_) => Some(true),
            None => (bytes.len() >= V1_MAX).then_some(false),
        };
    }
    let fixed = bytes.get(..V2_FIXED)?;
    let length = V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    match length {
        _ if length > MAX_HEADER => Some(false),
        _ => (bytes.len() >= length).then_some(true),
    }
}

fn v1_ends(addresses: &ppp::v1::Addresses) -> Option<ClientEnds> {
    match addresses {
        ppp::v1::Addresses::Unknown => None,
        ppp::v1::Addresses::Tcp4(v4) => Some(ClientEnds::new(
            (v4.source_address, v4.source_port).into(),
            (v4.destination_address, v4.destination_port).into(),
        )),
        ppp::v1::Addresses::Tcp6(v6) => Some(ClientEnds::new(
            (v6.source_address, v6.source_port).into(),
            (v6.destination_address, v6.destination_port).into(),
        )),
    }
}

fn v2_ends(addresses: &ppp::v2::Addresses) -> Option<ClientEnds> {
    match addresses {
        ppp::v2::Addresses::IPv4(v4) => Some(ClientEnds::new(
            (v4.source_address, v4.source_port).into(),
            (v4.destination_address, v4.destination_port).into(),
        )),
        ppp::v2::Addresses::IPv6(v6) => Some(ClientEnds::new(
            (v6.source_address, v6.source_port).into(),
            (v6.destination_address, v6.destination_port).into(),
        )),
        ppp::v2::Addresses::Unspecified | ppp::v2::Addresses::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::announce::proxy_v2_header;

    fn ends() -> ClientEnds {
        ClientEnds::new(
            "192.0.2.7:40000".parse().expect("an address"),
            "198.51.100.1:993".parse().expect("an address"),
        )
    }

    #[test]
    fn a_header_is_known_only_when_all_of_it_has_come_and_nothing_behind_it_is_taken() {
        let texts = [
            proxy_v2_header(&ends()),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 993\r\n".to_vec(),
        ];
        for text in texts {
            for cut in 1..text.len() {
                assert!(
                    classify(&text[..cut]).is_none(),
                    "{cut} of {}",
                    text.escape_ascii()
                );
            }
            let mut more = text.clone();
            more.extend_from_slice(b"a1 LOGIN");
            match classify(&more) {
                Some(Ok(Beginning::Header {
                    length,
                    ends: Some(adopted),
                })) => assert_eq!((length, adopted), (text.len(), ends())),
                _ => panic!("not a header: {}", text.escape_ascii()),
            }
        }
    }

    #[test]
    fn what_is_no_header_is_left_alone_and_what_is_a_broken_one_is_refused() {
        assert!(matches!(classify(b"a1 LOGIN"), Some(Ok(Beginning::NoHeader))));
        assert!(matches!(classify(b"\x16\x03\x01"), Some(Ok(Beginning::NoHeader))));
        assert!(matches!(classify(b"PROXY TCP4 nonsense\r\n"), Some(Err(_))));
    }

    #[test]
    fn local_and_unknown_keep_the_addresses_of_the_socket() {
        let unknown = classify(b"PROXY UNKNOWN\r\n");
        assert!(matches!(unknown, Some(Ok(Beginning::Header { ends: None, .. }))));
        let mut local = proxy_v2_header(&ends());
        local[12] = 0x20;
        assert!(matches!(
            classify(&local),
            Some(Ok(Beginning::Header { ends: None, .. }))
        ));
    }
}
