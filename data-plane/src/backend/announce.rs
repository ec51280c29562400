//! Telling the backend who the client is: the PROXY protocol header, version 2 (behaviour §5.1).
//!
//! Source is the client, destination the address that the client connected to; no TLVs. XCLIENT and ID belong to
//! the dialogues.

use std::net::{IpAddr, SocketAddr};

use ppp::v2;

/// The two ends of the client's connection, after any inbound PROXY header, mapped addresses unmapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientEnds {
    /// The client.
    pub client: SocketAddr,
    /// What it connected to.
    pub local: SocketAddr,
}

impl ClientEnds {
    /// Unmaps IPv4-mapped addresses (behaviour §1.1).
    #[must_use]
    pub fn new(client: SocketAddr, local: SocketAddr) -> Self {
        Self {
            client: canonical(client),
            local: canonical(local),
        }
    }
}

/// An address with `::ffff:a.b.c.d` as the IPv4 address that it stands for.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The header. Ends of different families cannot be expressed: they are announced as unspecified.
#[must_use]
pub fn proxy_v2_header(ends: &ClientEnds) -> Vec<u8> {
    let command = v2::Version::Two | v2::Command::Proxy;
    let builder = match (ends.client.ip(), ends.local.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => v2::Builder::with_addresses(
            command,
            v2::Protocol::Stream,
            v2::IPv4::new(source, destination, ends.client.port(), ends.local.port()),
        ),
        (IpAddr::V6(source), IpAddr::V6(destination)) => v2::Builder::with_addresses(
            command,
            v2::Protocol::Stream,
            v2::IPv6::new(source, destination, ends.client.port(), ends.local.port()),
        ),
        _ => v2::Builder::with_addresses(command, v2::Protocol::Unspecified, v2::Addresses::Unspecified),
    };
    // The length of an address block without TLVs fits into its field.
    builder.build().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(client: &str, local: &str) -> Vec<u8> {
        proxy_v2_header(&ClientEnds::new(
            client.parse().expect("an address"),
            local.parse().expect("an address"),
        ))
    }

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    #[test]
    fn the_example_of_the_reference_byte_for_byte() {
        let expected = [
            SIGNATURE,
            &[0x21, 0x11, 0x00, 0x0C],
            &[
                0xC0, 0x00, 0x02, 0x07, 0xC6, 0x33, 0x64, 0x01, 0x9C, 0x40, 0x03, 0xE1,
            ],
        ]
        .concat();
        assert_eq!(header("192.0.2.7:40000", "198.51.100.1:993"), expected);
    }

    #[test]
    fn ipv6_ends_take_thirty_six_bytes() {
        let header = header("[2001:db8::7]:40000", "[2001:db8::1]:993");
        assert_eq!(&header[12..16], &[0x21, 0x21, 0x00, 0x24]);
        assert_eq!(header.len(), 16 + 36);
        assert_eq!(&header[48..], &[0x9C, 0x40, 0x03, 0xE1]);
    }

    #[test]
    fn mapped_addresses_are_announced_as_ipv4() {
        assert_eq!(
            header("[::ffff:192.0.2.7]:40000", "[::ffff:198.51.100.1]:993"),
            header("192.0.2.7:40000", "198.51.100.1:993")
        );
    }

    #[test]
    fn ends_of_different_families_are_unspecified_and_still_version_two() {
        let header = header("192.0.2.7:40000", "[2001:db8::1]:993");
        assert_eq!(header, [SIGNATURE, &[0x21, 0x00, 0x00, 0x00]].concat());
    }
}
