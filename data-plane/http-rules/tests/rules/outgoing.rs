//! Behaviour 8.1 and 8.3: what of a request goes to the backend.

use http::uri::Scheme;
use mailswitch_config::table::listener::InboundForwarded;
use mailswitch_http_rules::{Exchange, Expect, LegVersion, Received, Rest, TellClient, WebSocketKey};
use proptest::prelude::*;

use crate::scene::{Fields, names, ours, read_http2, received, sent, sent_with, values};

const VIA: &str = "1.1 mailswitch-0000000000c0ffee";

#[test]
fn the_line_host_and_other_fields_pass_unchanged() {
    let request = received(
        "PROPFIND /dav/%C3%A9?x=%20&y",
        &[
            ("cookie", "a=b; c"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("accept", "*/*"),
            ("content-length", "3"),
        ],
    );
    let head = sent(&request);
    assert_eq!(head.method.as_str(), "PROPFIND");
    assert_eq!(head.uri, "/dav/%C3%A9?x=%20&y");
    assert_eq!(values(&head.headers, "host"), ["mail.example"]);
    assert_eq!(values(&head.headers, "cookie"), ["a=b; c"]);
    assert_eq!(values(&head.headers, "x-a"), ["1", "2"]);
    assert_eq!(
        names(&head.headers),
        ["accept", "content-length", "cookie", "host", "via", "x-a"]
    );
}

#[test]
fn what_belongs_to_the_connection_is_taken_away_with_all_that_connection_names() {
    let request = received(
        "POST /",
        &[
            ("connection", "close, X-Secret"),
            ("connection", "x-other ,,bad name"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("x-kept", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "host"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authorization", "Basic YTpi"),
        ],
    );
    let head = sent(&request);
    assert_eq!(
        names(&head.headers),
        ["host", "transfer-encoding", "via", "x-kept"]
    );
    assert_eq!(values(&head.headers, "transfer-encoding"), ["chunked"]);
    assert!(request.wants_close());
}

#[test]
fn better_than_the_reference_connection_takes_nothing_away_that_gives_a_request_its_meaning() {
    let kept = [
        ("content-length", "5"),
        ("authorization", "Basic YTpi"),
        ("cookie", "a=b"),
        ("content-type", "text/plain"),
        ("expect", "100-continue"),
    ];
    let named = (
        "connection",
        "Host, Content-Length, Authorization, Cookie, Content-Type, Expect, Forwarded, X-Forwarded-For, Via",
    );
    let request = received("POST /", &[&kept[..], &[named]].concat());
    let head = sent_with(
        &request,
        InboundForwarded::Trust,
        TellClient::Append,
        Expect::Forward,
    );
    for (name, value) in kept.iter().copied().chain([
        ("host", "mail.example"),
        // Ours, added behind the stripping.
        ("forwarded", "for=192.0.2.7"),
        ("x-forwarded-for", "192.0.2.7"),
        ("via", VIA),
    ]) {
        assert_eq!(values(&head.headers, name), [value], "{name}");
    }
}

#[test]
fn a_client_that_is_not_trusted_says_nothing_about_itself() {
    let fields = [
        ("forwarded", "for=6.6.6.6"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-port", "1"),
        ("X_Forwarded_For", "6.6.6.6"),
        ("x_real-ip", "6.6.6.6"),
    ];
    let request = received("GET /", &fields);
    let head = sent(&request);
    assert_eq!(names(&head.headers), ["host", "via"]);
    let head = sent_with(
        &request,
        InboundForwarded::Off,
        TellClient::Append,
        Expect::Forward,
    );
    assert_eq!(values(&head.headers, "forwarded"), ["for=192.0.2.7"]);
    assert_eq!(values(&head.headers, "x-forwarded-for"), ["192.0.2.7"]);
}

#[test]
fn better_than_the_reference_all_instances_of_a_trusted_client_are_joined_in_order() {
    let request = received(
        "GET /",
        &[
            ("forwarded", "for=1.1.1.1;proto=https"),
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=2.2.2.2"),
            ("x-forwarded-for", "3.3.3.3"),
        ],
    );
    let head = sent_with(
        &request,
        InboundForwarded::Trust,
        TellClient::Append,
        Expect::Forward,
    );
    assert_eq!(
        values(&head.headers, "forwarded"),
        ["for=1.1.1.1;proto=https, for=2.2.2.2, for=192.0.2.7"]
    );
    assert_eq!(
        values(&head.headers, "x-forwarded-for"),
        ["1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7"]
    );
    assert_eq!(values(&head.headers, "x-real-ip"), ["1.1.1.1"]);
    let head = sent_with(
        &request,
        InboundForwarded::Trust,
        TellClient::Leave,
        Expect::Forward,
    );
    assert_eq!(
        values(&head.headers, "x-forwarded-for"),
        ["1.1.1.1, 2.2.2.2, 3.3.3.3"]
    );
}

#[test]
fn an_ipv6_client_is_quoted_in_brackets_and_a_mapped_one_is_ipv4() {
    for (client, element, bare) in [
        ("2001:db8::7", "for=\"[2001:db8::7]\"", "2001:db8::7"),
        ("::ffff:192.0.2.9", "for=192.0.2.9", "192.0.2.9"),
    ] {
        let head = received("GET /", &[]).outgoing(&Exchange {
            client: client.parse().expect("an address"),
            inbound: InboundForwarded::Off,
            tell: TellClient::Append,
            pseudonym: &ours(),
            leg: LegVersion::Http1(None),
            expect: Expect::Forward,
        });
        assert_eq!(values(&head.headers, "forwarded"), [element]);
        assert_eq!(values(&head.headers, "x-forwarded-for"), [bare]);
    }
}

#[test]
fn we_stand_last_in_via() {
    assert_eq!(values(&sent(&received("GET /", &[])).headers, "via"), [VIA]);
    let request = received("GET /", &[("via", "1.0 a"), ("via", "1.1 b (c)")]);
    assert_eq!(
        values(&sent(&request).headers, "via"),
        [format!("1.0 a, 1.1 b (c), {VIA}")]
    );
    let request = read_http2("GET https://mail.example/", &[], None, Rest::Ended).expect("a request");
    assert_eq!(
        values(&sent(&request).headers, "via"),
        [VIA.replace("1.1 ", "2 ")]
    );
}

#[test]
fn an_expectation_goes_on_unless_we_have_answered_it() {
    let request = received("POST /", &[("expect", "100-continue"), ("content-length", "5")]);
    assert_eq!(values(&sent(&request).headers, "expect"), ["100-continue"]);
    let head = sent_with(
        &request,
        InboundForwarded::Off,
        TellClient::Leave,
        Expect::Answered,
    );
    assert!(!head.headers.contains_key("expect"));
}

#[test]
fn a_body_has_exactly_one_length() {
    for (fields, length, coding) in [
        (&[][..], &[][..], &[][..]),
        (&[("content-length", "5"), ("content-length", "005")], &["5"], &[]),
        (&[("transfer-encoding", "CHUNKED")], &[], &["chunked"]),
    ] {
        // Also of a GET: the HTTP library would forget a body there.
        for line in ["POST /", "GET /"] {
            let head = sent(&received(line, fields));
            assert_eq!(
                values(&head.headers, "content-length"),
                length,
                "{line} {fields:?}"
            );
            assert_eq!(
                values(&head.headers, "transfer-encoding"),
                coding,
                "{line} {fields:?}"
            );
        }
    }
}

#[test]
fn trailers_are_announced_without_those_that_may_not_come() {
    let request = received(
        "POST /",
        &[
            ("transfer-encoding", "chunked"),
            ("trailer", "X-Sum, Content-Length, host"),
            ("trailer", "x-more, Authorization, Transfer-Encoding"),
        ],
    );
    assert_eq!(values(&sent(&request).headers, "trailer"), ["x-sum, x-more"]);
}

#[test]
fn an_absolute_target_becomes_the_origin_form() {
    let head = sent(&received("GET http://other.example:8080/a?b=c", &[]));
    assert_eq!(head.uri, "/a?b=c");
    assert_eq!(values(&head.headers, "host"), ["other.example:8080"]);
    for target in ["http://other.example", "http://other.example#part"] {
        assert_eq!(
            sent(&received(&format!("GET {target}"), &[])).uri.to_string(),
            "/"
        );
    }
    assert_eq!(
        sent(&received("GET http://other.example?a", &[])).uri.to_string(),
        "/?a"
    );
    assert_eq!(sent(&received("OPTIONS *", &[])).uri, "*");
}

#[test]
fn a_websocket_is_asked_for_anew_and_over_http2_with_a_key_of_ours() {
    let request = received(
        "GET /ws",
        &[
            ("connection", "Upgrade, X-Gone"),
            ("upgrade", "websocket"),
            ("x-gone", "1"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "jmap"),
        ],
    );
    let head = sent(&request);
    assert_eq!(values(&head.headers, "connection"), ["Upgrade"]);
    assert_eq!(values(&head.headers, "upgrade"), ["websocket"]);
    assert_eq!(
        values(&head.headers, "sec-websocket-key"),
        ["dGhlIHNhbXBsZSBub25jZQ=="]
    );
    assert_eq!(values(&head.headers, "sec-websocket-protocol"), ["jmap"]);
    assert!(!head.headers.contains_key("x-gone"));

    let request = read_http2(
        "CONNECT https://mail.example/ws",
        &[],
        Some("websocket"),
        Rest::Follows,
    )
    .expect("a WebSocket");
    let head = request.outgoing(&Exchange {
        client: "192.0.2.7".parse().expect("an address"),
        inbound: InboundForwarded::Off,
        tell: TellClient::Leave,
        pseudonym: &ours(),
        leg: LegVersion::Http1(Some(&WebSocketKey::of([7; 16]))),
        expect: Expect::Forward,
    });
    assert_eq!(
        (head.method.as_str(), head.uri.to_string().as_str()),
        ("GET", "/ws")
    );
    assert_eq!(
        names(&head.headers),
        [
            "connection",
            "host",
            "sec-websocket-key",
            "sec-websocket-version",
            "upgrade",
            "via"
        ]
    );
}

#[test]
fn a_leg_of_http2_gets_pseudo_fields_and_nothing_of_a_connection() {
    let request = received(
        "POST /a?b",
        &[
            ("connection", "x"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("cookie", "a=b"),
        ],
    );
    let head = request.outgoing(&Exchange {
        client: "192.0.2.7".parse().expect("an address"),
        inbound: InboundForwarded::Off,
        tell: TellClient::Leave,
        pseudonym: &ours(),
        leg: LegVersion::Http2(&Scheme::HTTPS),
        expect: Expect::Forward,
    });
    assert_eq!(head.uri, "https://mail.example/a?b");
    assert_eq!(head.version, http::Version::HTTP_2);
    assert_eq!(names(&head.headers), ["cookie", "via"]);
}

fn some_field() -> impl Strategy<Value = (String, String)> {
    let name = prop::sample::select(vec![
        "connection",
        "content-length",
        "transfer-encoding",
        "host",
        "via",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "forwarded",
        "x-forwarded-for",
        "cookie",
        "x-a",
        "authorization",
        "keep-alive",
    ]);
    let value = prop_oneof![
        "[ -~]{0,12}",
        prop::sample::select(vec![
            "close",
            "upgrade",
            "chunked",
            "5",
            "gzip, chunked",
            "websocket",
            "host, via, x-a",
            "100-continue",
            "a.example",
        ])
        .prop_map(str::to_owned),
    ];
    (name.prop_map(str::to_owned), value)
}

proptest! {
    /// What is passed on can be read in one way, by us as by anybody.
    #[test]
    fn whatever_is_passed_on_is_accepted_by_the_next_proxy_with_the_same_meaning(
        fields in prop::collection::vec(some_field(), 0..8),
        method in prop::sample::select(vec!["GET", "POST", "PUT", "OPTIONS"]),
    ) {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let fields: Fields<'_> = &fields;
        if let Ok(request) = crate::scene::read(&format!("{method} /p"), &[&[crate::scene::HOST], fields].concat()) {
            let head = sent_with(&request, InboundForwarded::Trust, TellClient::Append, Expect::Forward);
            let next = mailswitch_http_rules::Pseudonym::of(1);
            let again = Received::read(head, mailswitch_http_rules::Opening::Http1, &next);
            let again = again.map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
            prop_assert_eq!(again.body(), request.body());
            prop_assert_eq!(again.host(), request.host());
            prop_assert_eq!(again.upgrade(), request.upgrade());
            prop_assert_eq!(again.path(), request.path());
            prop_assert_eq!(again.method(), request.method());
        }
    }
}
