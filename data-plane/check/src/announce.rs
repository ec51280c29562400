//! Who a probe says that it is: itself. A header or XCLIENT of a probe names the probe's own address, so that nothing
//! false stands in the backend's log.

use std::net::SocketAddr;

use mailswitch_dialogue::{ClientAttributes, Hops, SessionId, Transport};
use ppp::v2;

/// The PROXY header of our own connection, version 2 (behaviour §5.1).
pub(crate) fn proxy_header(local: SocketAddr, target: SocketAddr) -> Vec<u8> {
    let command = v2::Version::Two | v2::Command::Proxy;
    let builder = match (local, target) {
        (SocketAddr::V4(source), SocketAddr::V4(to)) => v2::Builder::with_addresses(
            command,
            v2::Protocol::Stream,
            v2::IPv4::new(*source.ip(), *to.ip(), source.port(), to.port()),
        ),
        (SocketAddr::V6(source), SocketAddr::V6(to)) => v2::Builder::with_addresses(
            command,
            v2::Protocol::Stream,
            v2::IPv6::new(*source.ip(), *to.ip(), source.port(), to.port()),
        ),
        _ => v2::Builder::with_addresses(command, v2::Protocol::Unspecified, v2::Addresses::Unspecified),
    };
    // The length of an address block without TLVs fits into its field.
    builder.build().unwrap_or_default()
}

/// The attributes of our own connection, for XCLIENT and ID.
pub(crate) fn attributes(local: SocketAddr, target: SocketAddr, ttl: u32) -> Option<ClientAttributes> {
    let session = format!("check-{}", uuid::Uuid::new_v4().simple());
    Some(ClientAttributes {
        client: local,
        destination: target,
        session: SessionId::new(&session).ok()?,
        ttl: Hops(ttl).forwarded()?,
        transport: Transport::Tls,
    })
}
