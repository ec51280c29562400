//! XCLIENT (behaviour §5.2): the attributes that we send, and the one that we take from a proxy of ours. How it is
//! offered and framed is the protocol's. `LOGIN` is never sent: it would make the backend believe a login that it has
//! not checked.

use std::net::IpAddr;

use crate::attributes::{ClientAttributes, Hops};
use crate::xtext;

/// What every protocol tells, in its order; `address` writes an IP address as the protocol has it.
pub(crate) fn values(
    client: &ClientAttributes,
    address: impl Fn(IpAddr) -> String,
) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("ADDR", address(client.client.ip()).into_bytes()),
        ("PORT", client.client.port().to_string().into_bytes()),
        ("DESTADDR", address(client.destination.ip()).into_bytes()),
        ("DESTPORT", client.destination.port().to_string().into_bytes()),
        ("SESSION", client.session.as_str().as_bytes().to_vec()),
        ("TTL", client.ttl.0.to_string().into_bytes()),
        ("CLIENT-TRANSPORT", client.transport.as_str().as_bytes().to_vec()),
    ]
}

/// The command with those attributes.
pub(crate) fn line(values: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Vec<u8> {
    let mut line = b"XCLIENT".to_vec();
    for (name, value) in values {
        line.extend([b" ", name.as_bytes(), b"="].concat());
        xtext::encode(&value, &mut line);
    }
    line
}

/// `TTL=` is there and no number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadTtl;

/// The hop count among the attributes that a proxy sent.
pub(crate) fn ttl(attributes: &[u8]) -> Result<Option<Hops>, BadTtl> {
    let value = attributes
        .split(u8::is_ascii_whitespace)
        .filter_map(|attribute| attribute.split_at_checked(4))
        .find(|(name, _)| name.eq_ignore_ascii_case(b"TTL="));
    match value {
        None => Ok(None),
        Some((_, digits)) => Hops::parse(digits).map(Some).ok_or(BadTtl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ttl_of_a_proxy_is_read() {
        assert_eq!(ttl(b"ADDR=1.2.3.4 ttl=5"), Ok(Some(Hops(5))));
        assert_eq!(ttl(b"ADDR=1.2.3.4"), Ok(None));
        for bad in [&b"TTL="[..], b"TTL=x", b"TTL=-1", b"TTL=99999999999"] {
            assert_eq!(ttl(bad), Err(BadTtl));
        }
    }
}
