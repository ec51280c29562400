//! WebSockets and event streams through a node (behaviour 8.3): upgraded as asked for, raw from then on.

use anyhow::Result;
use mailswitch_tests::{
    http::{
        python::Running,
        recorder::{Recorder, Reply},
        web::{BY_LOGIN, Web, destination},
    },
    when::wait_until,
};
use serde_json::json;

use super::{ALICE, SOON, Scene, answer, dial, url};

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Back: 1\r\n\r\nfirst bytes";

#[test]
fn a_websocket_client_talks_through_a_node_and_its_end_is_seen_on_both_sides() -> Result<()> {
    let scene = Scene::new()?;
    let web = Web::start(&scene.place, &scene.ca, "legacy")?;
    let node = scene.node(&(destination(&web, "implicit", "") + BY_LOGIN), "")?;
    for (scheme, listener) in [("wss", "implicit"), ("ws", "plain")] {
        let target = url(scheme, node.at("http", listener)?, "/ws");
        let mut socket = Running::start(
            "websocket.py",
            &json!({"url": target, "user": ALICE, "ca": scene.ca.pem()}),
        )?;
        assert_eq!(
            socket.said()?,
            json!({"opened": "legacy", "user": ALICE, "subprotocol": "echo"})
        );
        assert_eq!(socket.said()?, json!({"echoed": 3}));
        assert_eq!(web.open_streams(ALICE), 1);
        socket.finish()?;
        wait_until("it is closed", SOON, || web.open_streams(ALICE) == 0)?;
    }
    Ok(())
}

#[test]
fn a_101_is_passed_on_with_its_fields_and_the_bytes_behind_it() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |_| Reply::Close(SWITCHED.to_vec()))?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send(UPGRADE)?;
    let got = answer(&mut raw)?;
    assert_eq!((got.status, got.header("x-back")), (101, Some("1")));
    assert_eq!(got.header("upgrade"), Some("websocket"));
    assert_eq!(
        got.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(raw.rest()?, "first bytes");
    let asked = backend.asked().remove(0);
    assert_eq!(asked.header("upgrade"), ["websocket"]);
    assert_eq!(asked.header("sec-websocket-key"), ["dGhlIHNhbXBsZSBub25jZQ=="]);
    Ok(())
}

#[test]
fn what_a_client_sends_right_behind_its_upgrade_reaches_the_backend_first() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |asked| {
        if asked.number == 0 {
            Reply::Keep(SWITCHED.to_vec())
        } else {
            Reply::Silence
        }
    })?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send(format!("{UPGRADE}early and raw"))?;
    assert_eq!(answer(&mut raw)?.status, 101);
    wait_until("it is there", SOON, || backend.text().ends_with("early and raw"))?;
    raw.send(", and more")?;
    wait_until("so is the rest", SOON, || {
        backend.text().ends_with("early and raw, and more")
    })
}

#[test]
fn an_upgrade_that_a_backend_refuses_is_an_ordinary_answer() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "no sockets here")?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    for _ in 0..2 {
        raw.send(UPGRADE)?;
        let got = answer(&mut raw)?;
        assert_eq!((got.status, got.body.as_str()), (200, "no sockets here"));
    }
    Ok(())
}

#[test]
fn only_websockets_are_upgraded_to() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "plain")?;
    let node = scene.recorded(&backend, "")?;
    for request in [
        UPGRADE.replace("Upgrade: websocket", "Upgrade: h2c"),
        UPGRADE.replace("Upgrade: websocket", "Upgrade: websocket, h2c"),
        UPGRADE.replace("Connection: Upgrade\r\n", ""),
        UPGRADE.replace("GET", "POST"),
    ] {
        let mut raw = dial(&node)?;
        raw.send(&request)?;
        assert_eq!(answer(&mut raw)?.status, 200, "{request}");
    }
    for asked in backend.asked() {
        assert_eq!(asked.header("upgrade"), Vec::<&str>::new(), "{}", asked.head);
        assert_eq!(asked.header("connection"), Vec::<&str>::new(), "{}", asked.head);
    }
    Ok(())
}

#[test]
fn streams_that_are_silent_for_bridge_idle_end() -> Result<()> {
    let scene = Scene::new()?;
    let silent = Recorder::start(&scene.place, |asked| {
        if asked.number > 0 {
            return Reply::Silence;
        }
        if asked.line().contains("/ws") {
            Reply::Keep(SWITCHED.to_vec())
        } else {
            Reply::Keep(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n".to_vec())
        }
    })?;
    let tables =
        mailswitch_tests::http::web::at("legacy", silent.address, "plain", "forwarding = \"none\"\n")
            + "[http]\nrelay_idle = \"60s\"\n"
            + BY_LOGIN;
    let node = scene.node_with(&tables, "", "bridge_idle = \"1s\"\n")?;
    for request in [UPGRADE, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut raw = dial(&node)?;
        raw.send(request)?;
        let got = raw.rest()?;
        assert!(got.starts_with("HTTP/1.1 "), "{got}");
    }
    wait_until("the backend's connections have ended", SOON, || {
        silent.open() == 0
    })
}
