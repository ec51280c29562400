//! Requests that become WebSockets (behaviour 8.3).

use std::time::Duration;

use crate::rig::{Differences, Talk, basic, ok, world};

fn ask(who: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\n{}Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        basic(who)
    )
}

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: jmap\r\n\r\n";

#[tokio::test]
async fn a_websocket_is_bridged_with_what_was_sent_behind_either_head() {
    let world = world(Differences {
        moved: "ann new\n",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client.say(ask("ann") + "early").await;
    let mut backend = world.new.accept().await;
    let request = backend.head().await;
    assert_eq!(request.field("upgrade"), Some("websocket"));
    assert_eq!(request.field("connection"), Some("Upgrade"));
    assert!(request.field("sec-websocket-key").is_some());
    backend.say(format!("{SWITCHED}first")).await;
    let answer = client.head().await;
    assert_eq!(answer.start, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(answer.field("sec-websocket-protocol"), Some("jmap"));
    assert_eq!(
        answer.field("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(client.exactly(5).await, b"first");
    assert_eq!(backend.exactly(5).await, b"early");
    client.say("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(backend.exactly(18).await, b"GET / HTTP/1.1\r\n\r\n");
    backend.say("\x00\x01").await;
    assert_eq!(client.exactly(2).await, b"\x00\x01");
    drop(backend);
    client.is_gone().await;
}

#[tokio::test]
async fn a_websocket_that_is_refused_is_an_ordinary_answer() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client.say(ask("bob")).await;
    let mut backend = world.old.accept().await;
    backend.head().await;
    backend
        .say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        .await;
    assert_eq!(client.message().await.text(), "no");
    client
        .say(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", basic("bob")))
        .await;
    backend.head().await;
    backend.say(ok("yes")).await;
    assert_eq!(client.message().await.text(), "yes");
}

#[tokio::test]
async fn an_upgrade_to_something_else_is_not_passed_on() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
        .await;
    let mut backend = world.old.accept().await;
    let request = backend.head().await;
    for field in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(request.field(field), None);
    }
    backend.say(ok("plain")).await;
    assert_eq!(client.message().await.text(), "plain");
}

#[tokio::test]
async fn an_idle_websocket_ends_after_bridge_idle_and_not_before() {
    let world = world(Differences {
        server: "bridge_idle = \"1s\"",
        http: "keepalive_timeout = \"300ms\"\nrelay_idle = \"300ms\"",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client.say(ask("bob")).await;
    let mut backend = world.old.accept().await;
    backend.head().await;
    backend.say(SWITCHED).await;
    client.head().await;
    assert!(client.is_silent(Duration::from_millis(600)).await);
    client.is_gone().await;
    backend.is_gone().await;
}
