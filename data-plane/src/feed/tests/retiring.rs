//! Two processes of one node: the one that handed over answers for its sessions and leaves by itself; the one that follows
//! names it only when it is gone (decision 0027).

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::node_message::Message as FromNode;

use super::play::{ControlPlane, Node, Stream, about, flipped, held, mapped, who};
use crate::route::{Look, Refusal};
use crate::sessions::ActingFor;
use crate::source::Readiness;

/// The next process, which is registered at this revision and told nothing yet.
async fn follows(
    directory: &std::path::Path,
    plane: &mut ControlPlane,
    registered: u64,
) -> (Node, Stream, wire::Hello) {
    let node = Node::start(directory, &[plane.address]);
    let (stream, hello) = plane.accept().await;
    let welcome = wire::Welcome {
        registered_revision: registered,
        newly_registered: true,
        ..Default::default()
    };
    stream.welcome(welcome).await;
    (node, stream, hello)
}

#[tokio::test]
async fn both_processes_answer_for_their_own_and_the_old_one_says_goodbye_when_its_last_session_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let old = Node::start(directory.path(), &[plane.address]);
    let (mut its, hello) = plane.accept().await;
    its.welcome(wire::Welcome::default()).await;
    let at = its.snapshot(super::play::example()).await;
    its.applied(at).await;
    let sessions = old.knowledge.sessions().clone();
    let session = sessions.register(ActingFor::one(who("ann@example.org"), []), about("s1"));
    let _ = session.look();
    old.hands_over().await;

    let (new, mut theirs, second) = follows(directory.path(), &mut plane, at.revision.0 + 1).await;
    assert_ne!(second.instance, hello.instance);
    assert!(second.replaces_instance.is_empty(), "the other one lives");
    assert_eq!(second.known_revision, at.revision.0);
    assert_ne!(
        new.knowledge.readiness(),
        Readiness::Serving,
        "not before its registration"
    );
    let next = its.delta(at, vec![mapped(&["bob@example.org"], "new")]).await;
    theirs.delta(at, vec![mapped(&["bob@example.org"], "new")]).await;
    its.applied(next).await;
    theirs.applied(next).await;
    assert_eq!(new.knowledge.readiness(), Readiness::Serving);

    // Who was connected still signs in; then nobody does, and the sessions stay.
    sessions.retire();
    assert!(matches!(old.look("bob@example.org"), Look::Route(_)));
    its.until(|message| match message {
        FromNode::Report(report) if report.retiring && !report.draining => Some(()),
        _ => None,
    })
    .await;
    sessions.admit_nobody_more();
    assert_eq!(old.look("bob@example.org"), Look::Refused(Refusal::Draining));

    // A hold is quiet here at once, and there when its session is over: without a disk.
    let hold = [5; 16];
    let held_at = its.delta(next, vec![held(&["ann@example.org"], hold)]).await;
    theirs.delta(next, vec![held(&["ann@example.org"], hold)]).await;
    assert_eq!(theirs.quiesced().await.hold, hold);
    its.until(|message| match message {
        FromNode::Applied(applied) if applied.revision == held_at.revision.0 => Some(()),
        FromNode::Quiesced(_) | FromNode::Goodbye(_) => panic!("a session is left"),
        _ => None,
    })
    .await;
    drop(session);
    assert_eq!(its.quiesced().await.hold, hold);
    assert_eq!(its.goodbye().await.instance, hello.instance);
    drop(its);
    old.ended().await;
    // The new one names it: nobody may have heard the goodbye.
    let (mut theirs, again) = plane.accept().await;
    assert_eq!(again.instance, second.instance);
    assert_eq!(again.replaces_instance, [hello.instance]);
    theirs.welcome(wire::Welcome::default()).await;
    let end = theirs
        .delta(held_at, vec![flipped(&["ann@example.org"], hold)])
        .await;
    theirs.applied(end).await;
    new.stop().await;
}

#[tokio::test]
async fn an_old_process_that_is_killed_is_named_and_named_again_until_it_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let old = Node::start(directory.path(), &[plane.address]);
    let (mut its, hello) = plane.accept().await;
    its.welcome(wire::Welcome::default()).await;
    let at = its.snapshot(super::play::example()).await;
    its.applied(at).await;
    old.hands_over().await;
    let (new, theirs, _) = follows(directory.path(), &mut plane, at.revision.0).await;
    old.killed().await;
    theirs.given_up().await;
    // Its stream is still there, for all that the control plane sees.
    let (theirs, again) = plane.accept().await;
    assert_eq!(again.replaces_instance, std::slice::from_ref(&hello.instance));
    theirs
        .welcome(wire::Welcome {
            not_replaced: vec![hello.instance.clone()],
            ..Default::default()
        })
        .await;
    theirs.given_up().await;
    let (mut theirs, again) = plane.accept().await;
    assert_eq!(again.replaces_instance, [hello.instance]);
    theirs.welcome(wire::Welcome::default()).await;
    let next = theirs.delta(at, vec![mapped(&["bob@example.org"], "new")]).await;
    theirs.applied(next).await;
    new.stop().await;
    let last = Node::start(directory.path(), &[plane.address]);
    let (_stream, hello) = plane.accept().await;
    assert_eq!(
        hello.replaces_instance,
        [again.instance],
        "and nobody else any more"
    );
    last.killed().await;
}

#[tokio::test]
async fn a_process_that_nobody_hears_ends_all_the_same_once_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let old = Node::start(directory.path(), &[plane.address]);
    let (_its, _) = plane.accept_and_fill().await;
    old.hands_over().await;
    drop(plane);
    old.knowledge.sessions().retire();
    old.knowledge.sessions().admit_nobody_more();
    old.stop().await;
    // Its lock is free: whoever has the directory knows.
    let next = crate::state_file::Directory::open(directory.path()).unwrap();
    assert_eq!(next.replaces().len(), 1);
}
