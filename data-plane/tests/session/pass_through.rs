//! SMTP and LMTP that is passed through (behaviour §6.5): the node says nothing, until there is no backend.

use std::net::SocketAddr;
use std::time::Duration;

use mailswitch_config::DestinationName;
use mailswitch_data_plane::sessions::Which;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::{Backend, Node, SOON, Talk, start_from};

/// A node with one listener, `smtp` or `lmtp`, in front of `backend`.
async fn node(backend: SocketAddr, protocol: &str, forwarding: &str, server: &str) -> Node {
    let files = tempfile::tempdir().expect("a directory");
    let moved = files.path().join("moved.tsv");
    std::fs::write(&moved, "").expect("written");
    let toml = format!(
        r#"
[server]
hostname = "mx.test"
{server}
[routing]
default_destination = "mx"
smtp_passthrough_destination = "mx"
[mapping]
source = "file"
[mapping.file]
path = "{moved}"
[destination.mx]
host = "{host}"
[destination.mx.protocol]
smtp = {{ port = {port}, tls = "plain", forwarding = "{forwarding}" }}
lmtp = {{ port = {port}, tls = "plain", forwarding = "{forwarding}" }}
[listener.in]
protocol = "{protocol}"
bind = ["127.0.0.1:0"]
tls = "plain"
"#,
        moved = moved.display(),
        host = backend.ip(),
        port = backend.port(),
    );
    start_from(files, &toml, 4096).await
}

/// The sessions of a node, as `session list` shows them.
fn listed(node: &Node) -> Vec<(String, String, Option<DestinationName>)> {
    let running = node.running.as_ref().expect("a node");
    let sessions = running.node().knowledge.sessions();
    let listing = sessions.list(&Which::default(), 10);
    assert_eq!(listing.passed_through, listing.total);
    let shown = listing.sessions.iter().map(|session| {
        (
            session.about.protocol.to_string(),
            session.phase.as_str().to_owned(),
            session.destination.clone(),
        )
    });
    shown.collect()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn whatever_is_said_on_an_smtp_or_lmtp_connection_is_the_clients_and_the_backends() {
    for protocol in ["smtp", "lmtp"] {
        let backend = Backend::new().await;
        let node = node(backend.address, protocol, "none", "").await;
        let mut client = Talk::to(&node).await;
        let mut server = backend.silent().await;
        server.say("220 inside.test ready\r\n").await;
        client.expect("220 inside.test ready\r\n").await;
        // The client's own STARTTLS, too: it is between the two.
        for words in ["EHLO somewhere\r\n", "STARTTLS\r\n", "\u{16}\u{3}\u{1} TLS\r\n"] {
            client.say(words).await;
            assert_eq!(server.line().await, words);
        }
        until("the session is listed", || {
            listed(&node) == [(protocol.to_owned(), "bridged".to_owned(), Some("mx".into()))]
        })
        .await;
        client.0.get_mut().shutdown().await.expect("closed");
        server.expect_end().await;
        server.say("221 bye\r\n").await;
        drop(server);
        client.expect("221 bye\r\n").await;
        client.expect_end().await;
        drop(client);
        until("the session is over", || listed(&node).is_empty()).await;
    }
}

#[tokio::test]
async fn a_passed_through_backend_hears_the_client_in_a_proxy_header_and_nothing_by_xclient() {
    let backend = Backend::new().await;
    let with_header = node(backend.address, "smtp", "proxy", "").await;
    let client = Talk::to(&with_header).await;
    let mut server = backend.silent().await;
    let mut header = [0; 28];
    server.0.read_exact(&mut header).await.expect("a header");
    assert_eq!(&header[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c");
    let own = client.0.get_ref().local_addr().expect("its address");
    assert_eq!(header[24..26], own.port().to_be_bytes());
    drop((client, server));

    let without = node(backend.address, "smtp", "xclient", "").await;
    let mut client = Talk::to(&without).await;
    let mut server = backend.silent().await;
    client.say("NOOP\r\n").await;
    assert_eq!(server.line().await, "NOOP\r\n");
}

#[tokio::test]
async fn a_dial_that_fails_is_answered_with_421_also_for_a_client_that_talks_first() {
    let gone = Backend::new().await;
    let address = gone.address;
    drop(gone);
    let node = node(address, "lmtp", "none", "backend_connect_retries = 0").await;
    let mut client = Talk::to(&node).await;
    client.say("LHLO me\r\nMAIL FROM:<a@x.test>\r\n").await;
    client.expect("421 4.3.2 mx.test ").await;
    client.expect_end().await;
    until("nothing is listed", || listed(&node).is_empty()).await;
}

#[tokio::test]
async fn a_kick_and_a_drain_do_not_reach_a_passed_through_session_and_a_stop_does() {
    let backend = Backend::new().await;
    let mut node = node(backend.address, "smtp", "none", "shutdown_grace = \"300ms\"").await;
    let mut client = Talk::to(&node).await;
    let mut server = backend.silent().await;
    server.say("220 ready\r\n").await;
    client.expect("220").await;
    let sessions = node.running.as_ref().expect("a node").node().knowledge.sessions();
    assert_eq!(sessions.kick(&Which::default()), 0);
    sessions.drain(std::time::Instant::now());
    assert!(sessions.are_all_over(), "a goodbye does not wait for it");
    // Nobody new is served by a node that is drained, and hears so.
    let mut late = Talk::to(&node).await;
    late.expect("421 4.3.2 mx.test ").await;
    late.expect_end().await;
    client.say("NOOP\r\n").await;
    assert_eq!(server.line().await, "NOOP\r\n");
    let running = node.running.take().expect("a node");
    let stop = tokio::spawn(running.stop());
    client.say("RSET\r\n").await;
    assert_eq!(server.line().await, "RSET\r\n", "it has its grace");
    client.expect_end().await;
    server.expect_end().await;
    drop((client, server));
    tokio::time::timeout(SOON, stop)
        .await
        .expect("in time")
        .expect("no panic");
}

#[tokio::test]
async fn a_client_that_leaves_while_its_backend_is_dialled_gives_the_dial_up() {
    // Nobody accepts: the queue is full of connections that nobody takes, so that the next connect hangs.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    listener.bind(&any.into()).expect("bound");
    listener.listen(0).expect("listens");
    let address = listener
        .local_addr()
        .expect("its address")
        .as_socket()
        .expect("an address");
    let _first = std::net::TcpStream::connect(address).expect("a place in the queue");
    let node = node(address, "smtp", "none", "backend_timeout = \"60s\"").await;
    let client = Talk::to(&node).await;
    until("it is dialled", || {
        listed(&node).iter().any(|(_, phase, _)| phase == "dialling")
    })
    .await;
    drop(client);
    until("the dial is given up", || listed(&node).is_empty()).await;
}
