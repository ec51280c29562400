//! Behaviour 8.1: requests with one meaning, and what is refused.

use http::Version;
use mailswitch_http_rules::{BodyLength, Expectation, Opening, Received, Refusal, Rest, Upgrade, own_answer};

use crate::scene::{Fields, HOST, head, ours, read, read_http2, received};

#[test]
fn what_could_reach_a_backend_in_two_meanings_is_refused() {
    for (line, fields, refusal, status) in [
        ("GET /", &[][..], Refusal::Host, 400),
        ("GET /", &[HOST, HOST], Refusal::Host, 400),
        ("GET /", &[HOST, ("host", "other.example")], Refusal::Host, 400),
        ("GET /", &[("host", "")], Refusal::Host, 400),
        ("GET /", &[("host", "a.example, b.example")], Refusal::Host, 400),
        ("GET /", &[("host", "a.example/x")], Refusal::Host, 400),
        ("GET /", &[("host", "user@a.example")], Refusal::Host, 400),
        ("GET http://u:p@a.example/", &[HOST], Refusal::Host, 400),
        ("GET http://a.example/", &[], Refusal::Host, 400),
        (
            "POST /",
            &[HOST, ("content-length", "+5")],
            Refusal::ContentLength,
            400,
        ),
        (
            "POST /",
            &[HOST, ("content-length", "-5")],
            Refusal::ContentLength,
            400,
        ),
        (
            "POST /",
            &[HOST, ("content-length", "5, 5")],
            Refusal::ContentLength,
            400,
        ),
        (
            "POST /",
            &[HOST, ("content-length", "0x5")],
            Refusal::ContentLength,
            400,
        ),
        (
            "POST /",
            &[HOST, ("content-length", "")],
            Refusal::ContentLength,
            400,
        ),
        (
            "POST /",
            &[HOST, ("content-length", "99999999999999999999")],
            Refusal::ContentLength,
            400,
        ),
        (
            "POST /",
            &[HOST, ("content-length", "5"), ("content-length", "6")],
            Refusal::ContentLength,
            400,
        ),
        (
            "POST /",
            &[HOST, ("content-length", "5"), ("transfer-encoding", "chunked")],
            Refusal::TwoLengths,
            400,
        ),
        (
            "POST /",
            &[HOST, ("transfer-encoding", "gzip, chunked")],
            Refusal::TransferEncoding,
            501,
        ),
        (
            "POST /",
            &[HOST, ("transfer-encoding", "chunked, gzip")],
            Refusal::TransferEncoding,
            501,
        ),
        (
            "POST /",
            &[HOST, ("transfer-encoding", "chunked, chunked")],
            Refusal::TransferEncoding,
            501,
        ),
        (
            "POST /",
            &[HOST, ("transfer-encoding", "identity")],
            Refusal::TransferEncoding,
            501,
        ),
        (
            "POST /",
            &[HOST, ("transfer-encoding", "xchunked")],
            Refusal::TransferEncoding,
            501,
        ),
        (
            "POST /",
            &[HOST, ("transfer-encoding", "chunked;q=1")],
            Refusal::TransferEncoding,
            501,
        ),
        (
            "POST /",
            &[HOST, ("transfer-encoding", "")],
            Refusal::TransferEncoding,
            501,
        ),
        (
            "POST /",
            &[
                HOST,
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            Refusal::TransferEncoding,
            501,
        ),
        (
            "POST /",
            &[HOST, ("content_length", "5")],
            Refusal::Lookalike,
            400,
        ),
        (
            "POST /",
            &[HOST, ("transfer_encoding", "chunked")],
            Refusal::Lookalike,
            400,
        ),
        (
            "GET /",
            &[
                HOST,
                ("authorization", "Basic YQ=="),
                ("authorization", "Bearer x"),
            ],
            Refusal::TwoAuthorizations,
            400,
        ),
        ("CONNECT a.example:443", &[HOST], Refusal::Connect, 405),
        ("GET *", &[HOST], Refusal::Target, 400),
        ("GET a.example:80", &[HOST], Refusal::Target, 400),
        (
            "GET /",
            &[HOST, ("via", "1.1 a, 1.1 mailswitch-0000000000c0ffee")],
            Refusal::Loop,
            508,
        ),
        (
            "GET /",
            &[
                HOST,
                ("via", "1.0 x (y)"),
                ("via", "HTTP/1.1   MAILSWITCH-0000000000C0FFEE (z)"),
            ],
            Refusal::Loop,
            508,
        ),
    ] {
        let found = read(line, fields).map(|_| ()).expect_err(line);
        assert_eq!(found, refusal, "{line} {fields:?}");
        assert_eq!(found.status().as_u16(), status, "{line} {fields:?}");
    }
}

#[test]
fn versions_other_than_1_1_and_2_are_refused_with_505() {
    for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_3] {
        let mut head = head("GET /", &[HOST]);
        head.version = version;
        let refusal = Received::read(head, Opening::Http1, &ours())
            .map(|_| ())
            .expect_err("an old version");
        assert_eq!(refusal.status().as_u16(), 505);
    }
}

