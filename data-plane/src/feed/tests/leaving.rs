//! A node leaves the fleet: nothing is said before it is so, and each point at which it can die is safe (promise N2).

use std::path::Path;
use std::time::{Duration, Instant};

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::node_message::Message as FromNode;
use mailswitch_proto::fleet::v1::request::Request;
use mailswitch_proto::revision::Position;

use super::play::{ControlPlane, Node, Stream, about, mapped, who};
use super::requests::ask;
use crate::route::{Look, Refusal};
use crate::sessions::ActingFor;
use crate::source::Readiness;
use crate::state_file::{Directory, Mark, Writer};

const LEFT: Look = Look::Refused(Refusal::Left);

fn drain(resume: bool, leave: bool) -> Option<Request> {
    Some(Request::Drain(wire::Drain {
        resume,
        leave,
        fence: false,
    }))
}

/// What the disk says, once the node is gone.
fn mark(directory: &Path) -> Mark {
    Writer::recover(&Directory::open(directory).unwrap())
        .unwrap()
        .1
        .mark()
}

/// A node that has said its goodbye, with the instance that it named.
async fn gone(directory: &Path, plane: &mut ControlPlane) -> (Node, Stream, Position, Vec<u8>) {
    let node = Node::start(directory, &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    ask(&mut stream, 1, drain(false, true)).await;
    let instance = stream.goodbye().await.instance;
    (node, stream, at, instance)
}

#[tokio::test]
async fn the_goodbye_comes_after_the_last_session_and_after_the_mark() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, hello) = plane.accept().await;
    stream.welcome(wire::Welcome::default()).await;
    let at = stream.snapshot(super::play::example()).await;
    stream.applied(at).await;
    let session = node
        .knowledge
        .sessions()
        .register(ActingFor::one(who("ann@example.org"), []), about("s1"));
    ask(&mut stream, 1, drain(false, true)).await;
    assert_eq!(
        node.look("bob@example.org"),
        Look::Refused(Refusal::Draining),
        "nobody is admitted"
    );
    // Some reports later there is no goodbye: a session is left.
    for _ in 0..2 {
        stream
            .until(|message| {
                assert!(!matches!(message, FromNode::Goodbye(_)), "a session is left");
                matches!(message, FromNode::Report(_)).then_some(())
            })
            .await;
    }
    drop(session);
    assert_eq!(stream.goodbye().await.instance, hello.instance);
    assert_eq!(node.look("bob@example.org"), LEFT);
    assert_eq!(node.knowledge.readiness(), Readiness::Left);
    node.stop().await;
    assert_eq!(mark(directory.path()), Mark::Left);
}

#[tokio::test]
async fn a_node_that_nobody_hears_writes_no_mark() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let sessions = node.knowledge.sessions().clone();
    let session = sessions.register(ActingFor::one(who("ann@example.org"), []), about("s1"));
    ask(&mut stream, 1, drain(false, true)).await;
    drop((stream, plane));
    // Only now is it empty.
    drop(session);
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        assert!(!sessions.has_left());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.stop().await;
    assert_eq!(mark(directory.path()), Mark::None);
    // Before the mark it starts as one that was never told.
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    assert_eq!(node.goes_to("ann@example.org"), Some("old".into()));
    let (_stream, hello) = plane.accept().await;
    assert_eq!((hello.left, hello.known_revision), (false, at.revision.0));
}

#[tokio::test]
async fn a_goodbye_is_repeated_until_the_node_is_resumed_and_then_it_is_another_instance() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let (node, stream, at, instance) = gone(directory.path(), &mut plane).await;
    drop(stream);
    let (mut stream, hello) = plane.accept().await;
    assert_eq!((hello.left, &hello.instance), (true, &instance));
    stream.welcome(wire::Welcome::default()).await;
    assert_eq!(stream.goodbye().await.instance, instance);
    assert_eq!(
        node.look("ann@example.org"),
        LEFT,
        "a welcome to who has left changes nothing"
    );

    let answer = ask(&mut stream, 2, drain(true, false)).await;
    assert_eq!(answer.error, "");
    assert_eq!(node.look("ann@example.org"), LEFT, "not before it is registered");
    stream.given_up().await;
    let (mut stream, hello) = plane.accept().await;
    assert!(!hello.left && hello.instance != instance && hello.replaces_instance == [instance]);
    stream
        .welcome(wire::Welcome {
            registered_revision: at.revision.0 + 1,
            newly_registered: true,
            ..wire::Welcome::default()
        })
        .await;
    let at = stream.delta(at, vec![mapped(&["bob@example.org"], "new")]).await;
    stream.applied(at).await;
    assert_eq!(node.goes_to("bob@example.org"), Some("new".into()));
    node.stop().await;
    assert_eq!(mark(directory.path()), Mark::None);
}

#[tokio::test]
async fn a_node_that_starts_with_the_mark_serves_nobody_until_it_is_registered_and_synced() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let (node, stream, at, instance) = gone(directory.path(), &mut plane).await;
    node.stop().await;
    drop(stream);

    let node = Node::start(directory.path(), &[plane.address]);
    assert_eq!(node.look("ann@example.org"), LEFT);
    let (mut stream, hello) = plane.accept().await;
    assert!(!hello.left, "who starts comes back");
    assert!(hello.instance != instance && hello.replaces_instance == [instance]);
    let welcome = wire::Welcome {
        registered_revision: at.revision.0 + 1,
        newly_registered: true,
        ..wire::Welcome::default()
    };
    stream.welcome(welcome).await;
    stream.applied(at).await;
    assert!(matches!(node.look("ann@example.org"), Look::Refused(_)));
    let next = stream.delta(at, vec![mapped(&["bob@example.org"], "new")]).await;
    stream.applied(next).await;
    assert_eq!(node.goes_to("ann@example.org"), Some("old".into()));
    node.stop().await;
    assert_eq!(mark(directory.path()), Mark::None);
}

#[tokio::test]
async fn a_diverged_welcome_does_not_bring_a_marked_node_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let (node, stream, _, _) = gone(directory.path(), &mut plane).await;
    node.stop().await;
    drop(stream);
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, _) = plane.accept().await;
    stream
        .welcome(wire::Welcome {
            diverged: true,
            ..wire::Welcome::default()
        })
        .await;
    stream
        .until(|message| matches!(message, FromNode::Report(_)).then_some(()))
        .await;
    assert_eq!(node.look("ann@example.org"), LEFT);
    node.stop().await;
    assert_eq!(mark(directory.path()), Mark::Left);
}

#[tokio::test]
async fn a_node_that_is_resumed_before_its_last_session_is_over_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let sessions = node.knowledge.sessions();
    let session = sessions.register(ActingFor::one(who("ann@example.org"), []), about("s1"));
    ask(&mut stream, 1, drain(false, true)).await;
    ask(&mut stream, 2, drain(true, false)).await;
    drop(session);
    let next = stream.delta(at, vec![mapped(&["bob@example.org"], "new")]).await;
    stream.applied(next).await;
    assert_eq!(node.goes_to("bob@example.org"), Some("new".into()));
    assert!(!node.knowledge.sessions().has_left());
}
