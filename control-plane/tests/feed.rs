//! What nodes are sent: over real mTLS, from a real PostgreSQL.

mod stage;

use mailswitch_control_plane::routing::log::Bounds;
use mailswitch_proto::control::v1::problem::Kind;
use mailswitch_proto::fleet::v1::{self as wire, node_message};
use stage::node::{Node, Self_};
use stage::{Stage, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_gets_a_snapshot_and_then_every_change_as_a_delta() {
    let stage = Stage::configured().await;
    stage.map("alice@example.org", "new").await;
    let mut node = stage.node("fra-1").await;
    assert!(node.welcome.newly_registered);
    assert!(!node.welcome.diverged);
    node.follow_to(node.welcome.registered_revision).await;
    assert_eq!((node.snapshots, node.deltas), (1, 0));
    assert_eq!(node.mapped("alice@example.org").as_deref(), Some("new"));
    assert!(!node.state().resources().is_empty());

    for login in ["bob", "carol", "dave"] {
        stage.map(login, "new").await;
    }
    let committed = stage.map("@example.net", "legacy").await;
    node.follow_to(committed.revision).await;
    assert_eq!((node.snapshots, node.deltas), (1, 4));
    assert_eq!(node.mapped("carol@example.org").as_deref(), Some("new"));
    assert_eq!(node.mapped("@example.net").as_deref(), Some("legacy"));
    assert_eq!(node.me.known.digest.to_vec(), committed.digest);
    until("status shows what was sent and what is applied", async || {
        let status = stage.status().await;
        let node = &status.nodes[0];
        (node.sent_revision, node.applied_revision) == (committed.revision, committed.revision)
            && node.applied_digest == status.digest
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_gets_only_what_it_missed() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let me = node.me.clone();
    drop(node);
    stage.map("alice", "new").await;
    let committed = stage.map("bob", "new").await;

    let mut node = Node::connect(&stage, me.clone()).await;
    assert!(!node.welcome.newly_registered);
    node.follow_to(committed.revision).await;
    assert_eq!((node.snapshots, node.deltas), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_after_a_restart_of_the_control_plane_gets_only_what_it_missed() {
    let mut stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let me = node.me.clone();
    drop(node);
    let committed = stage.map("alice", "new").await;
    stage.stop().await;
    stage.start().await;

    let mut node = Node::connect(&stage, me).await;
    assert!(!node.welcome.newly_registered, "the registry is in the database");
    node.follow_to(committed.revision).await;
    assert_eq!((node.snapshots, node.deltas), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drains_is_shown_so_also_by_a_control_plane_that_did_not_tell_it_to() {
    let mut stage = Stage::configured().await;
    let node = stage.node("fra-1").await;
    let me = node.me.clone();
    drop(node);
    stage.stop().await;
    stage.start().await;
    let node = Node::connect(&stage, me).await;
    for draining in [true, false] {
        let report = wire::Report {
            draining,
            ..wire::Report::default()
        };
        node.say(node_message::Message::Report(report)).await;
        until("status shows what the node says", async || {
            stage.status().await.nodes[0].draining == draining
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_behind_the_log_in_memory_gets_a_snapshot() {
    let bounds = Bounds {
        revisions: 2,
        ..Bounds::default()
    };
    let stage = Stage::with_log(bounds).await;
    stage.apply(stage::CONFIGURATION).await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let me = node.me.clone();
    drop(node);
    let mut committed = stage.map("alice", "new").await;
    for login in ["bob", "carol", "dave"] {
        committed = stage.map(login, "new").await;
    }
    let mut node = Node::connect(&stage, me).await;
    node.follow_to(committed.revision).await;
    assert_eq!((node.snapshots, node.deltas), (1, 0));
    assert_eq!(node.me.known.digest.to_vec(), committed.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_read_costs_no_queue_and_slows_nobody() {
    let bounds = Bounds {
        revisions: 16,
        ..Bounds::default()
    };
    let stage = Stage::with_log(bounds).await;
    stage.apply(stage::CONFIGURATION).await;
    let mut slow = stage.node("fra-1").await;
    let mut quick = stage.node("fra-2").await;
    quick.follow_to(quick.welcome.registered_revision).await;
    // Each import is 64 KB: together far more than a stream's flow control and the outbox hold.
    let mut last = 0;
    for round in 0..72 {
        last = import(&stage, round, 4000).await;
        quick.follow_to(last).await;
    }
    assert_eq!(quick.snapshots, 1, "it was never behind");
    let behind = stage.plane().nodes.named("fra-1").remove(0);
    assert!(
        behind.sent.0 + 16 < last,
        "most of it waits in the log, not for one node: {}",
        behind.sent
    );
    // When it reads again, it gets what its stream held, and a snapshot instead of the rest.
    slow.follow_to(last).await;
    assert!(
        slow.deltas < 72,
        "not all of it was queued for it: {}",
        slow.deltas
    );
    assert!(slow.snapshots >= 1);
    assert_eq!(slow.me.known, quick.me.known);
}

async fn import(stage: &Stage, round: usize, rows: usize) -> u64 {
    use mailswitch_proto::control::v1 as control;
    let mappings = (0..rows).map(|row| control::Mapping {
        identifier: format!("user-{row}-{round}@example.com"),
        destination: "new".to_owned(),
    });
    let request = control::MappingImportRequest {
        change: stage::because("a test"),
        unproven: true,
        mappings: mappings.collect(),
    };
    let answer = stage
        .operator()
        .await
        .mapping_import(tokio_stream::once(request))
        .await;
    stage::answered(answer)
        .committed
        .expect("it was committed")
        .revision
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_set_too_large_for_a_message_goes_as_a_snapshot() {
    let bounds = Bounds {
        delta: 10_000,
        ..Bounds::default()
    };
    let stage = Stage::with_log(bounds).await;
    stage.apply(stage::CONFIGURATION).await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let mut last = 0;
    for round in 0..3 {
        last = import(&stage, round, 50).await;
    }
    node.follow_to(last).await;
    assert_eq!((node.snapshots, node.deltas), (1, 3));
    let last = import(&stage, 3, 1000).await;
    node.follow_to(last).await;
    assert_eq!((node.snapshots, node.deltas), (2, 3));
    assert_eq!(node.state().table().len(), 1150);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_ahead_of_the_database_keeps_what_it_has_and_stops_routing_writes() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let mut me = node.me.clone();
    drop(node);
    me.known = me.known.after(b"a change that this database has lost");

    let mut node = Node::connect(&stage, me).await;
    assert!(node.welcome.diverged);
    assert!(
        node.hears_nothing_for(std::time::Duration::from_millis(300))
            .await
    );
    let status = stage.status().await;
    assert!(status.nodes[0].diverged);
    assert!(
        status.warnings.iter().any(|warning| warning.contains("fra-1")),
        "{:?}",
        status.warnings
    );
    let request = mailswitch_proto::control::v1::MappingSetRequest {
        change: stage::because("a test"),
        identifier: "alice".to_owned(),
        destination: "new".to_owned(),
        unproven: true,
    };
    let problem = stage::refused(stage.operator().await.mapping_set(request).await);
    assert_eq!(problem.kind(), Kind::Precondition);
    assert_eq!(problem.nodes, ["fra-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_another_branch_is_found_out_by_its_digest() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let mut me = node.me.clone();
    drop(node);
    stage.map("alice", "new").await;
    me.known.digest = [7; 32].into();
    assert!(Node::connect(&stage, me).await.welcome.diverged);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_nodes_certificate_opens_a_feed_and_only_in_its_own_name() {
    use mailswitch_proto::fleet::v1::fleet_client::FleetClient;
    let stage = Stage::new().await;
    let link = stage.link("urn:mailswitch:admin:root").await;
    let answer = FleetClient::new(link.channel()).feed(tokio_stream::empty()).await;
    let problem = stage::refused(answer);
    assert_eq!(problem.kind(), Kind::NotAllowed);

    let link = stage.link("urn:mailswitch:node:fra-1").await;
    let hello = mailswitch_proto::fleet::v1::NodeMessage {
        message: Some(mailswitch_proto::fleet::v1::node_message::Message::Hello(
            Self_::new("fra-2").hello(),
        )),
    };
    let answer = FleetClient::new(link.channel())
        .feed(tokio_stream::once(hello))
        .await;
    let status = answer.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
}

fn goodbye(instance: mailswitch_proto::id::InstanceId) -> node_message::Message {
    node_message::Message::Goodbye(wire::Goodbye {
        instance: instance.to_vec(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_unregisters_the_very_instance_and_is_a_revision_of_its_own() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let before = stage.status().await.revision;
    // Another process than the one that speaks: nothing comes of it.
    node.say(goodbye(mailswitch_proto::id::InstanceId::random()))
        .await;
    let committed = stage.map("alice", "new").await.revision;
    node.follow_to(committed).await;
    assert_eq!(committed, before + 1);
    assert!(!stage.status().await.nodes[0].left);

    node.say(goodbye(node.me.instance)).await;
    until("it is not listed as registered", async || {
        stage.status().await.nodes.is_empty()
    })
    .await;
    assert_eq!(stage.status().await.revision, committed + 1);

    // It comes again as one that has left: a guest, which is sent nothing and changes nothing.
    let mut me = node.me.clone();
    me.left = true;
    drop(node);
    let mut guest = Node::connect(&stage, me.clone()).await;
    assert_eq!(
        (guest.welcome.registered_revision, guest.welcome.diverged),
        (0, false)
    );
    guest.say(goodbye(me.instance)).await;
    until("it is listed as one that left", async || {
        let status = stage.status().await;
        status.nodes.len() == 1 && status.nodes[0].left
    })
    .await;
    assert_eq!(stage.status().await.revision, committed + 1);
    stage.map("bob", "new").await;
    assert!(
        guest
            .hears_nothing_for(std::time::Duration::from_millis(300))
            .await
    );
    drop(guest);
    until("it is gone", async || stage.status().await.nodes.is_empty()).await;

    // Who comes back is another instance, registered anew; a late goodbye of the one before does not concern it.
    let mut back = me.clone();
    back.left = false;
    back.replaces = vec![me.instance];
    back.instance = mailswitch_proto::id::InstanceId::random();
    let back = Node::connect(&stage, back).await;
    assert!(back.welcome.newly_registered);
    let guest = Node::connect(&stage, me.clone()).await;
    guest.say(goodbye(me.instance)).await;
    until("the late goodbye was heard", async || {
        stage.status().await.nodes.iter().any(|node| node.left)
    })
    .await;
    let status = stage.status().await;
    assert!(
        status
            .nodes
            .iter()
            .any(|node| !node.left && node.instance == back.me.instance.to_vec())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_did_not_say_its_goodbye_yet_still_counts_although_it_comes_as_one_that_left() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let mut me = node.me.clone();
    drop(node);
    let before = stage.status().await.revision;
    me.left = true;
    let guest = Node::connect(&stage, me.clone()).await;
    let status = stage.status().await;
    assert!(!status.nodes[0].left, "it is registered");
    guest.say(goodbye(me.instance)).await;
    until("its goodbye is written", async || {
        stage.status().await.revision == before + 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_running_node_takes_nobodys_place_and_both_count() {
    let stage = Stage::configured().await;
    let mut first = stage.node("fra-1").await;
    first.follow_to(first.welcome.registered_revision).await;
    let copy = Self_ {
        instance: mailswitch_proto::id::InstanceId::random(),
        replaces: vec![first.me.instance],
        ..first.me.clone()
    };
    let copy = Node::connect(&stage, copy).await;
    assert!(copy.welcome.newly_registered);
    let registered = |status: &mailswitch_proto::control::v1::StatusResponse, instance: &[u8]| {
        let mut nodes = status.nodes.iter();
        nodes.any(|node| node.instance == instance && node.registered_revision > 0)
    };
    let status = stage.status().await;
    assert!(
        registered(&status, &first.me.instance.to_vec()),
        "no flip may do without it"
    );
    assert!(registered(&status, &copy.me.instance.to_vec()));
    // The first one is still followed.
    let committed = stage.map("bob", "new").await;
    first.follow_to(committed.revision).await;

    // Once it is gone, the next start of its directory takes its place.
    let gone = first.me.instance;
    let next = Self_ {
        instance: mailswitch_proto::id::InstanceId::random(),
        replaces: vec![gone],
        ..first.me.clone()
    };
    drop(first);
    let next = Node::connect(&stage, next).await;
    let status = stage.status().await;
    assert!(!registered(&status, &gone.to_vec()));
    assert!(registered(&status, &next.me.instance.to_vec()));
    assert!(registered(&status, &copy.me.instance.to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_copies_of_one_directory_never_share_an_instance() {
    let stage = Stage::configured().await;
    let first = Self_ {
        process: vec![1; 16],
        ..Self_::new("fra-1")
    };
    let mut first = Node::connect(&stage, first).await;
    first.follow_to(first.welcome.registered_revision).await;
    let copy = Self_ {
        process: vec![2; 16],
        ..first.me.clone()
    };
    let told = Node::try_connect(&stage, copy.clone()).await.err().unwrap();
    assert_eq!(told.code(), tonic::Code::AlreadyExists, "{told:?}");
    // Under an instance of its own it counts, beside the first.
    let renewed = Self_ {
        instance: mailswitch_proto::id::InstanceId::random(),
        replaces: vec![first.me.instance],
        ..copy
    };
    let renewed = Node::connect(&stage, renewed).await;
    assert!(renewed.welcome.newly_registered);
    let status = stage.status().await;
    for instance in [first.me.instance, renewed.me.instance] {
        let mut nodes = status.nodes.iter();
        assert!(nodes.any(|node| node.instance == instance.to_vec() && node.registered_revision > 0));
    }
    // The same process on a new stream is no copy.
    let again = Node::connect(&stage, first.me.clone()).await;
    assert!(!again.welcome.newly_registered);
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_a_node_that_nobody_knows_may_be_tried_again() {
    let stage = Stage::configured().await;
    let request = mailswitch_proto::control::v1::NodeDrainRequest {
        change: stage::because("it left, and its next stream does not stand yet"),
        node: "fra-1".to_owned(),
        resume: true,
        leave: false,
    };
    let problem = stage::refused(stage.operator().await.node_drain(request).await);
    assert_eq!(problem.kind(), Kind::Precondition);
    assert!(problem.passing, "{problem:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_a_node_that_handed_over_count_until_the_one_that_follows_names_them() {
    let stage = Stage::configured().await;
    let (first, second) = (stage.node("fra-1").await, stage.node("fra-1").await);
    let me = Self_::new("fra-1");
    let mut third = Node::connect(&stage, me.clone()).await;
    let registered = async || {
        let mut all: Vec<Vec<u8>> = stage
            .status()
            .await
            .nodes
            .into_iter()
            .filter(|node| node.registered_revision > 0)
            .map(|node| node.instance)
            .collect();
        all.sort();
        all
    };
    let sorted = |ids: &[mailswitch_proto::id::InstanceId]| {
        let mut all: Vec<Vec<u8>> = ids.iter().map(|id| id.to_vec()).collect();
        all.sort();
        all
    };
    let ids = [first.me.instance, second.me.instance, me.instance];
    assert_eq!(registered().await, sorted(&ids), "each of them is asked");

    // It names both on a new stream; one of them still has its own.
    drop(first);
    let naming = Self_ {
        replaces: vec![ids[0], ids[1]],
        ..third.me.clone()
    };
    third = Node::connect(&stage, naming.clone()).await;
    assert!(!third.welcome.newly_registered);
    assert_eq!(third.welcome.not_replaced, [ids[1].to_vec()]);
    assert_eq!(registered().await, sorted(&ids[1..]));

    // It is gone, too, and named again: that is a revision, and costs none when there is nobody left to replace.
    drop(second);
    third = Node::connect(&stage, naming.clone()).await;
    assert!(third.welcome.not_replaced.is_empty());
    assert_eq!(registered().await, sorted(&ids[2..]));
    let before = stage.status().await.revision;
    let third = Node::connect(&stage, naming).await;
    assert!(!third.welcome.newly_registered);
    assert_eq!(stage.status().await.revision, before);
}
