//! An account moves while it is used over HTTP (promise A2, A3, A5, Q2, Q3). What is asserted is what the backends saw.

use std::time::Duration;

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::change::Kind;
use mailswitch_proto::id::{HoldId, OperationId};
use mailswitch_proto::identifier::pack;
use mailswitch_proto::revision::Revision;

use crate::rig::{Backend, Differences, Node, Talk, World, basic, ok, world};

pub(crate) const ANN: &str = "ann@example.org";

fn apply(node: &Node, kind: Kind) {
    let sessions = node.running.as_ref().expect("a node").node().knowledge.sessions();
    let (mut at, hash) = sessions.with_table(|table| (table.position(), table.hash_key()));
    at.revision = Revision(at.revision.0 + 1);
    let change = wire::Change {
        keys: pack(&[hash.key_of(ANN)]).into(),
        kind: Some(kind),
    };
    let set = wire::ChangeSet {
        changes: vec![change],
        traceparent: String::new(),
    };
    let applied = sessions.apply(&set, at);
    assert!(applied.rejected.is_empty(), "{:?}", applied.rejected);
}

pub(crate) fn hold(node: &Node, drain_timeout: Duration) -> HoldId {
    let hold = HoldId::random();
    let held = wire::Held {
        hold: hold.to_vec(),
        operation: OperationId::random().to_vec(),
        drain_timeout_millis: u32::try_from(drain_timeout.as_millis()).expect("short").into(),
        ..wire::Held::default()
    };
    apply(node, Kind::Held(held));
    hold
}

pub(crate) fn flip(node: &Node, hold: HoldId, to: &str) {
    let flipped = wire::Flipped {
        hold: hold.to_vec(),
        operation: OperationId::random().to_vec(),
        destination: to.to_owned(),
    };
    apply(node, Kind::Flipped(flipped));
}

fn is_quiet(node: &Node, hold: HoldId) -> bool {
    let sessions = node.running.as_ref().expect("a node").node().knowledge.sessions();
    sessions.quiesced().iter().any(|quiesced| quiesced.hold == hold)
}

pub(crate) async fn quiet(node: &Node, hold: HoldId) {
    let quiet = async {
        while !is_quiet(node, hold) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::rig::SOON, quiet)
        .await
        .expect("quiet in time");
}

/// A leg was reset under the hold: whatever its backend still does, the hold never counts it as over (Q2).
pub(crate) fn torn(node: &Node, hold: HoldId) {
    let sessions = node.running.as_ref().expect("a node").node().knowledge.sessions();
    let stuck = sessions.stuck_legs();
    assert!(stuck.iter().any(|leg| leg.holds == [hold]), "{stuck:?}");
    assert!(!is_quiet(node, hold));
}

pub(crate) async fn registered(node: &Node, sessions_of_ann: usize) {
    let sessions = node.running.as_ref().expect("a node").node().knowledge.sessions();
    let which = mailswitch_data_plane::sessions::Which::default();
    let there = async {
        while sessions.list(&which, 10).total != sessions_of_ann {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::rig::SOON, there)
        .await
        .expect("sessions in time");
}

pub(crate) fn ask(method: &str, rest: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: a\r\n{}{rest}\r\n", basic(ANN))
}

/// A WebSocket of hers, over which "hi" has come.
pub(crate) async fn a_websocket(node: &Node, old: &Backend) -> (Talk, Talk) {
    let mut client = Talk::to(node.address).await;
    client
        .say(ask(
            "GET",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
        ))
        .await;
    let mut leg = old.accept().await;
    leg.message().await;
    leg.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi")
        .await;
    client.head().await;
    assert_eq!(client.exactly(2).await, b"hi");
    (client, leg)
}

/// An event stream of hers, over which one event has come.
pub(crate) async fn an_event_stream(node: &Node, old: &Backend) -> (Talk, Talk) {
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    let mut leg = old.accept().await;
    leg.message().await;
    leg.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
        .await;
    client.head().await;
    assert_eq!(client.chunk().await, b"data: 1\n\n");
    (client, leg)
}

/// A request of somebody else.
pub(crate) fn of_bob() -> String {
    format!("GET /bob HTTP/1.1\r\nHost: a\r\n{}\r\n", basic("bob@example.org"))
}

/// A client's connection, and one of each of its two accounts to the backend, between two requests.
pub(crate) async fn idle_legs_of_two(node: &Node, old: &Backend) -> (Talk, Talk, Talk) {
    let mut client = Talk::to(node.address).await;
    client.say(of_bob()).await;
    let mut bobs = old.accept().await;
    bobs.message().await;
    bobs.say(ok("bob")).await;
    client.message().await;
    client.say(ask("GET", "")).await;
    let mut anns = old.accept().await;
    anns.message().await;
    anns.say(ok("ann")).await;
    client.message().await;
    (client, anns, bobs)
}

pub(crate) const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_idle_leg_is_closed_before_the_account_is_quiet_and_the_next_request_lands_on_the_target() {
    let World { node, old, new } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    let mut leg = old.accept().await;
    leg.message().await;
    leg.say(ok("old")).await;
    client.message().await;
    registered(&node, 1).await;
    let held = hold(&node, LONG);
    // Half-closed by us; not quiet before the backend's own end.
    assert!(leg.more().await.is_none());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!is_quiet(&node, held));
    drop(leg);
    quiet(&node, held).await;
    client.say(ask("GET", "")).await;
    assert!(new.nobody_comes(Duration::from_millis(200)).await, "held");
    flip(&node, held, "new");
    let mut leg = new.accept().await;
    leg.message().await;
    leg.say(ok("new")).await;
    assert_eq!(client.message().await.text(), "new");
    assert!(old.nobody_comes(Duration::from_millis(50)).await);
}

