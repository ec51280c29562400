//! A database that may have gone back in time (promise D3, decision 0019): over real mTLS, from a real PostgreSQL.

// A test says with a panic what it did not expect.
#![allow(clippy::unwrap_used)]

mod stage;

use std::time::Duration;

use mailswitch_control_plane::server::health;
use mailswitch_proto::control::v1 as control;
use mailswitch_proto::control::v1::problem::Kind;
use mailswitch_telemetry::Health;
use stage::node::{Node, Self_};
use stage::{Stage, answered, because, refused, until};

async fn backup(stage: &Stage) -> Vec<u8> {
    let mut admin = stage.client("admin").await;
    let mut pages = answered(admin.backup(control::BackupRequest {}).await);
    let mut file = Vec::new();
    while let Some(chunk) = pages.message().await.unwrap() {
        file.extend(chunk.data);
    }
    file
}

async fn restore(stage: &Stage, file: &[u8]) -> control::RestoreResponse {
    let request = control::RestoreRequest {
        change: because("a test"),
        data: file.to_vec(),
        replace: true,
    };
    answered(
        stage
            .client("admin")
            .await
            .restore(tokio_stream::once(request))
            .await,
    )
}

fn set(identifier: &str) -> control::MappingSetRequest {
    control::MappingSetRequest {
        change: because("a test"),
        identifier: identifier.to_owned(),
        destination: "new".to_owned(),
        unproven: true,
    }
}

fn forget(node: &str) -> control::NodeForgetRequest {
    control::NodeForgetRequest {
        change: because("a test"),
        node: node.to_owned(),
        instance: Vec::new(),
        stopped: true,
    }
}

/// Whose word is missing, by what a routing write is refused with.
async fn waited_for(stage: &Stage) -> Vec<String> {
    let problem = refused(stage.operator().await.mapping_set(set("zoe")).await);
    assert_eq!(problem.kind(), Kind::Precondition, "{problem:?}");
    problem.nodes
}

fn is_ready_but(stage: &Stage, node: &str) -> bool {
    matches!(health(stage.plane()), Health::ReadyBut(what) if what.contains(node))
}

/// A new process of the same node, on the same state directory.
fn restarted(me: &Self_) -> Self_ {
    Self_ {
        instance: mailswitch_proto::id::InstanceId::random(),
        replaces: vec![me.instance],
        ..me.clone()
    }
}

