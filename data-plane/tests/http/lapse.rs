//! The lease of an account lapses while it is used over HTTP: its legs are reset at once, whatever they are doing, and
//! nobody else's are (promise L1, Q2). The backends say how their connections ended.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::StatusCode;
use mailswitch_data_plane::sessions::Which;

use crate::cutover::{
    ANN, LONG, a_websocket, an_event_stream, ask, flip, hold, idle_legs_of_two, of_bob, registered, torn,
};
use crate::http2::{self, TLS, empty};
use crate::rig::{Differences, Node, Talk, World, ok, world};

/// Of Ann's sessions.
fn lapse(node: &Node) {
    let sessions = node.running.as_ref().expect("a node").node().knowledge.sessions();
    let anns = sessions.with_table(|table| table.hash_key().key_of(ANN));
    let which = Which {
        keys: vec![anns],
        ..Which::default()
    };
    assert!(sessions.reset(&which) > 0, "she has none");
}

#[tokio::test]
async fn a_request_that_is_being_sent_is_cut_and_never_sent_again() {
    let World { node, old, new } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("POST", "Content-Length: 1000\r\n") + "half").await;
    let mut leg = old.accept().await;
    leg.head().await;
    assert_eq!(leg.exactly(4).await, b"half");
    let held = hold(&node, LONG);
    lapse(&node);
    leg.is_reset().await;
    torn(&node, held);
    let answer = client.message().await;
    assert_eq!(answer.start, "HTTP/1.1 502 Bad Gateway");
    assert_eq!(answer.field("retry-after"), None);
    flip(&node, held, "new");
    assert!(new.nobody_comes(Duration::from_millis(200)).await);
}

#[tokio::test]
async fn an_answer_that_is_being_relayed_is_cut_and_is_not_taken_for_complete() {
    let World { node, old, .. } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    let mut leg = old.accept().await;
    leg.message().await;
    leg.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        .await;
    client.head().await;
    assert_eq!(client.chunk().await, b"half");
    lapse(&node);
    leg.is_reset().await;
    client.is_gone().await;
    assert!(client.read.is_empty(), "no last chunk");
    registered(&node, 0).await;
}

#[tokio::test]
async fn a_get_without_an_answer_is_cut_waits_for_the_hold_and_is_answered_by_the_target() {
    let World { node, old, new } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    let mut leg = old.accept().await;
    leg.message().await;
    let held = hold(&node, LONG);
    lapse(&node);
    leg.is_reset().await;
    torn(&node, held);
    flip(&node, held, "new");
    let mut leg = new.accept().await;
    leg.message().await;
    leg.say(ok("new")).await;
    assert_eq!(client.message().await.text(), "new");
}

#[tokio::test]
async fn an_event_stream_is_cut() {
    let World { node, old, .. } = world(Differences::default()).await;
    let (mut client, mut leg) = an_event_stream(&node, &old).await;
    lapse(&node);
    leg.is_reset().await;
    client.is_gone().await;
    registered(&node, 0).await;
}

#[tokio::test]
async fn a_websocket_is_cut() {
    let World { node, old, .. } = world(Differences::default()).await;
    let (mut client, mut leg) = a_websocket(&node, &old).await;
    lapse(&node);
    leg.is_reset().await;
    client.is_gone().await;
    registered(&node, 0).await;
}

#[tokio::test]
async fn idle_legs_of_the_account_are_cut_and_another_accounts_are_not() {
    let World { node, old, .. } = world(Differences::default()).await;
    let (mut client, mut anns, mut bobs) = idle_legs_of_two(&node, &old).await;
    registered(&node, 2).await;
    lapse(&node);
    anns.is_reset().await;
    registered(&node, 1).await;
    client.say(of_bob()).await;
    assert_eq!(bobs.message().await.start, "GET /bob HTTP/1.1");
    bobs.say(ok("still")).await;
    assert_eq!(client.message().await.text(), "still");
}

#[tokio::test]
async fn a_leg_whose_end_is_waited_for_is_cut() {
    let World { node, old, .. } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "Connection: close\r\n")).await;
    let mut leg = old.accept().await;
    leg.message().await;
    leg.say(ok("old")).await;
    client.message().await;
    // Half-closed by us; the backend has no end in mind.
    client.ends().await;
    assert!(leg.more().await.is_none());
    lapse(&node);
    registered(&node, 0).await;
    // What it still sends meets nobody.
    while leg.try_say("more").await.is_ok() {}
}

#[tokio::test]
async fn of_one_http2_connection_only_the_accounts_own_streams_are_cut() {
    let World { node, old, new } = world(Differences {
        moved: "bob@example.org new\n",
        ..TLS
    })
    .await;
    let mut client = http2::client(&node).await;
    let body = StreamBody::new(futures::stream::pending()).boxed_unsync();
    let sending = client.send_request(http2::ask("POST", "/sending", ANN, body));
    let sending = tokio::spawn(sending);
    let mut sent_to = old.accept().await;
    sent_to.head().await;
    let relayed = client.send_request(http2::ask("GET", "/relayed", ANN, empty()));
    let relayed = tokio::spawn(relayed);
    let mut relayed_from = old.accept().await;
    relayed_from.head().await;
    relayed_from
        .say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        .await;
    let mut relayed = relayed.await.expect("no panic").expect("a head").into_body();
    let half = relayed.frame().await.expect("a frame").expect("half of it");
    assert_eq!(half.into_data().ok(), Some(Bytes::from_static(b"half")));
    let bobs = client.send_request(http2::ask("GET", "/bob", "bob@example.org", empty()));
    let bobs = tokio::spawn(bobs);
    let mut bobs_leg = new.accept().await;
    bobs_leg.head().await;
    lapse(&node);
    sent_to.is_reset().await;
    relayed_from.is_reset().await;
    let answer = sending.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(relayed.frame().await.expect("its end").is_err(), "not complete");
    bobs_leg.say(ok("bob")).await;
    let answer = bobs.await.expect("no panic").expect("an answer");
    assert_eq!(http2::text(answer).await, "bob");
}
