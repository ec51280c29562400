//! HTTP/2 toward clients, HTTP/1.1 toward backends: each stream is a request of its own, and nothing of it can be read in
//! two ways behind us (behaviour 8.1, 8.3; RFC 9113, RFC 8441).

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mailswitch_config::table::destination::{Destination, Host, Verification};
use mailswitch_data_plane::tls::{ClientTls, HttpVersion, HttpVersions, PlatformTrust, Stream};
use mailswitch_dialogue::Input;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Differences, Node, basic, ok, world};

pub(crate) const TLS: Differences<'_> = Differences {
    server: "",
    listener: "tls = \"implicit\"",
    http: "",
    routes: "",
    moved: "ann@example.org new\n",
    destination: "",
    leg: "",
};

/// A connection that agreed on HTTP/2.
async fn secured(node: &Node) -> Stream {
    let tcp = TcpStream::connect(node.address).await.expect("a connection");
    let destination = Destination {
        name: "node".into(),
        host: Host::Name("localhost".to_owned()),
        tls_server_name: Some("localhost".try_into().expect("a name")),
        verification: Verification::None,
        client_certificate: None,
        source_ips: Vec::new(),
        forwarded: false,
        hide_auth_errors: false,
        allow_plaintext_auth: false,
        endpoints: Default::default(),
    };
    let tls = ClientTls::new(&destination, &mut PlatformTrust::default()).expect("a client");
    let boundary = Input::new().tls_boundary().expect("nothing was received");
    let upgraded = tls
        .upgrade_http(Stream::plain(tcp), boundary, HttpVersions::Http2)
        .await;
    let (stream, _) = upgraded.expect("a handshake");
    assert_eq!(stream.http_version(), HttpVersion::Http2);
    stream
}

pub(crate) type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

pub(crate) fn empty() -> Body {
    Empty::new().boxed_unsync()
}

pub(crate) async fn client(node: &Node) -> SendRequest<Body> {
    let io = TokioIo::new(secured(node).await);
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .handshake(io)
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

pub(crate) fn ask(method: &str, path: &str, who: &str, body: Body) -> Request<Body> {
    let authorization = basic(who);
    let authorization = authorization.trim_start_matches("Authorization: ").trim();
    Request::builder()
        .method(method)
        .uri(format!("https://mail.example.org{path}"))
        .header("authorization", authorization)
        .body(body)
        .expect("a request")
}

pub(crate) async fn text(response: hyper::Response<hyper::body::Incoming>) -> String {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

#[tokio::test]
async fn streams_of_one_connection_go_to_the_servers_of_their_accounts_at_the_same_time() {
    let world = world(TLS).await;
    let mut client = client(&world.node).await;
    let anns = client.send_request(ask("GET", "/a", "ann@example.org", empty()));
    let bobs = client.send_request(ask("GET", "/b", "bob@example.org", empty()));
    let (anns, bobs) = (tokio::spawn(anns), tokio::spawn(bobs));
    let mut new = world.new.accept().await;
    let mut old = world.old.accept().await;
    let request = new.message().await;
    assert_eq!(request.start, "GET /a HTTP/1.1");
    assert_eq!(request.field("host"), Some("mail.example.org"));
    assert!(request.field("via").is_some_and(|via| via.starts_with("2 ")));
    assert_eq!(request.field("transfer-encoding"), None);
    assert_eq!(old.message().await.start, "GET /b HTTP/1.1");
    // The second is answered first.
    old.say(ok("bob")).await;
    let answer = bobs.await.expect("no panic").expect("an answer");
    assert_eq!(text(answer).await, "bob");
    new.say(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 3\r\n\r\nann",
    )
    .await;
    let answer = anns.await.expect("no panic").expect("an answer");
    assert_eq!(answer.headers().get("connection"), None);
    assert_eq!(answer.headers().get("keep-alive"), None);
    assert_eq!(text(answer).await, "ann");
}

#[tokio::test]
async fn a_body_without_a_length_is_chunked_toward_the_backend_with_its_trailers() {
    let world = world(TLS).await;
    let mut client = client(&world.node).await;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "6".parse().expect("a value"));
    let frames = [
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"one"))),
        Ok(Frame::data(Bytes::from_static(b"two"))),
        Ok(Frame::trailers(trailers)),
    ];
    let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
    let mut request = ask("POST", "/", "bob", body);
    request
        .headers_mut()
        .insert("trailer", "x-sum".parse().expect("a value"));
    let answer = tokio::spawn(client.send_request(request));
    let mut old = world.old.accept().await;
    let head = old.head().await;
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    assert_eq!(old.chunk().await, b"one");
    assert_eq!(old.chunk().await, b"two");
    assert_eq!(old.until(b"\r\n\r\n").await, b"0\r\nx-sum: 6\r\n\r\n");
    old.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n2\r\nhi\r\n0\r\nx-end: yes\r\n\r\n")
        .await;
    let answer = answer.await.expect("no panic").expect("an answer");
    let body = answer.into_body().collect().await.expect("a body");
    assert_eq!(body.trailers().expect("trailers")["x-end"], "yes");
    assert_eq!(body.to_bytes(), "hi");
}

