//! Behaviour 8.1 and 8.3: what of a backend's answer goes to the client.

use http::Version;
use mailswitch_http_rules::{Afterwards, Answer, AnswerBody, AnswerKind, BadAnswer, Rest, WebSocketKey};

use crate::scene::{Fields, answer_head, answered, names, read_http2, received, values};

#[test]
fn each_answer_has_the_body_that_its_head_says() {
    let chunked = ("transfer-encoding", "chunked");
    let five = ("content-length", "5");
    for (line, status, fields, body) in [
        ("GET /", 200, &[five][..], AnswerBody::Known(5)),
        ("GET /", 200, &[chunked], AnswerBody::Chunked),
        ("GET /", 200, &[], AnswerBody::UntilClose),
        ("HEAD /", 200, &[five], AnswerBody::None),
        ("HEAD /", 200, &[chunked], AnswerBody::None),
        ("GET /", 204, &[], AnswerBody::None),
        ("GET /", 205, &[five], AnswerBody::None),
        ("GET /", 304, &[five], AnswerBody::None),
        ("GET /", 100, &[], AnswerBody::None),
        ("GET /", 103, &[("link", "</x>")], AnswerBody::None),
    ] {
        let answer = answered(&received(line, &[]), status, fields).expect("an answer");
        assert_eq!(answer.body, body, "{line} {status} {fields:?}");
    }
}

#[test]
fn an_answer_that_could_be_read_in_two_ways_is_none() {
    for (fields, why) in [
        (
            &[("content-length", "5"), ("content-length", "6")][..],
            BadAnswer::ContentLength,
        ),
        (&[("content-length", "+5")], BadAnswer::ContentLength),
        (
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            BadAnswer::TwoLengths,
        ),
        (
            &[("transfer-encoding", "gzip, chunked")],
            BadAnswer::TransferEncoding,
        ),
        (&[("transfer-encoding", "gzip")], BadAnswer::TransferEncoding),
        (
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            BadAnswer::TransferEncoding,
        ),
    ] {
        for line in ["GET /", "HEAD /"] {
            let found = answered(&received(line, &[]), 200, fields).map(|_| ());
            assert_eq!(found, Err(why), "{line} {fields:?}");
        }
    }
}

#[test]
fn what_belongs_to_the_backends_connection_stays_there() {
    let answer = answered(
        &received("GET /", &[]),
        200,
        &[
            ("connection", "close, x-internal, content-type"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("upgrade", "h2c"),
            ("content-type", "text/html"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("content-length", "3"),
        ],
    )
    .expect("an answer");
    assert_eq!(
        names(&answer.head.headers),
        ["connection", "content-length", "content-type", "set-cookie"]
    );
    // Behaviour 8.3: the client's connection ends with the backend's.
    assert_eq!(values(&answer.head.headers, "connection"), ["close"]);
    assert_eq!(values(&answer.head.headers, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.backend, Afterwards::Close);
}

#[test]
fn an_answer_until_close_closes_both_connections() {
    let answer = answered(&received("GET /", &[]), 200, &[]).expect("an answer");
    assert_eq!(answer.backend, Afterwards::Close);
    assert_eq!(answer.kind, AnswerKind::UntilClose);
    assert_eq!(values(&answer.head.headers, "connection"), ["close"]);
    let request = read_http2("GET https://mail.example/", &[], None, Rest::Ended).expect("a request");
    let answer = answered(&request, 200, &[]).expect("an answer");
    assert!(answer.head.headers.is_empty());
    assert_eq!(answer.head.version, Version::HTTP_2);
}

#[test]
fn an_event_stream_is_known_by_its_type_and_keeps_its_framing() {
    let chunked = ("transfer-encoding", "chunked");
    for (kind, expected) in [
        ("text/event-stream", AnswerKind::Events),
        ("Text/Event-Stream; charset=utf-8", AnswerKind::Events),
        ("text/event-streams", AnswerKind::Ordinary),
        ("text/html", AnswerKind::Ordinary),
    ] {
        let answer =
            answered(&received("GET /", &[]), 200, &[("content-type", kind), chunked]).expect("an answer");
        assert_eq!(answer.kind, expected, "{kind}");
        assert_eq!(answer.backend, Afterwards::Keep, "{kind}");
        assert!(!answer.head.headers.contains_key("connection"), "{kind}");
    }
}

#[test]
fn the_length_of_what_is_not_there_is_said_only_where_it_may_be() {
    let length = |line: &str, status| {
        let answer = answered(&received(line, &[]), status, &[("content-length", "5")]).expect("an answer");
        answer
            .head
            .headers
            .get("content-length")
            .map(|value| value.to_str().expect("digits").to_owned())
    };
    assert_eq!(length("HEAD /", 200).as_deref(), Some("5"));
    assert_eq!(length("GET /", 304).as_deref(), Some("5"));
    assert_eq!(length("GET /", 205).as_deref(), Some("0"));
    assert_eq!(length("GET /", 204), None);
    assert_eq!(length("GET /", 103), None);
}

const ASKING: Fields<'static> = &[
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
const SWITCHING: Fields<'static> = &[
    ("connection", "upgrade, x-internal"),
    ("upgrade", "websocket"),
    ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ("sec-websocket-protocol", "jmap"),
    ("x-internal", "1"),
];

#[test]
fn a_101_is_passed_on_with_its_fields_when_it_was_asked_for_and_is_no_answer_otherwise() {
    let answer = answered(&received("GET /ws", ASKING), 101, SWITCHING).expect("a WebSocket");
    assert_eq!(answer.kind, AnswerKind::Switched);
    assert_eq!(
        names(&answer.head.headers),
        [
            "connection",
            "sec-websocket-accept",
            "sec-websocket-protocol",
            "upgrade"
        ]
    );
    assert_eq!(values(&answer.head.headers, "connection"), ["Upgrade"]);
    let unasked = answered(&received("GET /ws", &[]), 101, SWITCHING).map(|_| ());
    assert_eq!(unasked, Err(BadAnswer::Unasked101));
    let other = answered(&received("GET /ws", ASKING), 101, &[("upgrade", "h2c")]).map(|_| ());
    assert_eq!(other, Err(BadAnswer::Unasked101));
}

#[test]
fn an_upgrade_that_is_not_taken_is_an_ordinary_answer() {
    let answer = answered(&received("GET /ws", ASKING), 403, &[("content-length", "2")]).expect("an answer");
    assert_eq!(
        (answer.kind, answer.body),
        (AnswerKind::Ordinary, AnswerBody::Known(2))
    );
}

#[test]
fn a_websocket_over_http2_is_told_200_when_the_backend_has_answered_our_key() {
    // The example of RFC 6455 §1.3.
    let key = WebSocketKey::of(*b"the sample nonce");
    let request = read_http2(
        "CONNECT https://mail.example/ws",
        &[],
        Some("websocket"),
        Rest::Follows,
    )
    .expect("a WebSocket");
    let answer = Answer::read(answer_head(101, SWITCHING), &request, Some(&key)).expect("a WebSocket");
    assert_eq!(answer.head.status.as_u16(), 200);
    assert_eq!(answer.kind, AnswerKind::Switched);
    assert_eq!(names(&answer.head.headers), ["sec-websocket-protocol"]);
    for key in [Some(WebSocketKey::of([0; 16])), None] {
        let answer = Answer::read(answer_head(101, SWITCHING), &request, key.as_ref()).map(|_| ());
        assert_eq!(answer, Err(BadAnswer::WebSocketKey));
    }
}
