//! The PROXY protocol header that may stand before everything else (configuration §5; HAProxy's PROXY protocol 2.x, both
//! versions). The library reads it; here is how much of a connection's beginning it is, and whether all of it has come.
//!
//! Nothing behind the header is taken, and no header is longer than `MAX_HEADER`.

use std::net::SocketAddr;

use ppp::HeaderResult;

/// The longest header that is read: stops a header that never ends.
pub const MAX_HEADER: usize = 1024;

/// What stands at the beginning of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// A header.
    Header {
        /// Its bytes.
        length: usize,
        /// None: `LOCAL`, `UNKNOWN`, or no addresses of the internet. Those of the socket stay.
        announced: Option<Announced>,
    },
    /// The client's own bytes.
    NoHeader,
    /// It begins as a header, and is none.
    Malformed,
}

/// Both ends of the connection that is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The client.
    pub client: SocketAddr,
    /// What it connected to.
    pub local: SocketAddr,
}

/// What these bytes begin with. None: more of them are needed. Asked with `MAX_HEADER` bytes it always answers.
#[must_use]
pub fn beginning(bytes: &[u8]) -> Option<Beginning> {
    const V1: &[u8] = b"PROXY ";
    let may_begin = |signature: &[u8]| {
        let common = bytes.len().min(signature.len());
        bytes[..common] == signature[..common]
    };
    if !may_begin(V1) && !may_begin(ppp::v2::PROTOCOL_PREFIX) {
        return Some(Beginning::NoHeader);
    }
    if !is_complete(bytes)? {
        return Some(Beginning::Malformed);
    }
    Some(match HeaderResult::parse(bytes) {
        HeaderResult::V1(Ok(header)) => Beginning::Header {
            length: header.header.len(),
            announced: v1_ends(&header.addresses),
        },
        HeaderResult::V2(Ok(header)) => Beginning::Header {
            length: header.len(),
            announced: match header.command {
                ppp::v2::Command::Local => None,
                ppp::v2::Command::Proxy => v2_ends(&header.addresses),
            },
        },
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Beginning::Malformed,
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

fn v1_ends(addresses: &ppp::v1::Addresses) -> Option<Announced> {
    match addresses {
        ppp::v1::Addresses::Unknown => None,
        ppp::v1::Addresses::Tcp4(v4) => Some(Announced {
            client: (v4.source_address, v4.source_port).into(),
            local: (v4.destination_address, v4.destination_port).into(),
        }),
        ppp::v1::Addresses::Tcp6(v6) => Some(Announced {
            client: (v6.source_address, v6.source_port).into(),
            local: (v6.destination_address, v6.destination_port).into(),
        }),
    }
}

fn v2_ends(addresses: &ppp::v2::Addresses) -> Option<Announced> {
    match addresses {
        ppp::v2::Addresses::IPv4(v4) => Some(Announced {
            client: (v4.source_address, v4.source_port).into(),
            local: (v4.destination_address, v4.destination_port).into(),
        }),
        ppp::v2::Addresses::IPv6(v6) => Some(Announced {
            client: (v6.source_address, v6.source_port).into(),
            local: (v6.destination_address, v6.destination_port).into(),
        }),
        ppp::v2::Addresses::Unspecified | ppp::v2::Addresses::Unix(_) => None,
    }
}