#[tokio::test]
async fn what_only_http1_connections_may_say_is_refused_and_reaches_nobody() {
    let world = world(TLS).await;
    let mut client = client(&world.node).await;
    let rows: [(&str, &str, u16); 3] = [
        ("transfer_encoding", "chunked", 400),
        ("host", "elsewhere.example", 400),
        ("authorization", "Basic YTpi", 400),
    ];
    for (name, value, status) in rows {
        let mut request = ask("GET", "/", "bob", empty());
        let name: http::HeaderName = name.parse().expect("a name");
        request
            .headers_mut()
            .append(name, value.parse().expect("a value"));
        let answer = client.send_request(request).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{value}");
    }
    let request = ask("CONNECT", "", "bob", empty());
    let (mut parts, body) = request.into_parts();
    parts.uri = "mail.example.org:443".parse().expect("an authority");
    let answer = client.send_request(Request::from_parts(parts, body)).await;
    assert_eq!(
        answer.expect("an answer").status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert!(world.old.nobody_comes(Duration::from_millis(100)).await);
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields in the plainest form of HPACK: literal, never indexed, no Huffman (RFC 7541 §6.2.3).
fn fields(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        block.push(u8::try_from(name.len()).expect("short"));
        block.extend(*name);
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend(*value);
    }
    block
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const USUAL: [(&[u8], &[u8]); 3] = [
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":authority", b"a"),
];

#[tokio::test]
async fn no_smuggled_form_of_http2_reaches_a_backend() {
    let world = world(TLS).await;
    let rows: &[&[(&[u8], &[u8])]] = &[
        // What is said in this way does reach it.
        &[(b":path", b"/"), (b"x", b"a")],
        &[(b":path", b"/"), (b"transfer-encoding", b"chunked")],
        &[(b":path", b"/"), (b"connection", b"close")],
        &[(b":path", b"/"), (b"te", b"chunked")],
        &[(b":path", b"/"), (b"x", b"a\r\nGET /admin HTTP/1.1")],
        &[(b":path", b"/"), (b"x", b"a\0b")],
        &[(b":path", b"/"), (b"x\r\nevil", b"a")],
        &[(b":path", b"/"), (b"x: y", b"a")],
        &[(b":path", b"/"), (b"UPPER", b"a")],
        &[(b":path", b"/ HTTP/1.1\r\nHost: b\r\n\r\n")],
        &[(b":path", b"/a b")],
        &[(b":path", b"")],
        &[(b":path", b"/"), (b":path", b"/two")],
        &[(b":path", b"/"), (b"x", b"a"), (b":late", b"b")],
        &[
            (b":path", b"/"),
            (b"content-length", b"5"),
            (b"content-length", b"6"),
        ],
        &[(b":path", b"/"), (b"content-length", b"+2")],
        &[(b":path", b"/"), (b"host", b"b")],
    ];
    for (number, row) in rows.iter().enumerate() {
        let all: Vec<_> = USUAL.iter().copied().chain(row.iter().copied()).collect();
        let mut stream = secured(&world.node).await;
        let mut sent = PREFACE.to_vec();
        sent.extend(frame(4, 0, 0, &[]));
        // END_HEADERS; the body is a request of its own where it is taken for one.
        sent.extend(frame(1, 4, 1, &fields(&all)));
        sent.extend(frame(0, 1, 1, b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"));
        stream.write_all(&sent).await.expect("written");
        let nobody = world.old.nobody_comes(Duration::from_millis(150)).await;
        assert_eq!(nobody, number > 0, "{row:?}");
    }
}

#[tokio::test]
async fn a_body_longer_or_shorter_than_its_length_is_no_whole_request() {
    let world = world(TLS).await;
    for body in [&b"hello and more"[..], b"h"] {
        let all: Vec<_> = USUAL
            .iter()
            .copied()
            .chain([(&b":path"[..], &b"/"[..]), (b"content-length", b"5")])
            .collect();
        let mut stream = secured(&world.node).await;
        let mut sent = PREFACE.to_vec();
        sent.extend(frame(4, 0, 0, &[]));
        sent.extend(frame(1, 4, 1, &fields(&all)));
        sent.extend(frame(0, 1, 1, body));
        stream.write_all(&sent).await.expect("written");
        let accepted = tokio::time::timeout(Duration::from_millis(500), world.old.accept()).await;
        if let Ok(mut backend) = accepted {
            backend.is_gone().await;
            let seen = String::from_utf8_lossy(&backend.read).into_owned();
            let (_, body) = seen.split_once("\r\n\r\n").unwrap_or_default();
            assert!(body.len() < 5, "{seen}");
        }
    }
}

#[tokio::test]
async fn a_client_that_agrees_on_http2_and_never_asks_is_closed() {
    let world = world(Differences {
        listener: "tls = \"implicit\"\npreauth_timeout = \"300ms\"",
        ..Differences::default()
    })
    .await;
    for words in [&b""[..], PREFACE] {
        let mut stream = secured(&world.node).await;
        stream.write_all(words).await.expect("written");
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(crate::rig::SOON, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok());
    }
}

/// Sends without end. Ok: the connection was ended; else how much of it was taken.
async fn flood(node: &Node, mut next: impl FnMut(u32) -> Vec<u8>) -> Result<(), u32> {
    let stream = secured(node).await;
    let (mut read, mut write) = tokio::io::split(stream);
    let ended = tokio::spawn(async move {
        let mut buffer = vec![0; 65536];
        while read.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    });
    let mut first = PREFACE.to_vec();
    first.extend(frame(4, 0, 0, &[]));
    write.write_all(&first).await.expect("written");
    for round in 0..20_000_u32 {
        if ended.is_finished() || write.write_all(&next(round)).await.is_err() {
            return Ok(());
        }
    }
    Err(20_000)
}

fn get() -> Vec<u8> {
    fields(&[
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"a"),
        (b":path", b"/"),
    ])
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    let world = world(TLS).await;
    let reset = |round: u32| {
        let stream = 2 * round + 1;
        let mut both = frame(1, 5, stream, &get());
        both.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
        both
    };
    assert_eq!(flood(&world.node, reset).await, Ok(()));
}

#[tokio::test]
async fn continuation_frames_without_end_end_the_connection() {
    let world = world(TLS).await;
    let more = |round: u32| match round {
        0 => frame(1, 0, 1, &get()),
        _ => frame(9, 0, 1, &fields(&[(b"x-more", &[b'x'; 100])])),
    };
    assert_eq!(flood(&world.node, more).await, Ok(()));
}

#[tokio::test]
async fn more_streams_than_one_connection_may_have_are_refused() {
    let world = world(TLS).await;
    let mut stream = secured(&world.node).await;
    let mut sent = PREFACE.to_vec();
    sent.extend(frame(4, 0, 0, &[]));
    for number in 0..150 {
        sent.extend(frame(1, 5, 2 * number + 1, &get()));
    }
    stream.write_all(&sent).await.expect("written");
    let mut legs = Vec::new();
    while let Ok(leg) = tokio::time::timeout(Duration::from_millis(700), world.old.accept()).await {
        legs.push(leg);
    }
    assert!(legs.len() <= 100, "{}", legs.len());
    assert!(legs.len() >= 50, "{}", legs.len());
}

#[tokio::test]
async fn frames_that_ask_for_nothing_end_a_connection_that_has_no_request() {
    let world = world(TLS).await;
    let pings = |_| frame(6, 0, 0, &[0; 8]).repeat(16);
    assert_eq!(flood(&world.node, pings).await, Ok(()));
    let settings = |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(16);
    assert_eq!(flood(&world.node, settings).await, Ok(()));
    let unknown = |_| frame(0xfa, 0, 0, &[0; 1000]);
    assert_eq!(flood(&world.node, unknown).await, Ok(()));
}

#[tokio::test]
async fn a_client_that_pings_and_never_reads_is_not_read_on() {
    let world = world(TLS).await;
    let mut stream = secured(&world.node).await;
    let mut first = PREFACE.to_vec();
    first.extend(frame(4, 0, 0, &[]));
    // With a request open: without one it would be closed.
    first.extend(frame(1, 5, 1, &get()));
    stream.write_all(&first).await.expect("written");
    let mut backend = world.old.accept().await;
    backend.message().await;
    let pings = frame(6, 0, 0, &[0; 8]).repeat(1000);
    let most = 64 * 1024 * 1024 / pings.len();
    let mut taken = 0;
    while taken < most {
        match tokio::time::timeout(Duration::from_secs(2), stream.write_all(&pings)).await {
            Ok(written) => written.expect("it is still there"),
            Err(_) => break,
        }
        taken += 1;
    }
    assert!(taken < most, "every answer was kept for it");
}

#[tokio::test]
async fn a_ping_flood_leaves_other_clients_alone() {
    let world = world(TLS).await;
    let node = &world.node;
    let flooded = flood(node, |_| frame(6, 0, 0, &[0; 8]).repeat(16));
    let served = async {
        let mut client = client(node).await;
        let answer = tokio::spawn(client.send_request(ask("GET", "/", "bob", empty())));
        let mut old = world.old.accept().await;
        old.message().await;
        old.say(ok("served")).await;
        text(answer.await.expect("no panic").expect("an answer")).await
    };
    let (_, served) = tokio::join!(flooded, served);
    assert_eq!(served, "served");
}

#[tokio::test]
async fn a_client_that_resets_its_stream_ends_that_leg_and_no_other() {
    let world = world(TLS).await;
    let mut client = client(&world.node).await;
    let given_up = tokio::spawn(client.send_request(ask("GET", "/a", "bob", empty())));
    let mut first = world.old.accept().await;
    first.message().await;
    given_up.abort();
    first.ends().await;
    let answer = tokio::spawn(client.send_request(ask("GET", "/b", "bob", empty())));
    let mut second = world.old.accept().await;
    second.message().await;
    second.say(ok("fine")).await;
    assert_eq!(
        text(answer.await.expect("no panic").expect("an answer")).await,
        "fine"
    );
}

#[tokio::test]
async fn streams_that_are_reset_hold_no_more_legs_than_one_connection_may() {
    let world = world(TLS).await;
    let mut client = client(&world.node).await;
    let mut legs = Vec::new();
    for _ in 0..200 {
        let given_up = tokio::spawn(client.send_request(ask("GET", "/slow", "bob", empty())));
        let mut leg = world.old.accept().await;
        leg.message().await;
        given_up.abort();
        // The backend neither answers nor closes.
        leg.ends().await;
        legs.push(leg);
    }
    let refused = client.send_request(ask("GET", "/", "bob", empty())).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    // When they are over, there is room again.
    drop(legs);
    let served = async {
        loop {
            let mut answer = tokio::spawn(client.send_request(ask("GET", "/", "bob", empty())));
            tokio::select! {
                mut leg = world.old.accept_whenever() => {
                    leg.message().await;
                    leg.say(ok("room")).await;
                    return answer.await.expect("no panic").expect("an answer");
                }
                refused = &mut answer => {
                    let refused = refused.expect("no panic").expect("an answer");
                    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    };
    let answer = tokio::time::timeout(crate::rig::SOON, served)
        .await
        .expect("room in time");
    assert_eq!(text(answer).await, "room");
}

#[tokio::test]
async fn a_stop_lets_open_streams_end_and_takes_no_more() {
    let mut world = world(TLS).await;
    let mut client = client(&world.node).await;
    let answer = tokio::spawn(client.send_request(ask("GET", "/", "bob", empty())));
    let mut old = world.old.accept().await;
    old.message().await;
    let running = world.node.running.take().expect("a node");
    let stop = tokio::spawn(running.stop());
    let refused = async {
        while client.ready().await.is_ok() && !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    old.say(ok("late")).await;
    assert_eq!(
        text(answer.await.expect("no panic").expect("an answer")).await,
        "late"
    );
    tokio::time::timeout(crate::rig::SOON, refused)
        .await
        .expect("GOAWAY");
    old.ends().await;
    drop(old);
    tokio::time::timeout(crate::rig::SOON, stop)
        .await
        .expect("long before the grace ends")
        .expect("no panic");
}