#[test]
fn a_hundred_fields_are_read_and_one_more_is_431() {
    let many: Vec<(String, String)> = (0..99).map(|n| (format!("x-{n}"), n.to_string())).collect();
    let fields: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain([HOST])
        .collect();
    assert!(read("GET /", &fields).is_ok());
    let refusal = read("GET /", &[fields.as_slice(), &[("x", "y")]].concat())
        .map(|_| ())
        .expect_err("101 fields");
    assert_eq!(refusal.status().as_u16(), 431);
}

#[test]
fn what_looks_odd_and_has_one_meaning_is_read() {
    for (line, fields, body) in [
        ("GET /", &[][..], BodyLength::None),
        ("POST /", &[], BodyLength::None),
        ("POST /", &[("content-length", "0")], BodyLength::Known(0)),
        ("POST /", &[("content-length", "007")], BodyLength::Known(7)),
        (
            "POST /",
            &[("content-length", "5"), ("content-length", "05")],
            BodyLength::Known(5),
        ),
        ("POST /", &[("transfer-encoding", "Chunked")], BodyLength::Chunked),
        ("GET /", &[("transfer-encoding", "chunked")], BodyLength::Chunked),
        ("OPTIONS *", &[], BodyLength::None),
        ("PROPFIND /x", &[("content-length", "3")], BodyLength::Known(3)),
        (
            "GET /",
            &[("via", "1.1 mailswitch-0000000000c0ffef")],
            BodyLength::None,
        ),
        ("GET /", &[("x-bytes", "\u{e9}")], BodyLength::None),
    ] {
        assert_eq!(received(line, fields).body(), body, "{line} {fields:?}");
    }
}

#[test]
fn better_than_the_reference_an_absolute_target_is_routed_by_its_path_and_replaces_host() {
    let request = received("GET http://other.example:8080/a/b?c=d", &[]);
    assert_eq!(request.path(), "/a/b");
    assert_eq!(request.query(), Some("c=d"));
    assert_eq!(request.host(), "other.example:8080");
}

#[test]
fn a_100_is_waited_for_when_the_client_says_so() {
    assert_eq!(
        received("POST /", &[("expect", "100-Continue")]).expectation(),
        Expectation::Continue
    );
    assert_eq!(received("POST /", &[]).expectation(), Expectation::None);
}

#[test]
fn only_a_websocket_without_a_body_is_an_upgrade() {
    let asks = |line: &str, fields: Fields<'_>| received(line, fields).upgrade();
    let connection = ("connection", "keep-alive, Upgrade");
    let upgrade = ("upgrade", "WebSocket");
    assert_eq!(asks("GET /", &[connection, upgrade]), Some(Upgrade::Http1));
    for (line, fields) in [
        ("GET /", &[upgrade][..]),
        ("GET /", &[connection]),
        ("GET /", &[connection, ("upgrade", "h2c")]),
        ("GET /", &[connection, ("upgrade", "websocket, h2c")]),
        ("GET /", &[("connection", "close"), upgrade]),
        ("GET /", &[connection, upgrade, ("content-length", "3")]),
        ("GET /", &[connection, upgrade, ("transfer-encoding", "chunked")]),
        ("POST /", &[connection, upgrade]),
    ] {
        assert_eq!(asks(line, fields), None, "{line} {fields:?}");
    }
}

