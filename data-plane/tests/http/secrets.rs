//! Nothing of a credential, a cookie, a query, a form or a WebSocket is in any log, however loud it is (behaviour §12): on
//! HTTP/1.1 and HTTP/2, toward clients and toward backends, whether it goes well or not. A test binary has one subscriber,
//! so this one listens to everything that runs beside it, too.

use std::io;
use std::sync::{Arc, Mutex};

use hyper::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::http2::{TLS, ask, client, empty, frame};
use crate::http2_websocket::accept;
use crate::rig::{Differences, Talk, ok, world};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const SECRETS: [&str; 9] = [
    "c3VwZXI",
    "supersecret",
    "biscuit-of-ann",
    "token-in-query",
    "/folder-of-ann",
    "word-in-a-form",
    "word-in-a-socket",
    "echoed-in-a-goaway",
    "echoed-in-an-answer",
];

/// What is sent, and whether it comes as far as a backend.
const CREDENTIALS: [(&str, bool); 3] = [
    ("Basic YW5uOmMzVndaWEk=", true),
    ("Bearer sw1.supersecret.YW5uQGV4YW1wbGUub3Jn", true),
    ("Basic !supersecret!", false),
];

#[tokio::test]
async fn no_log_of_any_level_holds_what_a_client_keeps_secret() {
    let kept = Kept::default();
    let writer = kept.clone();
    // As the programs are at their loudest: the library of HTTP/2, which shows frames, is quiet (`telemetry::logs`).
    let loudest = Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_target("h2", LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    tracing_subscriber::registry()
        .with(lines.with_filter(loudest))
        .init();
    over_http1().await;
    over_http2().await;
    on_legs_of_http2().await;
    in_forms().await;
    in_websockets().await;
    in_nonsense().await;
    let said = String::from_utf8_lossy(&kept.0.lock().expect("no panic")).into_owned();
    for heard in ["session closed", "GOAWAY", "backend unavailable"] {
        assert!(said.contains(heard), "it listens: {heard}");
    }
    for line in said.lines() {
        for secret in SECRETS {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

fn request(authorization: &str) -> String {
    format!(
        "GET /folder-of-ann?access=token-in-query HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\nCookie: s=biscuit-of-ann\r\n\r\n"
    )
}

async fn over_http1() {
    let world = world(Differences::default()).await;
    for (authorization, is_passed_on) in CREDENTIALS {
        let mut client = Talk::to(world.node.address).await;
        client.say(request(authorization)).await;
        if is_passed_on {
            let mut backend = world.old.accept().await;
            backend.message().await;
            backend.say(ok("done")).await;
        }
        client.message().await;
    }
}

async fn over_http2() {
    let world = world(Differences {
        moved: "",
        routes: "[[http.route]]\nmatch = \"/none\"\ndestination = \"new\"\n[[http.route]]\nmatch = \"/**\"\nextract = { from = \"authorization\" }\n",
        ..TLS
    })
    .await;
    for (authorization, is_passed_on) in CREDENTIALS {
        let mut client = client(&world.node).await;
        let request = Request::builder()
            .uri("https://a/folder-of-ann?access=token-in-query")
            .header("authorization", authorization)
            .header("cookie", "s=biscuit-of-ann")
            .body(empty())
            .expect("a request");
        let answer = tokio::spawn(client.send_request(request));
        if is_passed_on {
            let mut backend = world.old.accept().await;
            backend.message().await;
            backend.say(ok("done")).await;
        }
        answer.await.expect("no panic").expect("an answer");
    }
}

/// Toward a backend that says in its GOAWAY what it was sent.
async fn on_legs_of_http2() {
    let world = world(Differences {
        leg: ", http2 = true",
        server: "backend_connect_retries = 0",
        ..Differences::default()
    })
    .await;
    for (authorization, is_passed_on) in CREDENTIALS {
        let mut client = Talk::to(world.node.address).await;
        client.say(request(authorization)).await;
        if is_passed_on {
            let mut backend = world.old.accept().await;
            let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
            backend.exactly(preface).await;
            backend.say(frame(4, 0, 0, b"")).await;
            // Its request has come when a frame of fields has.
            loop {
                let head = backend.exactly(9).await;
                let length = usize::from(head[1]) << 8 | usize::from(head[2]);
                backend.exactly(length).await;
                if head[3] == 1 {
                    break;
                }
            }
            let mut goaway = vec![0, 0, 0, 0, 0, 0, 0, 2];
            goaway.extend_from_slice(b"echoed-in-a-goaway");
            backend.say(frame(7, 0, 0, &goaway)).await;
        }
        client.message().await;
    }
}

async fn in_forms() {
    let world = world(Differences {
        routes: "[[http.route]]\nmatch = \"/**\"\nextract = { from = \"body\", regex = \"user=([^&]*)\" }\n",
        listener: "preauth_timeout = \"500ms\"",
        ..Differences::default()
    })
    .await;
    for (form, length_too_many, is_passed_on) in [
        ("user=ann&password=word-in-a-form", 0, true),
        ("password=word-in-a-form", 0, true),
        ("user=word-in-a-form%00&password=word-in-a-form", 0, false),
        ("password=word-in-a-form&user", 9, false),
    ] {
        let mut client = Talk::to(world.node.address).await;
        let length = form.len() + length_too_many;
        client
            .say(format!(
                "POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
            ))
            .await;
        if is_passed_on {
            let mut backend = world.old.accept().await;
            assert_eq!(backend.message().await.body, form.as_bytes());
            backend.say(ok("done")).await;
        }
        client.message().await;
    }
}

async fn in_websockets() {
    const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    let basic = CREDENTIALS[0].0;
    let plain = world(Differences::default()).await;
    let mut talk = Talk::to(plain.node.address).await;
    talk.say(format!(
        "GET /folder-of-ann?access=token-in-query HTTP/1.1\r\nHost: a\r\nAuthorization: {basic}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: supersecret\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nword-in-a-socket"
    ))
    .await;
    let mut backend = plain.old.accept().await;
    backend.head().await;
    backend
        .say(format!(
            "{SWITCHED}s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nword-in-a-socket"
        ))
        .await;
    talk.head().await;
    talk.exactly(16).await;
    backend.exactly(16).await;
    drop(backend);
    talk.is_gone().await;

    let world = world(TLS).await;
    let mut client = client(&world.node).await;
    let answer = tokio::spawn(client.send_request(ask("GET", "/", "bob", empty())));
    let mut old = world.old.accept().await;
    old.message().await;
    old.say(ok("")).await;
    answer.await.expect("no panic").expect("an answer");
    let mut connect = ask("CONNECT", "/folder-of-ann?access=token-in-query", "bob", empty());
    connect
        .extensions_mut()
        .insert(hyper::ext::Protocol::from_static("websocket"));
    let fields = connect.headers_mut();
    fields.insert("authorization", basic.parse().expect("a value"));
    fields.insert("sec-websocket-version", "13".parse().expect("a value"));
    let answer = tokio::spawn(client.send_request(connect));
    let mut backend = world.old.accept().await;
    let head = backend.head().await;
    let key = head.field("sec-websocket-key").expect("a key");
    let accept = accept(key);
    backend
        .say(format!("{SWITCHED}{accept}\r\n\r\nword-in-a-socket"))
        .await;
    let mut answer = answer.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let upgraded = hyper::upgrade::on(&mut answer).await.expect("a stream");
    let mut socket = hyper_util::rt::TokioIo::new(upgraded);
    let mut came = [0; 16];
    socket.read_exact(&mut came).await.expect("read");
    socket.write_all(b"word-in-a-socket").await.expect("written");
    backend.exactly(16).await;
}

/// A backend's answer that cannot be read is not shown either: it may repeat what was sent.
async fn in_nonsense() {
    let world = world(Differences {
        server: "backend_connect_retries = 0",
        ..Differences::default()
    })
    .await;
    for nonsense in [
        "echoed-in-an-answer",
        "HTTP/1.1 200 OK\r\nX echoed-in-an-answer\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: echoed-in-an-answer\r\n\r\n",
    ] {
        let mut client = Talk::to(world.node.address).await;
        client.say(request(CREDENTIALS[0].0)).await;
        let mut backend = world.old.accept().await;
        backend.message().await;
        backend.say(nonsense).await;
        drop(backend);
        client.message().await;
    }
}
