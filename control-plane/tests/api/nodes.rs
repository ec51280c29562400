//! What nodes say, and what is asked of them.

use mailswitch_control_plane::change::Context;
use mailswitch_control_plane::change::node::{Forget, Word, node_forget};
use mailswitch_proto::control::v1 as control;
use mailswitch_proto::control::v1::problem::Kind;
use mailswitch_proto::fleet::v1 as fleet;
use mailswitch_proto::fleet::v1::{answer, node_message, request};
use mailswitch_proto::revision::Revision;

use crate::stage::node::Node;
use crate::stage::{self, Stage, answered, because, refused, until};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_asked_of_every_node_and_one_that_is_away_is_named() {
    let stage = Stage::configured().await;
    stage.account(&["alice@example.org", "al@example.org"]).await;
    let mut node = stage.node("fra-1").await;
    drop(stage.node("ber-1").await);
    until("it is known to be away", async || {
        stage
            .status()
            .await
            .nodes
            .iter()
            .any(|node| node.name == "ber-1" && !node.connected)
    })
    .await;
    let answering = tokio::spawn(async move {
        let (id, asked) = node.asked().await;
        let page = fleet::SessionPage {
            total: 3,
            ..Default::default()
        };
        node.answer(id, answer::Answer::Sessions(page)).await;
        (node, asked)
    });
    let request = control::SessionListRequest {
        identifier: "al@example.org".to_owned(),
        ..Default::default()
    };
    let listed = answered(stage.client("viewer").await.session_list(request).await).nodes;
    let (_node, asked) = answering.await.unwrap();
    let request::Request::ListSessions(asked) = asked else {
        panic!("sessions are asked for: {asked:?}")
    };
    assert_eq!(asked.keys.len(), 32, "both logins of the account");
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].node, "ber-1");
    assert!(listed[0].page.is_none());
    assert!(listed[0].error.contains("not connected"), "{}", listed[0].error);
    assert_eq!(listed[1].page.as_ref().map(|page| page.total), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_rejects_is_shown_until_it_has_taken_a_later_version() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let rejected = fleet::Rejected {
        revision: node.me.known.revision.0,
        resource: "destination.new".to_owned(),
        reason: "new.pem cannot be read".to_owned(),
    };
    node.say(node_message::Message::Rejected(rejected.clone())).await;
    until("status shows it", async || {
        stage.status().await.nodes[0].rejected == [rejected.clone()]
    })
    .await;

    let corrected = stage::CONFIGURATION.replace("new.example.org", "newer.example.org");
    let request = control::ApplyRequest {
        change: because("a test"),
        toml: corrected,
        file: "fleet.toml".to_owned(),
        unproven: true,
    };
    let applied = answered(stage.operator().await.apply(request).await);
    assert_eq!(stage.status().await.nodes[0].rejected.len(), 1, "not applied yet");
    node.follow_to(applied.committed.unwrap().revision).await;
    until("it is gone", async || {
        stage.status().await.nodes[0].rejected.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_the_feed_stays_up_and_status_says_so() {
    let stage = Stage::configured().await;
    stage.map("alice", "new").await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let postmaster = stage.postmaster();
    // Stopped first: a supervisor cannot bring back what it believes to be running.
    nix::sys::signal::kill(postmaster, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let backends = stage::stop_children(postmaster);
    let status = stage.status().await;
    let database = status.database.unwrap();
    assert!(!database.reachable);
    assert!(!database.error.is_empty());
    assert_eq!(status.mappings, 1, "from memory");
    assert!(status.nodes[0].connected, "the feed is up");
    let resolve = control::ResolveRequest {
        login: "alice".to_owned(),
        all_nodes: false,
    };
    let resolved = answered(stage.client("viewer").await.resolve(resolve).await);
    assert_eq!(resolved.control_plane.unwrap().destination, "new");

    for pid in backends {
        // One that ended meanwhile needs no signal.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT);
    }
    nix::sys::signal::kill(postmaster, nix::sys::signal::Signal::SIGKILL).unwrap();
    until("the database is back", async || {
        stage
            .status()
            .await
            .database
            .is_some_and(|database| database.reachable)
    })
    .await;
    let committed = stage.map("bob", "new").await;
    node.follow_to(committed.revision).await;
    assert_eq!(node.snapshots, 1, "the same stream went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_forgotten_only_on_the_word_that_it_is_stopped_and_only_when_it_is_away() {
    let stage = Stage::configured().await;
    let node = stage.node("fra-1").await;
    let forget = |stopped| control::NodeForgetRequest {
        change: because("a test"),
        node: "fra-1".to_owned(),
        instance: Vec::new(),
        stopped,
    };
    let mut admin = stage.client("admin").await;
    assert_eq!(
        refused(admin.node_forget(forget(true)).await).kind(),
        Kind::Precondition,
        "it is connected"
    );
    drop(node);
    until("it is away", async || !stage.status().await.nodes[0].connected).await;
    assert_eq!(
        refused(admin.node_forget(forget(false)).await).kind(),
        Kind::Precondition
    );
    answered(admin.node_forget(forget(true)).await);
    assert!(stage.status().await.nodes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_forgotten_while_it_connects_has_to_register_anew() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    let registered = node.welcome.registered_revision;
    node.follow_to(registered).await;
    // Past the check that it is away, as when it connected right after it, or to another replica.
    let forget = Forget {
        node: "fra-1".to_owned(),
        instance: None,
        word: Word::Stopped,
    };
    let context = Context::own("a test");
    let forgotten = node_forget(&stage.plane().writer, &context, &forget).await;
    let forgotten = forgotten.unwrap().position.unwrap().revision.0;
    let ended = loop {
        match node.hear().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it is told why"),
            Err(status) => break status,
        }
    };
    assert!(ended.message().contains("not registered"), "{ended:?}");
    let node = Node::connect(&stage, node.me.clone()).await;
    assert!(node.welcome.newly_registered);
    assert!(node.welcome.registered_revision > forgotten);
    // The word that comes too late for it does not count for what it is now.
    let plane = stage.plane();
    plane.nodes.forgotten("fra-1", None, Revision(forgotten));
    assert!(plane.nodes.is_connected(node.me.instance));
}