#[test]
fn http2_takes_its_host_from_the_authority_or_the_field_and_both_have_to_agree() {
    let host = |line: &str, fields: Fields<'_>| {
        read_http2(line, fields, None, Rest::Ended).map(|request| request.host().clone())
    };
    let target = "GET https://mail.example/";
    assert_eq!(host(target, &[]).expect("the authority"), "mail.example");
    assert_eq!(
        host(target, &[("host", "MAIL.example")]).expect("the same"),
        "mail.example"
    );
    assert_eq!(host("GET /", &[HOST]).expect("the field"), "mail.example");
    for (line, fields) in [
        (target, &[("host", "other.example")][..]),
        (target, &[HOST, HOST]),
        ("GET /", &[]),
        ("GET https://u@mail.example/", &[]),
    ] {
        assert_eq!(host(line, fields), Err(Refusal::Host), "{line} {fields:?}");
    }
}

#[test]
fn http2_has_no_fields_of_a_connection() {
    for field in [
        ("connection", "x"),
        ("keep-alive", "5"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ] {
        let refusal = read_http2("POST https://mail.example/", &[field], None, Rest::Follows)
            .map(|_| ())
            .expect_err("a field of a connection");
        assert_eq!(refusal, Refusal::ConnectionField, "{field:?}");
        assert_eq!(refusal.status().as_u16(), 400);
    }
    for field in [("te", "trailers"), ("trailer", "x-sum")] {
        assert!(
            read_http2("POST https://mail.example/", &[field], None, Rest::Follows).is_ok(),
            "{field:?}"
        );
    }
}

#[test]
fn http2_says_how_long_a_body_is_by_a_length_or_by_its_end() {
    let body = |fields: Fields<'_>, rest: Rest| {
        read_http2("POST https://mail.example/", fields, None, rest)
            .expect("a request")
            .body()
    };
    assert_eq!(body(&[], Rest::Ended), BodyLength::None);
    assert_eq!(body(&[], Rest::Follows), BodyLength::Chunked);
    assert_eq!(
        body(&[("content-length", "5")], Rest::Follows),
        BodyLength::Known(5)
    );
}

#[test]
fn crumbs_of_a_cookie_are_one_field_and_are_counted_as_one() {
    let crumbs: Vec<String> = (0..150).map(|n| format!("c{n}={n}")).collect();
    let fields: Vec<(&str, &str)> = crumbs.iter().map(|crumb| ("cookie", crumb.as_str())).collect();
    let request = read_http2("GET https://mail.example/", &fields, None, Rest::Ended).expect("one field");
    assert_eq!(request.headers().get_all("cookie").into_iter().count(), 1);
    assert_eq!(request.headers()["cookie"], crumbs.join("; "));
}

#[test]
fn the_extended_connect_is_for_websockets() {
    let target = "CONNECT https://mail.example/ws";
    let read = |protocol| read_http2(target, &[], protocol, Rest::Follows);
    let request = read(Some("websocket")).expect("a WebSocket");
    assert_eq!(request.upgrade(), Some(Upgrade::Http2));
    assert_eq!((request.method().as_str(), request.path()), ("GET", "/ws"));
    assert_eq!(
        read(Some("connect-udp")).map(|_| ()),
        Err(Refusal::ConnectProtocol)
    );
    assert_eq!(read(None).map(|_| ()), Err(Refusal::Connect));
}

#[test]
fn our_own_answers_are_a_line_of_text_and_close_an_http1_connection() {
    let answer = own_answer(http::StatusCode::LOOP_DETECTED, Version::HTTP_11);
    assert_eq!(answer.body(), "508 Loop Detected");
    assert_eq!(answer.headers()["content-type"], "text/plain");
    assert_eq!(answer.headers()["content-length"], "17");
    assert_eq!(answer.headers()["connection"], "close");
    let answer = own_answer(http::StatusCode::BAD_REQUEST, Version::HTTP_2);
    assert_eq!(answer.body(), "400 Bad Request");
    assert!(!answer.headers().contains_key("connection"));
}
