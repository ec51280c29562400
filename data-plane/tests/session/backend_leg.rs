//! The leg to the backend: retries, the breaker, loops, silence, injection.

use std::time::{Duration, Instant};

use crate::rig::{ALICE, Backend, Differences, Talk, node};

const UNAVAILABLE: &str = "a1 NO [UNAVAILABLE]";

#[tokio::test]
async fn what_the_client_sent_behind_its_login_reaches_the_backend_once_and_in_order() {
    let backend = Backend::new().await;
    let node = node(backend.address, Differences::default()).await;
    let mut client = Talk::client(&node).await;
    client
        .say("a1 LOGIN alice secret\r\na2 SELECT INBOX\r\na3 FETCH 1 BODY[]\r\n")
        .await;
    let mut server = backend.greeted().await;
    server.expect(&format!("a1 AUTHENTICATE PLAIN {ALICE}\r\n")).await;
    client.say("a4 NOOP\r\n").await;
    server
        .say("* CAPABILITY IMAP4rev1\r\na1 OK in\r\n* 3 EXISTS\r\n")
        .await;
    for expected in ["* CAPABILITY IMAP4rev1\r\n", "a1 OK in\r\n", "* 3 EXISTS\r\n"] {
        assert_eq!(client.line().await, expected);
    }
    for expected in ["a2 SELECT INBOX\r\n", "a3 FETCH 1 BODY[]\r\n", "a4 NOOP\r\n"] {
        assert_eq!(server.line().await, expected);
    }
    client.say("a5 LOGOUT\r\n").await;
    server.expect("a5 LOGOUT").await;
    server.say("* BYE\r\na5 OK\r\n").await;
    drop(server);
    client.expect("* BYE").await;
    client.expect("a5 OK").await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_lost_connection_is_tried_again_and_the_login_succeeds() {
    let backend = Backend::new().await;
    let node = node(backend.address, Differences::default()).await;
    let mut client = Talk::client(&node).await;
    client.say("a1 LOGIN alice secret\r\n").await;
    drop(backend.silent().await);
    let mut server = backend.greeted().await;
    server.expect("a1 AUTHENTICATE PLAIN").await;
    server.say("a1 OK in\r\n").await;
    client.expect("a1 OK").await;
}

#[tokio::test]
async fn a_refusal_in_protocol_is_not_tried_again_and_is_no_wrong_password() {
    let backend = Backend::new().await;
    let node = node(backend.address, Differences::default()).await;
    let mut client = Talk::client(&node).await;
    client.say("a1 LOGIN alice secret\r\n").await;
    let mut server = backend.silent().await;
    server.say("* BYE overloaded\r\n").await;
    client.expect(UNAVAILABLE).await;
    client.expect("* BYE").await;
    client.expect_end().await;
    assert!(backend.nobody_comes(Duration::from_millis(500)).await);
}

#[tokio::test]
async fn nothing_is_tried_again_once_the_credential_was_sent() {
    let backend = Backend::new().await;
    let differences = Differences {
        server: "backend_timeout = \"1s\"",
        ..Differences::default()
    };
    let node = node(backend.address, differences).await;
    for silence in [false, true] {
        let mut client = Talk::client(&node).await;
        client.say("a1 LOGIN alice secret\r\n").await;
        let mut server = backend.greeted().await;
        server.expect("a1 AUTHENTICATE PLAIN").await;
        let kept = silence.then_some(server);
        client.expect(UNAVAILABLE).await;
        assert!(backend.nobody_comes(Duration::from_millis(500)).await);
        drop(kept);
    }
}

#[tokio::test]
async fn a_backend_that_accepts_and_says_nothing_costs_one_budget_retries_included() {
    let backend = Backend::new().await;
    let differences = Differences {
        server: "backend_timeout = \"1s\"\nbackend_connect_retries = 5",
        ..Differences::default()
    };
    let node = node(backend.address, differences).await;
    let mut client = Talk::client(&node).await;
    client.say("a1 LOGIN alice secret\r\n").await;
    let began = Instant::now();
    let _server = backend.silent().await;
    client.expect(UNAVAILABLE).await;
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(3),
        "{took:?}"
    );
}