#[tokio::test]
async fn a_post_that_has_left_is_answered_by_the_source_and_the_hold_waits_for_it() {
    let World { node, old, new } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("POST", "Content-Length: 2\r\n") + "hi").await;
    let mut leg = old.accept().await;
    assert_eq!(leg.message().await.text(), "hi");
    let held = hold(&node, LONG);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!is_quiet(&node, held), "its request is open");
    leg.say(ok("done")).await;
    assert_eq!(client.message().await.text(), "done");
    assert!(leg.more().await.is_none(), "its leg is not kept");
    drop(leg);
    quiet(&node, held).await;
    flip(&node, held, "new");
    assert!(
        new.nobody_comes(Duration::from_millis(200)).await,
        "executed once"
    );
}

#[tokio::test]
async fn a_post_that_outlasts_the_drain_is_broken_off_and_never_sent_again() {
    let World { node, old, new } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("POST", "Content-Length: 2\r\n") + "hi").await;
    let mut leg = old.accept().await;
    leg.message().await;
    let held = hold(&node, Duration::from_millis(200));
    let answer = client.message().await;
    assert_eq!(answer.start, "HTTP/1.1 502 Bad Gateway");
    assert_eq!(
        answer.field("retry-after"),
        None,
        "nothing invites it to come again"
    );
    leg.ends().await;
    drop(leg);
    quiet(&node, held).await;
    flip(&node, held, "new");
    assert!(new.nobody_comes(Duration::from_millis(200)).await);
    assert!(old.nobody_comes(Duration::from_millis(50)).await);
}

#[tokio::test]
async fn a_get_that_outlasts_the_drain_waits_and_is_answered_by_the_target() {
    let World { node, old, new } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    let mut leg = old.accept().await;
    leg.message().await;
    let held = hold(&node, Duration::from_millis(200));
    leg.ends().await;
    drop(leg);
    quiet(&node, held).await;
    flip(&node, held, "new");
    let mut leg = new.accept().await;
    leg.message().await;
    leg.say(ok("new")).await;
    assert_eq!(client.message().await.text(), "new");
}

#[tokio::test]
async fn a_request_that_arrives_during_the_hold_waits_with_its_body_and_lands_on_the_target() {
    let World { node, old, new } = world(Differences::default()).await;
    let held = hold(&node, LONG);
    quiet(&node, held).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("POST", "Content-Length: 2\r\n") + "hi").await;
    registered(&node, 1).await;
    assert!(is_quiet(&node, held), "who waits has no leg");
    flip(&node, held, "new");
    let mut leg = new.accept().await;
    assert_eq!(leg.message().await.text(), "hi");
    leg.say(ok("done")).await;
    assert_eq!(client.message().await.text(), "done");
    assert!(old.nobody_comes(Duration::from_millis(50)).await);
}

