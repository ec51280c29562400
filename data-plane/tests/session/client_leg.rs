//! The client's leg before its login: time, limits, the node's stop, injection.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::rig::{Backend, Differences, Talk, node};

#[tokio::test]
async fn a_client_that_does_not_sign_in_is_told_goodbye_in_time() {
    let backend = Backend::new().await;
    let differences = Differences {
        listener: "preauth_timeout = \"500ms\"",
        ..Differences::default()
    };
    let node = node(backend.address, differences).await;
    let mut client = Talk::client(&node).await;
    client.expect("* BYE").await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_full_listener_closes_without_a_word_and_takes_the_next_when_one_leaves() {
    let backend = Backend::new().await;
    let differences = Differences {
        listener: "max_connections = 2",
        ..Differences::default()
    };
    let node = node(backend.address, differences).await;
    let first = Talk::client(&node).await;
    let _second = Talk::client(&node).await;
    let mut third = Talk::new(TcpStream::connect(node.address).await.expect("a connection"));
    third.expect_end().await;
    drop(first);
    loop {
        let mut next = Talk::new(TcpStream::connect(node.address).await.expect("a connection"));
        if next.line().await.starts_with("* OK") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_stop_says_goodbye_to_those_who_have_not_signed_in_and_ends_at_once_without_others() {
    let backend = Backend::new().await;
    let mut node = node(backend.address, Differences::default()).await;
    let mut client = Talk::client(&node).await;
    let running = node.running.take().expect("a node");
    let stop = tokio::spawn(running.stop());
    client.expect("* BYE").await;
    client.expect_end().await;
    drop(client);
    tokio::time::timeout(Duration::from_secs(5), stop)
        .await
        .expect("long before the grace ends")
        .expect("no panic");
    assert!(TcpStream::connect(node.address).await.is_err());
}

#[tokio::test]
async fn a_login_that_its_backend_is_answering_at_a_stop_is_answered_and_its_session_has_the_grace() {
    let backend = Backend::new().await;
    let mut node = node(backend.address, Differences::default()).await;
    let mut client = Talk::client(&node).await;
    client.say("a1 LOGIN alice secret\r\n").await;
    let mut server = backend.silent().await;
    let stop = tokio::spawn(node.running.take().expect("a node").stop());
    while TcpStream::connect(node.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server
        .say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
        .await;
    server.expect("a1 AUTHENTICATE PLAIN").await;
    server.say("a1 OK in\r\n").await;
    client.expect("a1 OK in").await;
    client.say("a2 NOOP\r\n").await;
    assert_eq!(server.line().await, "a2 NOOP\r\n");
    drop(server);
    client.expect_end().await;
    drop(client);
    tokio::time::timeout(crate::rig::SOON, stop)
        .await
        .expect("long before the grace ends")
        .expect("no panic");
}

#[tokio::test]
async fn words_in_clear_behind_a_clients_starttls_are_never_interpreted() {
    use tokio::io::AsyncReadExt as _;
    let backend = Backend::new().await;
    let differences = Differences {
        listener: "tls = \"starttls\"",
        ..Differences::default()
    };
    let node = node(backend.address, differences).await;
    let mut client = Talk::client(&node).await;
    client.say("a1 STARTTLS\r\na2 LOGIN alice secret\r\n").await;
    client.expect("a1 OK").await;
    // Whatever comes now is TLS or an end, and nobody is dialled with the injected login.
    assert!(backend.nobody_comes(Duration::from_millis(500)).await);
    client.say("a3 LOGIN alice secret\r\n").await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(crate::rig::SOON, client.0.read_to_end(&mut rest)).await;
    let text = String::from_utf8_lossy(&rest);
    assert!(!text.contains("a2 ") && !text.contains("a3 "), "{text}");
    assert!(backend.nobody_comes(Duration::from_millis(100)).await);
}

#[tokio::test]
async fn a_login_that_is_no_identifier_is_a_temporary_failure_and_no_wrong_password() {
    let backend = Backend::new().await;
    let node = node(backend.address, Differences::default()).await;
    let mut client = Talk::client(&node).await;
    client.say("a1 LOGIN \"al ice\" secret\r\n").await;
    client.expect("a1 NO [UNAVAILABLE]").await;
    client.expect("* BYE").await;
    client.expect_end().await;
    assert!(backend.nobody_comes(Duration::from_millis(200)).await);
}

#[tokio::test]
async fn a_client_with_too_many_connections_is_told_so() {
    let backend = Backend::new().await;
    let differences = Differences {
        // Room for so many sessions that one client may have sixteen connections.
        descriptors: 128,
        ..Differences::default()
    };
    let node = node(backend.address, differences).await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        clients.push(Talk::client(&node).await);
    }
    let mut one_more = Talk::new(TcpStream::connect(node.address).await.expect("a connection"));
    one_more.expect("* BYE Too many connections").await;
    one_more.expect_end().await;
}
