//! Where a node stands in the log: what it takes, what it refuses, and what it does alone (promise N4, N5, N7, D3).

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::fleet_message::Message as FromFleet;
use mailswitch_proto::revision::Position;

use super::play::{
    ControlPlane, FLEET, Node, OLD, about, delta, example, flipped, held, mapped, resource, who,
};
use crate::route::{Look, Refusal};
use crate::sessions::{ActingFor, LegIsOver, Order};
use crate::source::Readiness;

#[tokio::test]
async fn a_new_node_serves_nobody_until_it_has_the_table() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, hello) = plane.accept().await;
    assert_eq!(
        (hello.known_revision, hello.known_digest.len(), hello.fleet.len()),
        (0, 0, 0)
    );
    assert_eq!((hello.node.as_str(), hello.site.as_str()), ("fra-1", "fra"));
    assert!(hello.replaces_instance.is_empty());
    assert_eq!(node.look("ann@example.org"), Look::Refused(Refusal::NotSynced));
    assert_eq!(node.knowledge.readiness(), Readiness::NotSynced);
    stream
        .welcome(wire::Welcome {
            registered_revision: 10,
            newly_registered: true,
            ..wire::Welcome::default()
        })
        .await;
    let at = stream.snapshot(example()).await;
    stream.applied(at).await;
    assert_eq!(node.goes_to("ann@example.org"), Some("old".into()));
    assert_eq!(
        node.goes_to("nobody@example.org"),
        Some("old".into()),
        "the default destination is there with the table"
    );
    assert_eq!(node.knowledge.config().destinations.len(), 2);
    assert_eq!(node.knowledge.readiness(), Readiness::Serving);
}

#[tokio::test]
async fn a_node_without_a_control_plane_serves_from_its_state_file_and_keeps_holds() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let at = stream.delta(at, vec![held(&["ann@example.org"], [1; 16])]).await;
    let at = stream.delta(at, vec![mapped(&["bob@example.org"], "new")]).await;
    stream.applied(at).await;
    node.stop().await;
    let gone = plane.address;
    drop((stream, plane));

    let node = Node::start(directory.path(), &[gone]);
    assert_eq!(node.look("ann@example.org"), Look::Held);
    assert_eq!(node.goes_to("bob@example.org"), Some("new".into()));
    assert_eq!(node.goes_to("nobody@example.org"), Some("old".into()));
    assert_eq!(node.knowledge.config().destinations.len(), 2);
}

#[tokio::test]
async fn a_restarted_node_says_where_it_stands_and_whom_it_replaces() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (_stream, at) = plane.accept_and_fill().await;
    let first = {
        node.stop().await;
        let node = Node::start(directory.path(), &[plane.address]);
        let (mut stream, hello) = plane.accept().await;
        assert_eq!(hello.known_revision, at.revision.0);
        assert_eq!(hello.known_digest, at.digest.to_vec());
        assert_eq!(hello.fleet, FLEET);
        assert!(!hello.replaces_instance.is_empty() && hello.replaces_instance != [hello.instance.clone()]);
        stream.welcome(wire::Welcome::default()).await;
        let at = stream.delta(at, vec![mapped(&["cyd@example.org"], "new")]).await;
        stream.applied(at).await;
        assert_eq!(node.goes_to("cyd@example.org"), Some("new".into()));
        node.stop().await;
        hello.instance
    };
    let node = Node::start(directory.path(), &[plane.address]);
    let (_stream, hello) = plane.accept().await;
    assert_eq!(hello.replaces_instance, [first]);
    node.stop().await;
}