async fn followed(stage: &Stage, name: &str) -> Node {
    let mut node = stage.node(name).await;
    node.follow_to(node.welcome.registered_revision).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_nothing_routes_before_every_node_has_spoken_and_those_ahead_were_decided_on() {
    let mut stage = Stage::configured().await;
    let nyc = followed(&stage, "nyc-1").await;
    let (behind, file) = (nyc.me.clone(), backup(&stage).await);
    let mut fra = followed(&stage, "fra-1").await;
    let committed = stage.map("alice", "new").await;
    fra.follow_to(committed.revision).await;
    let ahead = fra.me.clone();
    assert_eq!(health(stage.plane()), Health::Ready);

    let restored = restore(&stage, &file).await;
    assert!(fra.hear().await.is_err(), "it is told to say Hello again");
    // Also the one whose registration came after the backup: who is there is known better than by the backup.
    assert_eq!(waited_for(&stage).await, ["fra-1", "nyc-1"]);
    assert!(restored.notes[0].contains("fra-1, nyc-1"), "{:?}", restored.notes);
    assert!(is_ready_but(&stage, "nyc-1"));

    // One that is on the chain is served on. A process that was not registered would be by a routing write.
    let nyc = Node::connect(&stage, behind.clone()).await;
    assert!(!nyc.welcome.diverged);
    assert_eq!(waited_for(&stage).await, ["fra-1"]);
    let refused_hello = Node::try_connect(&stage, restarted(&behind)).await.err().unwrap();
    assert_eq!(
        refused_hello.code(),
        tonic::Code::Unavailable,
        "{refused_hello:?}"
    );
    // And one without a table would begin to serve what may be wrong.
    let empty = Self_ {
        known: mailswitch_proto::revision::Position::NONE,
        ..behind.clone()
    };
    let refused_hello = Node::try_connect(&stage, empty).await.err().unwrap();
    assert_eq!(
        refused_hello.code(),
        tonic::Code::Unavailable,
        "{refused_hello:?}"
    );
    // One that is ahead keeps what it has, and is not registered.
    let fra = Node::connect(&stage, ahead.clone()).await;
    assert!(fra.welcome.diverged);
    assert_eq!(waited_for(&stage).await, ["fra-1"]);
    let status = stage.status().await;
    assert_eq!(status.revision, restored.revision, "no revision was made");
    let warning = status.warnings.iter().find(|warning| warning.contains("fra-1"));
    assert!(
        warning.is_some_and(
            |warning| warning.contains("not in this database") && warning.contains("node forget")
        ),
        "{:?}",
        status.warnings
    );
    drop((fra, nyc));

    // The control plane forgets nothing of it when it restarts.
    stage.stop().await;
    stage.start().await;
    assert!(is_ready_but(&stage, "fra-1"));
    assert_eq!(waited_for(&stage).await, ["fra-1"]);
    let status = stage.status().await;
    let fra = status.nodes.iter().find(|node| node.name == "fra-1").unwrap();
    assert_eq!(
        (fra.diverged, fra.connected, fra.applied_revision),
        (true, false, ahead.known.revision.0)
    );

    // Its next process, whose state file was damaged, cannot speak for it: what it knew is lost, and is not forgiven.
    let damaged = Self_ {
        known: mailswitch_proto::revision::Position::NONE,
        ..restarted(&ahead)
    };
    let refused_hello = Node::try_connect(&stage, damaged).await.err().unwrap();
    assert_eq!(
        refused_hello.code(),
        tonic::Code::Unavailable,
        "{refused_hello:?}"
    );
    assert_eq!(waited_for(&stage).await, ["fra-1"]);

    // The operator gives up what it knows: it comes back with nothing.
    answered(stage.client("admin").await.node_forget(forget("fra-1")).await);
    assert_eq!(health(stage.plane()), Health::Ready);
    let committed = stage.map("bob", "new").await;
    let mut fra = stage.node("fra-1").await;
    fra.follow_to(committed.revision).await;
    assert_eq!(fra.mapped("alice@example.org"), None);
    assert_eq!(fra.mapped("bob@example.org").as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_brought_back_to_where_it_was_is_believed_again() {
    let stage = Stage::configured().await;
    let mut node = followed(&stage, "fra-1").await;
    let early = backup(&stage).await;
    let committed = stage.map("alice", "new").await;
    node.follow_to(committed.revision).await;
    let late = backup(&stage).await;
    restore(&stage, &early).await;
    let ahead = Node::connect(&stage, node.me.clone()).await;
    assert!(ahead.welcome.diverged);
    restore(&stage, &late).await;
    assert_eq!(waited_for(&stage).await, ["fra-1"], "it has to say so itself");
    let node = Node::connect(&stage, node.me.clone()).await;
    assert!(!node.welcome.diverged);
    stage.map("bob", "new").await;
    assert_eq!(health(stage.plane()), Health::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_remembers_nothing_waits_for_every_registered_node() {
    let mut stage = Stage::configured().await;
    stage.account(&["alice"]).await;
    let node = followed(&stage, "fra-1").await;
    let me = node.me.clone();
    let request = control::CutoverStartRequest {
        change: because("a test"),
        identifier: "alice".to_owned(),
        from: vec!["legacy".to_owned()],
        to: "new".to_owned(),
        max_hold_millis: 400,
        ..Default::default()
    };
    let started = answered(stage.operator().await.cutover_start(request).await);
    let operation = control::OperationRef {
        id: started.id.clone(),
    };
    until("alice is held", async || {
        let now = answered(stage.operator().await.operation_get(operation.clone()).await);
        !now.hold.is_empty()
    })
    .await;
    stage.stop().await;
    std::fs::remove_file(stage.state_dir().join("seen-revision")).unwrap();
    stage.start().await;

    assert_eq!(waited_for(&stage).await, ["fra-1"]);
    // Neither the deadline nor an operator releases what may have been flipped in what was lost.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let now = answered(stage.operator().await.operation_get(operation.clone()).await);
    assert_eq!(now.outcome(), control::Outcome::Unspecified, "{now:?}");
    let abort = control::OperationAbortRequest {
        change: because("a test"),
        id: started.id,
    };
    let problem = refused(stage.operator().await.operation_abort(abort).await);
    assert_eq!(problem.nodes, ["fra-1"]);

    // The new process of a node speaks for the one that it replaces; it is registered then.
    let node = Node::connect(&stage, restarted(&me)).await;
    assert!(node.welcome.newly_registered);
    stage.map("bob", "new").await;
    until("the deadline releases alice", async || {
        let now = answered(stage.operator().await.operation_get(operation.clone()).await);
        now.outcome() == control::Outcome::Unproven
    })
    .await;

    // Its memory is there again, and a restart asks nobody.
    stage.stop().await;
    stage.start().await;
    stage.map("carol", "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_behind_what_this_replica_remembers_is_not_ready_and_registers_nobody() {
    let mut stage = Stage::configured().await;
    let node = followed(&stage, "fra-1").await;
    let me = node.me.clone();
    drop(node);
    stage.stop().await;
    let memory = stage.state_dir().join("seen-revision");
    std::fs::write(&memory, format!("99 {}\n", "ab".repeat(32))).unwrap();
    stage.start().await;
    until(
        "it has looked",
        async || matches!(health(stage.plane()), Health::NotReady(why) if why.contains("99")),
    )
    .await;
    let problem = refused(stage.operator().await.mapping_set(set("alice")).await);
    assert!(problem.remedy.contains("seen-revision"), "{problem:?}");
    let refused_hello = Node::try_connect(&stage, me.clone()).await.err().unwrap();
    assert_eq!(refused_hello.code(), tonic::Code::Unavailable);

    // The operator's word: it goes on with the database as it is, once its nodes have spoken.
    stage.stop().await;
    std::fs::remove_file(&memory).unwrap();
    stage.start().await;
    assert_eq!(waited_for(&stage).await, ["fra-1"]);
    Node::connect(&stage, me).await;
    stage.map("alice", "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_node_that_has_not_spoken_is_waited_for_like_any_other() {
    let stage = Stage::configured().await;
    let fra = followed(&stage, "fra-1").await.me.clone();
    let nyc = followed(&stage, "nyc-1").await.me.clone();
    let fence = async || {
        let order = control::NodeFenceRequest {
            change: because("a test"),
            node: "nyc-1".to_owned(),
            ..Default::default()
        };
        answered(stage.client("admin").await.node_fence(order).await)
    };
    fence().await;
    restore(&stage, &backup(&stage).await).await;
    assert_eq!(waited_for(&stage).await, ["fra-1", "nyc-1"]);
    let _fra = Node::connect(&stage, fra).await;
    assert_eq!(waited_for(&stage).await, ["nyc-1"]);
    // Nor does the order settle what it may know.
    fence().await;
    assert_eq!(waited_for(&stage).await, ["nyc-1"]);
    let _nyc = Node::connect(&stage, nyc).await;
    stage.map("bob", "new").await;
    assert_eq!(health(stage.plane()), Health::Ready);
}
