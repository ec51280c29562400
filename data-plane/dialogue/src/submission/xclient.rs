//! XCLIENT of SMTP (Postfix XCLIENT README; behaviour §5.2): only the attributes that the backend lists, and the two
//! that only SMTP has.

use std::net::IpAddr;

use crate::attributes::{ClientAttributes, Helo};
use crate::xclient;

/// The command, with those attributes that the backend lists; `None`: it lists none of ours.
pub(super) fn command(client: &ClientAttributes, helo: Option<&Helo>, listed: &[u8]) -> Option<Vec<u8>> {
    let mut values = xclient::values(client, address);
    values.extend(helo.map(|helo| ("HELO", helo.as_bytes().to_vec())));
    values.push(("PROTO", b"ESMTP".to_vec()));
    values.retain(|(name, _)| {
        listed
            .split(u8::is_ascii_whitespace)
            .any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    });
    (!values.is_empty()).then(|| xclient::line(values))
}

fn address(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("IPV6:{ip}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{Hops, SessionId, Transport};

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
}