#[tokio::test]
async fn a_node_whose_instance_another_process_has_comes_back_under_one_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (stream, shared) = plane.accept().await;
    stream
        .refuse(tonic::Status::already_exists("its directory was copied"))
        .await;
    let (stream, hello) = plane.accept().await;
    assert!(hello.instance != shared.instance && hello.replaces_instance == [shared.instance]);
    assert_eq!(hello.process, shared.process);
    stream.welcome(wire::Welcome::default()).await;
    node.stop().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (_stream, after) = plane.accept().await;
    assert!(after.process != hello.process);
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_misses_a_revision_drops_the_stream_and_never_applies_over_the_gap() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (stream, at) = plane.accept_and_fill().await;
    let (_missed, next) = delta(at, vec![held(&["ann@example.org"], [1; 16])]);
    stream
        .delta(next, vec![mapped(&["bob@example.org"], "new")])
        .await;
    stream.given_up().await;
    let (mut stream, hello) = plane.accept().await;
    assert_eq!(hello.known_revision, at.revision.0);
    assert_eq!(node.goes_to("bob@example.org"), Some("old".into()));

    // Another history under the same number.
    stream.welcome(wire::Welcome::default()).await;
    let elsewhere = Position {
        digest: next.digest,
        ..at
    };
    stream
        .delta(elsewhere, vec![mapped(&["bob@example.org"], "new")])
        .await;
    stream.given_up().await;
    // And one whose digest is not that of its bytes.
    (stream, _) = plane.accept().await;
    stream.welcome(wire::Welcome::default()).await;
    let (mut changed, _) = delta(at, vec![mapped(&["bob@example.org"], "new")]);
    changed.digest[0] ^= 1;
    stream.say(FromFleet::Delta(changed)).await;
    stream.given_up().await;
    assert_eq!(node.goes_to("bob@example.org"), Some("old".into()));
}

#[tokio::test]
async fn a_node_refuses_a_snapshot_that_is_older_than_its_table() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let at = stream.delta(at, vec![held(&["ann@example.org"], [1; 16])]).await;
    stream.applied(at).await;
    stream.snapshot(example()).await;
    stream.given_up().await;
    assert_eq!(node.look("ann@example.org"), Look::Held);
}

#[tokio::test]
async fn a_diverged_node_keeps_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (stream, _) = plane.accept_and_fill().await;
    drop(stream);
    let (mut stream, _) = plane.accept().await;
    let welcome = wire::Welcome {
        diverged: true,
        newly_registered: true,
        registered_revision: 99,
        ..wire::Welcome::default()
    };
    stream.welcome(welcome).await;
    stream
        .until(|message| matches!(message, wire::node_message::Message::Applied(_)).then_some(()))
        .await;
    assert_eq!(node.goes_to("ann@example.org"), Some("old".into()));
}

#[tokio::test]
async fn a_process_that_is_welcomed_as_diverged_leaves_whom_it_replaces_to_be_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, hello) = plane.accept().await;
    stream.welcome(wire::Welcome::default()).await;
    let at = stream.snapshot(vec![held(&["ann@example.org"], [1; 16])]).await;
    stream.applied(at).await;
    node.stop().await;
    let registered = hello.instance;

    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, hello) = plane.accept().await;
    assert_eq!(hello.replaces_instance, std::slice::from_ref(&registered));
    let welcome = wire::Welcome {
        diverged: true,
        ..wire::Welcome::default()
    };
    stream.welcome(welcome).await;
    stream.applied(at).await;
    node.stop().await;
    let unregistered = hello.instance;

    // Its successor speaks for it, and still for the one that is registered.
    let _node = Node::start(directory.path(), &[plane.address]);
    let (_stream, hello) = plane.accept().await;
    assert_eq!(hello.replaces_instance, std::slice::from_ref(&registered));
    assert_eq!(hello.instance, unregistered);
}

#[tokio::test]
async fn a_node_that_was_given_up_serves_again_only_from_its_new_registration() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (stream, at) = plane.accept_and_fill().await;
    drop(stream);
    let (mut stream, _) = plane.accept().await;
    let welcome = wire::Welcome {
        newly_registered: true,
        registered_revision: at.revision.0 + 2,
        ..wire::Welcome::default()
    };
    stream.welcome(welcome).await;
    let at = stream.delta(at, vec![held(&["ann@example.org"], [1; 16])]).await;
    stream.applied(at).await;
    assert_eq!(
        node.look("bob@example.org"),
        Look::Refused(Refusal::NotRegistered)
    );
    let at = stream
        .delta(at, vec![flipped(&["ann@example.org"], [1; 16])])
        .await;
    stream.applied(at).await;
    assert_eq!(node.goes_to("ann@example.org"), Some("new".into()));
}

