//! WebSockets over HTTP/2 (behaviour 8.3, RFC 8441): a stream of a connection that goes on, and a connection of HTTP/1.1
//! toward the backend.

use std::time::Duration;

use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::http2::{TLS, ask, client, empty, text};
use crate::rig::{Differences, ok, world};

#[tokio::test]
async fn a_websocket_over_http2_is_one_over_http1_toward_the_backend() {
    let world = world(TLS).await;
    let mut client = client(&world.node).await;
    // The server's settings allow it; they have come with the first answer at the latest.
    let answer = tokio::spawn(client.send_request(ask("GET", "/", "bob", empty())));
    let mut old = world.old.accept().await;
    old.message().await;
    old.say(ok("")).await;
    answer.await.expect("no panic").expect("an answer");
    let mut request = ask("CONNECT", "/ws", "ann@example.org", empty());
    request
        .extensions_mut()
        .insert(hyper::ext::Protocol::from_static("websocket"));
    request
        .headers_mut()
        .insert("sec-websocket-version", "13".parse().expect("a value"));
    let answer = tokio::spawn(client.send_request(request));
    let mut new = world.new.accept().await;
    let asked = new.head().await;
    assert_eq!(asked.start, "GET /ws HTTP/1.1");
    assert_eq!(asked.field("upgrade"), Some("websocket"));
    assert_eq!(asked.field("host"), Some("mail.example.org"));
    let key = asked.field("sec-websocket-key").expect("a key").to_owned();
    let accept = accept(&key);
    new.say(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\nfirst"
    ))
    .await;
    let mut answer = answer.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers().get("sec-websocket-accept"), None);
    let upgraded = hyper::upgrade::on(&mut answer).await.expect("a stream");
    let mut socket = TokioIo::new(upgraded);
    let mut first = [0; 5];
    socket.read_exact(&mut first).await.expect("read");
    assert_eq!(&first, b"first");
    socket.write_all(b"up").await.expect("written");
    assert_eq!(new.exactly(2).await, b"up");
    drop(new);
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    // The connection goes on.
    let answer = tokio::spawn(client.send_request(ask("GET", "/", "bob", empty())));
    old.message().await;
    old.say(ok("on")).await;
    assert_eq!(
        text(answer.await.expect("no panic").expect("an answer")).await,
        "on"
    );
}

#[tokio::test]
async fn a_connection_with_a_websocket_is_not_idle() {
    let world = world(Differences {
        http: "keepalive_timeout = \"1s\"",
        ..TLS
    })
    .await;
    let mut client = client(&world.node).await;
    let answer = tokio::spawn(client.send_request(ask("GET", "/", "ann@example.org", empty())));
    let mut new = world.new.accept().await;
    new.message().await;
    new.say(ok("")).await;
    answer.await.expect("no panic").expect("an answer");
    let mut request = ask("CONNECT", "/ws", "bob", empty());
    request
        .extensions_mut()
        .insert(hyper::ext::Protocol::from_static("websocket"));
    let answer = tokio::spawn(client.send_request(request));
    let mut old = world.old.accept().await;
    let asked = old.head().await;
    let accept = accept(asked.field("sec-websocket-key").expect("a key"));
    old.say(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
    .await;
    let mut answer = answer.await.expect("no panic").expect("an answer");
    let mut socket = TokioIo::new(hyper::upgrade::on(&mut answer).await.expect("a stream"));
    // The clock of the test: a connection that came later and has nothing open is told to go.
    let mut idle = super::http2::client(&world.node).await;
    let answer = tokio::spawn(idle.send_request(ask("GET", "/", "bob", empty())));
    let mut its_own = world.old.accept().await;
    its_own.message().await;
    its_own.say(ok("")).await;
    answer.await.expect("no panic").expect("an answer");
    let told_to_go = async {
        while idle.ready().await.is_ok() && !idle.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::rig::SOON, told_to_go)
        .await
        .expect("GOAWAY");
    let answer = tokio::spawn(client.send_request(ask("GET", "/", "ann@example.org", empty())));
    // The leg of its first request was idle for as long, and is closed.
    let mut new = world.new.accept().await;
    new.message().await;
    new.say(ok("on")).await;
    assert_eq!(
        text(answer.await.expect("no panic").expect("an answer")).await,
        "on"
    );
    socket.write_all(b"up").await.expect("written");
    assert_eq!(old.exactly(2).await, b"up");
}

pub(crate) fn accept(key: &str) -> String {
    use base64::Engine as _;
    use sha1::Digest as _;
    let digest = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(digest)
}