#[tokio::test]
async fn an_open_breaker_answers_at_once_without_a_connection_and_one_probe_closes_it() {
    let backend = Backend::new().await;
    let differences = Differences {
        server: "host_down_threshold = 2\nhost_down_min_clients = 0\nhost_down_cooldown = \"1s\"\nbackend_connect_retries = 0",
        ..Differences::default()
    };
    let node = node(backend.address, differences).await;
    for _ in 0..2 {
        let mut client = Talk::client(&node).await;
        client.say("a1 LOGIN alice secret\r\n").await;
        drop(backend.silent().await);
        client.expect(UNAVAILABLE).await;
    }
    let mut client = Talk::client(&node).await;
    client.say("a1 LOGIN alice secret\r\n").await;
    client.expect(UNAVAILABLE).await;
    assert!(
        backend.nobody_comes(Duration::from_millis(1100)).await,
        "the cooldown passes without a dial"
    );
    let mut probe = Talk::client(&node).await;
    probe.say("a1 LOGIN alice secret\r\n").await;
    let mut server = backend.silent().await;
    let mut beside = Talk::client(&node).await;
    beside.say("a1 LOGIN alice secret\r\n").await;
    beside.expect(UNAVAILABLE).await;
    server.say("* OK [CAPABILITY IMAP4rev1 SASL-IR] ready\r\n").await;
    server.expect("a1 AUTHENTICATE").await;
    server.say("a1 OK in\r\n").await;
    probe.expect("a1 OK").await;
    let mut after = Talk::client(&node).await;
    after.say("a1 LOGIN alice secret\r\n").await;
    let mut server = backend.greeted().await;
    server.expect("a1 AUTHENTICATE").await;
}

#[tokio::test]
async fn a_destination_that_is_our_own_listener_is_not_dialled() {
    // The port has to be known before the file is written; nobody else takes it on this address.
    let reserved = Backend::new().await;
    let own = reserved.address;
    drop(reserved);
    let bind = format!("bind = [\"{own}\"]");
    let differences = Differences {
        listener: &bind,
        ..Differences::default()
    };
    let node = node(own, differences).await;
    let mut client = Talk::client(&node).await;
    client.say("a1 LOGIN alice secret\r\n").await;
    client.expect(UNAVAILABLE).await;
}

#[tokio::test]
async fn words_in_clear_behind_the_backends_starttls_reply_end_the_leg() {
    let backend = Backend::new().await;
    let differences = Differences {
        leg: "starttls",
        ..Differences::default()
    };
    let node = node(backend.address, differences).await;
    let mut client = Talk::client(&node).await;
    client.say("a1 LOGIN alice secret\r\n").await;
    let mut server = backend.silent().await;
    server.say("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n").await;
    let command = server.line().await;
    let tag = command.split(' ').next().unwrap_or_default().to_owned();
    assert!(command.contains("STARTTLS"), "{command}");
    server
        .say(&format!(
            "{tag} OK now\r\n* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] injected\r\n"
        ))
        .await;
    client.expect(UNAVAILABLE).await;
    server.expect_gone().await;
}

#[tokio::test]
async fn without_starttls_nothing_goes_on_in_clear() {
    let backend = Backend::new().await;
    let differences = Differences {
        leg: "starttls",
        ..Differences::default()
    };
    let node = node(backend.address, differences).await;
    let mut client = Talk::client(&node).await;
    client.say("a1 LOGIN alice secret\r\n").await;
    let mut server = backend.greeted().await;
    client.expect(UNAVAILABLE).await;
    server.expect_gone().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_gives_its_dial_up_at_once() {
    let backend = Backend::new().await;
    let node = node(backend.address, Differences::default()).await;
    let mut client = Talk::client(&node).await;
    client.say("a1 LOGIN alice secret\r\n").await;
    let mut server = backend.silent().await;
    let began = Instant::now();
    drop(client);
    server.expect_gone().await;
    assert!(began.elapsed() < Duration::from_secs(5));
}