#[tokio::test]
async fn a_request_that_waited_too_long_is_told_when_to_come_again() {
    let World { node, .. } = world(Differences::default()).await;
    let sessions = node.running.as_ref().expect("a node").node().knowledge.sessions();
    sessions.set_policy(mailswitch_data_plane::sessions::WaitPolicy {
        hold_login_timeout: Duration::from_millis(200),
        ..sessions.policy()
    });
    hold(&node, LONG);
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    let answer = client.message().await;
    assert_eq!(answer.start, "HTTP/1.1 503 Service Unavailable");
    assert!(answer.field("retry-after").is_some());
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_gives_its_place_back() {
    let World { node, .. } = world(Differences::default()).await;
    hold(&node, LONG);
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    registered(&node, 1).await;
    drop(client);
    registered(&node, 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_with_a_body_that_nobody_reads_gives_its_place_back() {
    let World { node, .. } = world(Differences::default()).await;
    hold(&node, LONG);
    for body in [0, 20_000] {
        let mut client = Talk::to(node.address).await;
        client
            .say(ask("POST", "Content-Length: 1000000\r\n") + &"x".repeat(body))
            .await;
        registered(&node, 1).await;
        drop(client);
        registered(&node, 0).await;
    }
}

#[tokio::test]
async fn an_event_stream_ends_whole_at_a_quiet_moment_of_the_drain() {
    let World { node, old, .. } = world(Differences::default()).await;
    let (mut client, mut leg) = an_event_stream(&node, &old).await;
    let held = hold(&node, LONG);
    assert_eq!(client.chunk().await, b"", "its end, long before the drain's");
    leg.ends().await;
    assert!(!is_quiet(&node, held));
    drop(leg);
    quiet(&node, held).await;
}

#[tokio::test]
async fn a_download_that_ends_with_its_connection_is_not_cut_at_a_quiet_moment() {
    let World { node, old, .. } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    let mut leg = old.accept().await;
    leg.message().await;
    leg.say("HTTP/1.1 200 OK\r\n\r\nhalf").await;
    client.head().await;
    assert_eq!(client.chunk().await, b"half");
    let held = hold(&node, LONG);
    assert!(
        client.is_silent(Duration::from_millis(600)).await,
        "no end that looks like one"
    );
    leg.say("rest").await;
    drop(leg);
    assert_eq!(client.chunk().await, b"rest");
    assert_eq!(client.chunk().await, b"");
    quiet(&node, held).await;
}

#[tokio::test]
async fn a_websocket_ends_at_a_quiet_moment_of_the_drain() {
    let World { node, old, .. } = world(Differences::default()).await;
    let (mut client, mut leg) = a_websocket(&node, &old).await;
    let held = hold(&node, LONG);
    leg.ends().await;
    assert!(!is_quiet(&node, held));
    drop(leg);
    client.ends().await;
    quiet(&node, held).await;
}

#[tokio::test]
async fn a_backend_that_does_not_close_keeps_the_account_from_being_quiet() {
    let World { node, old, .. } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    let mut leg = old.accept().await;
    leg.message().await;
    leg.say(ok("old")).await;
    client.message().await;
    let held = hold(&node, LONG);
    assert!(leg.more().await.is_none());
    // Longer than a backend may take (Q2).
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert!(!is_quiet(&node, held));
    let sessions = node.running.as_ref().expect("a node").node().knowledge.sessions();
    assert_eq!(sessions.stuck_legs().len(), 1);
    drop(leg);
    quiet(&node, held).await;
}

#[tokio::test]
async fn another_accounts_leg_of_the_same_client_is_left_alone() {
    let World { node, old, .. } = world(Differences::default()).await;
    let (mut client, mut anns, mut bobs) = idle_legs_of_two(&node, &old).await;
    let held = hold(&node, LONG);
    anns.ends().await;
    drop(anns);
    quiet(&node, held).await;
    client.say(of_bob()).await;
    assert_eq!(bobs.message().await.start, "GET /bob HTTP/1.1");
    bobs.say(ok("still")).await;
    assert_eq!(client.message().await.text(), "still");
}

#[tokio::test]
async fn a_kick_breaks_a_request_off_and_says_so_to_its_client() {
    let World { node, old, .. } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    let mut leg = old.accept().await;
    leg.message().await;
    leg.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        .await;
    client.head().await;
    assert_eq!(client.chunk().await, b"half");
    let sessions = node.running.as_ref().expect("a node").node().knowledge.sessions();
    assert_eq!(
        sessions.kick(&mailswitch_data_plane::sessions::Which::default()),
        1
    );
    client.is_gone().await;
    assert!(client.read.is_empty(), "it is not taken for complete");
    leg.ends().await;
}

#[tokio::test]
async fn a_pinned_request_is_held_with_the_account_that_its_authorization_names() {
    let World { node, old, .. } = world(Differences {
        routes: "[[http.route]]\nmatch = \"/**\"\ndestination = \"old\"\n",
        ..Differences::default()
    })
    .await;
    let held = hold(&node, LONG);
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    assert!(old.nobody_comes(Duration::from_millis(300)).await);
    flip(&node, held, "new");
    let mut leg = old.accept().await;
    leg.message().await;
    leg.say(ok("pinned")).await;
    assert_eq!(client.message().await.text(), "pinned");
}
