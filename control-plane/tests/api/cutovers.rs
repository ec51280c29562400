//! A cutover, from its start to its end.

use mailswitch_proto::control::v1 as control;

use crate::stage::node::Node;
use crate::stage::{Stage, answered, because, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_cutover_is_done_when_every_node_has_said_that_it_is_quiet() {
    let stage = Stage::configured().await;
    stage.account(&["alice@example.org"]).await;
    let mut nodes = [stage.node("fra-1").await, stage.node("ber-1").await];
    for node in &mut nodes {
        node.follow_to(node.welcome.registered_revision).await;
    }
    let mut operator = stage.operator().await;
    let begun = answered(operator.cutover_start(cutover()).await);
    let mut watched = answered(
        operator
            .operation_watch(control::OperationRef { id: begun.id.clone() })
            .await,
    );
    for node in &mut nodes {
        let hold = held(node, "alice@example.org").await;
        node.quiesce(hold).await;
    }
    let mut last = None;
    while let Some(operation) = watched.message().await.unwrap() {
        last = Some(operation);
    }
    let last = last.expect("its states are told");
    assert_eq!(last.outcome(), control::Outcome::Done, "{last:?}");
    assert_eq!(last.proofs.len(), 2);
    assert!(last.proofs.iter().all(|proof| proof.quiesced));
    for node in &mut nodes {
        node.follow_to(last.end_revision).await;
        assert_eq!(node.mapped("alice@example.org").as_deref(), Some("new"));
        assert_eq!(node.hold_of("alice@example.org"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cutover_that_a_silent_node_has_not_proven_is_released_and_names_it() {
    let stage = Stage::configured().await;
    stage.account(&["alice@example.org"]).await;
    let mut quiet = stage.node("fra-1").await;
    let silent = stage.node("ber-1").await;
    quiet.follow_to(silent.welcome.registered_revision).await;
    let mut operator = stage.operator().await;
    let request = control::CutoverStartRequest {
        max_hold_millis: 1500,
        drain_timeout_millis: 500,
        ..cutover()
    };
    let begun = answered(operator.cutover_start(request).await);
    let hold = held(&mut quiet, "alice@example.org").await;
    quiet.quiesce(hold).await;
    let id = begun.id;
    let mut ended = None;
    until("it ends", async || {
        let reference = control::OperationRef { id: id.clone() };
        let now = answered(stage.operator().await.operation_get(reference).await);
        let over = now.outcome() != control::Outcome::Unspecified;
        ended = Some(now);
        over
    })
    .await;
    let ended = ended.unwrap();
    assert_eq!(ended.outcome(), control::Outcome::Unproven);
    assert_eq!(ended.missing, ["ber-1"]);
    quiet.follow_to(ended.end_revision).await;
    assert_eq!(
        quiet.mapped("alice@example.org").as_deref(),
        Some("legacy"),
        "written explicitly (promise F2)"
    );
}

pub(crate) fn cutover() -> control::CutoverStartRequest {
    control::CutoverStartRequest {
        change: because("a test"),
        identifier: "alice".to_owned(),
        from: vec!["legacy".to_owned()],
        to: "new".to_owned(),
        ..Default::default()
    }
}

async fn held(node: &mut Node, identifier: &str) -> mailswitch_proto::id::HoldId {
    loop {
        let next = node.me.known.revision.0 + 1;
        node.follow_to(next).await;
        if let Some(hold) = node.hold_of(identifier) {
            return hold;
        }
    }
}
