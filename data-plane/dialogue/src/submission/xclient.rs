//! XCLIENT (Postfix XCLIENT README; behaviour §5.2): the line we send, and the one attribute we take from a proxy of
//! ours. `LOGIN` is never sent: it would make the backend believe a login that it has not checked.

use std::net::IpAddr;

use crate::attributes::{ClientAttributes, Helo, Hops};
use crate::xtext;

/// The command, with those attributes that the backend lists; `None`: it lists none of ours.
pub(super) fn command(client: &ClientAttributes, helo: Option<&Helo>, listed: &[u8]) -> Option<Vec<u8>> {
    let mut line = b"XCLIENT".to_vec();
    for (name, value) in values(client, helo) {
        let wanted = listed
            .split(u8::is_ascii_whitespace)
            .any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
        if wanted {
            line.extend([b" ", name.as_bytes(), b"="].concat());
            xtext::encode(&value, &mut line);
        }
    }
    (line.len() > b"XCLIENT".len()).then_some(line)
}

/// In the order of behaviour §5.2.
fn values(client: &ClientAttributes, helo: Option<&Helo>) -> Vec<(&'static str, Vec<u8>)> {
    let mut values = vec![
        ("ADDR", address(client.client.ip())),
        ("PORT", client.client.port().to_string().into_bytes()),
        ("DESTADDR", address(client.destination.ip())),
        ("DESTPORT", client.destination.port().to_string().into_bytes()),
        ("SESSION", client.session.as_str().as_bytes().to_vec()),
        ("TTL", client.ttl.0.to_string().into_bytes()),
        ("CLIENT-TRANSPORT", client.transport.as_str().as_bytes().to_vec()),
    ];
    if let Some(helo) = helo {
        values.push(("HELO", helo.as_bytes().to_vec()));
    }
    values.push(("PROTO", b"ESMTP".to_vec()));
    values
}

fn address(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("IPV6:{ip}"),
    }
    .into_bytes()
}

/// `TTL=` is there and no number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadTtl;

/// The hop count among the attributes that a proxy sent.
pub(super) fn ttl(attributes: &[u8]) -> Result<Option<Hops>, BadTtl> {
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
    use crate::attributes::{SessionId, Transport};

    fn client(address: &str) -> ClientAttributes {
        ClientAttributes {
            client: address.parse().unwrap(),
            destination: "198.51.100.1:587".parse().unwrap(),
            session: SessionId::new("s-1").unwrap(),
            ttl: Hops(6),
            transport: Transport::Tls,
        }
    }

    fn line(address: &str, helo: Option<&[u8]>, listed: &str) -> Option<String> {
        command(&client(address), helo.map(Helo::new).as_ref(), listed.as_bytes())
            .map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn only_listed_attributes_are_sent_in_our_order_and_login_never() {
        // As Postfix lists them.
        assert_eq!(
            line(
                "192.0.2.7:40000",
                Some(b"me.example"),
                "NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"
            )
            .unwrap(),
            "XCLIENT ADDR=192.0.2.7 PORT=40000 DESTADDR=198.51.100.1 DESTPORT=587 HELO=me.example PROTO=ESMTP"
        );
        // As Dovecot's submission lists them.
        assert_eq!(
            line(
                "[2001:db8::7]:40000",
                Some(b"a b"),
                "addr port proto helo login session ttl client-transport"
            )
            .unwrap(),
            "XCLIENT ADDR=IPV6:2001:db8::7 PORT=40000 SESSION=s-1 TTL=6 CLIENT-TRANSPORT=TLS HELO=a+20b PROTO=ESMTP"
        );
        assert_eq!(
            line("192.0.2.7:1", None, "HELO ADDR").unwrap(),
            "XCLIENT ADDR=192.0.2.7"
        );
    }

    #[test]
    fn nothing_is_sent_when_none_of_ours_is_listed() {
        for listed in ["", "LOGIN", "NAME REVERSE_NAME"] {
            assert_eq!(line("192.0.2.7:1", None, listed), None);
        }
    }

    #[test]
    fn the_ttl_of_a_proxy_is_read() {
        assert_eq!(ttl(b"ADDR=1.2.3.4 ttl=5"), Ok(Some(Hops(5))));
        assert_eq!(ttl(b"ADDR=1.2.3.4"), Ok(None));
        for bad in [&b"TTL="[..], b"TTL=x", b"TTL=-1", b"TTL=99999999999"] {
            assert_eq!(ttl(bad), Err(BadTtl));
        }
    }
}
