#![no_main]
//! Whatever a head is: refused, or passed on in a form that the next one reads as we did.

use http::{HeaderName, HeaderValue, Request, Version};
use libfuzzer_sys::fuzz_target;
use mailswitch_config::table::listener::InboundForwarded;
use mailswitch_http_rules::{Exchange, Expect, LegVersion, Opening, Pseudonym, Received, Rest, TellClient};

fuzz_target!(|data: &[u8]| {
    let Some((switches, data)) = data.split_first() else {
        return;
    };
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut raw = httparse::Request::new(&mut fields);
    if !raw.parse(data).is_ok_and(|status| status.is_complete()) {
        return;
    }
    let (Some(method), Some(target)) = (raw.method, raw.path) else {
        return;
    };
    let Ok(request) = Request::builder().method(method).uri(target).body(()) else {
        return;
    };
    let (mut head, ()) = request.into_parts();
    // We add some of our own: at the very limit, the next one would refuse them.
    if raw.headers.len() > 90 {
        return;
    }
    for field in raw.headers.iter() {
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name.as_bytes()),
            HeaderValue::from_bytes(field.value),
        ) else {
            return;
        };
        head.headers.append(name, value);
    }
    let opening = if switches & 1 == 0 {
        Opening::Http1
    } else {
        head.version = Version::HTTP_2;
        Opening::Http2 {
            protocol: (switches & 2 == 0).then_some("websocket"),
            rest: if switches & 4 == 0 {
                Rest::Ended
            } else {
                Rest::Follows
            },
        }
    };
    let Ok(request) = Received::read(head, opening, &Pseudonym::of(1)) else {
        return;
    };
    let sent = request.outgoing(&Exchange {
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        inbound: if switches & 8 == 0 {
            InboundForwarded::Off
        } else {
            InboundForwarded::Trust
        },
        tell: if switches & 16 == 0 {
            TellClient::Append
        } else {
            TellClient::Leave
        },
        pseudonym: &Pseudonym::of(1),
        leg: LegVersion::Http1(None),
        expect: Expect::Forward,
    });
    let again = Received::read(sent, Opening::Http1, &Pseudonym::of(2))
        .expect("what we send is read by the next one");
    assert_eq!(again.body(), request.body());
    assert_eq!(again.host(), request.host());
    assert_eq!(again.path(), request.path());
    assert_eq!(again.query(), request.query());
    assert_eq!(again.method(), request.method());
    assert_eq!(again.upgrade().is_some(), request.upgrade().is_some());
});