#[tokio::test]
async fn a_change_of_an_unknown_kind_holds_its_keys_and_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let unknown = wire::Change {
        kind: None,
        ..mapped(&["ann@example.org"], "")
    };
    let at = stream
        .delta(at, vec![unknown, mapped(&["bob@example.org"], "new")])
        .await;
    assert_eq!(stream.rejected().await.resource, "change");
    stream.applied(at).await;
    assert_eq!(node.look("ann@example.org"), Look::Held);
    assert_eq!(
        node.goes_to("bob@example.org"),
        Some("new".into()),
        "the rest is applied"
    );
    // It stays so over a restart, and is said again.
    node.stop().await;
    let node = Node::start(directory.path(), &[plane.address]);
    assert_eq!(node.look("ann@example.org"), Look::Held);
    let (mut stream, _) = plane.accept().await;
    stream.welcome(wire::Welcome::default()).await;
    let at = stream.delta(at, vec![held(&["ann@example.org"], [2; 16])]).await;
    let at = stream
        .delta(at, vec![flipped(&["ann@example.org"], [2; 16])])
        .await;
    stream.applied(at).await;
    assert_eq!(
        node.goes_to("ann@example.org"),
        Some("new".into()),
        "an operation's end is known again"
    );
}

#[tokio::test]
async fn a_resource_that_cannot_be_used_is_reported_and_its_last_good_version_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let at = stream
        .delta(
            at,
            vec![
                resource("destination", "old", r#"{"host":7}"#),
                resource("destination", "third", OLD),
            ],
        )
        .await;
    let rejected = stream.rejected().await;
    assert_eq!(
        (rejected.resource.as_str(), rejected.revision),
        ("destination.old", at.revision.0)
    );
    stream.applied(at).await;
    let config = node.knowledge.config();
    let host = format!("{:?}", config.destination("old").unwrap().host);
    assert!(host.contains("old.example.org"), "{host}");
    assert!(config.destination("third").is_some(), "the rest goes on");
    stream
        .say(FromFleet::Request(wire::Request {
            id: 1,
            traceparent: String::new(),
            request: Some(wire::request::Request::RepeatAcknowledgements(
                wire::RepeatAcknowledgements {},
            )),
        }))
        .await;
    assert_eq!(stream.rejected().await.resource, "destination.old");
}

#[tokio::test]
async fn a_replica_that_goes_away_moves_its_nodes_to_another() {
    let directory = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (ControlPlane::start().await, ControlPlane::start().await);
    let node = Node::start(directory.path(), &[one.address, two.address]);
    let (first, second) = tokio::select! {
        (stream, _) = one.accept() => (stream, &mut two),
        (stream, _) = two.accept() => (stream, &mut one),
    };
    first.welcome(wire::Welcome::default()).await;
    first.say(FromFleet::Move(wire::Move { within_millis: 50 })).await;
    let (_stream, hello) = second.accept().await;
    assert_eq!(hello.node, "fra-1");
    node.stop().await;
}

#[tokio::test]
async fn a_session_whose_identifier_gets_another_form_ends_and_is_found_under_both_until_then() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let sessions = node.knowledge.sessions();
    let short = sessions.register(ActingFor::one(who("ann"), []), about("s1"));
    let other = sessions.register(ActingFor::one(who("bob@example.org"), []), about("s2"));
    assert_eq!(node.goes_to("ann"), Some("old".into()));
    let routing = r#"{"default_destination":"old","bare_domain":"example.org"}"#;
    let at = stream.delta(at, vec![resource("routing", "", routing)]).await;
    let at = stream.delta(at, vec![held(&["ann@example.org"], [1; 16])]).await;
    stream.applied(at).await;
    assert_eq!(short.order(), Order::Kick);
    assert_eq!(other.order(), Order::Stay);
    assert!(sessions.quiesced().is_empty(), "ann's session has not ended");
    short.unregister(LegIsOver::never_stood());
    assert_eq!(stream.quiesced().await.hold, [1; 16]);
}

#[tokio::test]
async fn a_node_that_missed_a_part_of_a_change_asks_for_the_whole_table() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (stream, at) = plane.accept_and_fill().await;
    let damaged = wire::Change {
        keys: vec![0; 17].into(),
        ..mapped(&[], "new")
    };
    stream.delta(at, vec![damaged]).await;
    stream.given_up().await;
    let (_stream, hello) = plane.accept().await;
    assert_eq!((hello.known_revision, hello.known_digest.len()), (0, 0));
    assert_eq!(node.look("ann@example.org"), Look::Refused(Refusal::NotSynced));
}
