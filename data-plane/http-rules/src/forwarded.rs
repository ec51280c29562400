//! Who the client is, in `Forwarded` (RFC 7239) and `X-Forwarded-For` (behaviour 8.3).

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use mailswitch_config::table::listener::InboundForwarded;

use crate::field;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a client that is not trusted cannot tell a backend.
const CLIENTS_OWN: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
];

/// Whether the backend is told who the client is: `destination.NAME.forwarded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TellClient {
    /// Append the address.
    Append,
    /// Leave the fields as they are by now.
    Leave,
}

/// What came in is taken away or joined.
pub(crate) fn inbound(headers: &mut HeaderMap, fate: InboundForwarded) {
    match fate {
        InboundForwarded::Off => {
            let dropped: Vec<HeaderName> = headers
                .keys()
                .filter(|name| is_clients_own(name))
                .cloned()
                .collect();
            for name in dropped {
                headers.remove(name);
            }
        }
        InboundForwarded::Trust => {
            field::join(headers, &FORWARDED, b", ");
            field::join(headers, &X_FORWARDED_FOR, b", ");
        }
    }
}

fn is_clients_own(name: &HeaderName) -> bool {
    CLIENTS_OWN.contains(&field::dashed(name).as_ref())
}

/// Appends the client's address.
pub(crate) fn tell(headers: &mut HeaderMap, client: IpAddr) {
    let client = client.to_canonical();
    let element = match client {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    for (name, text) in [(FORWARDED, element), (X_FORWARDED_FOR, client.to_string())] {
        if let Ok(value) = HeaderValue::try_from(text) {
            field::append(headers, &name, &value);
        }
    }
}
