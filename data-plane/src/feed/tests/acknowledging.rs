//! Acknowledgements are levels, and true when they are said (promise Q4 to Q6).

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::fleet_message::Message as FromFleet;
use mailswitch_proto::fleet::v1::node_message::Message as FromNode;

use super::play::{ControlPlane, Node, about, flipped, held, who};
use crate::route::Look;
use crate::sessions::{ActingFor, Phase, Wait, Woken};

#[tokio::test]
async fn a_hold_is_acknowledged_once_no_session_is_left_and_again_after_each_hello() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let sessions = node.knowledge.sessions().clone();
    let session = sessions.register(ActingFor::one(who("ann@example.org"), []), about("s1"));
    assert!(matches!(session.look(), Look::Route(_)));
    session.enters(Phase::Bridged, Some(&"old".into()));

    let at = stream.delta(at, vec![held(&["ann@example.org"], [1; 16])]).await;
    stream.applied(at).await;
    // Another account's hold is quiet at once; this one is not.
    let next = stream.delta(at, vec![held(&["bob@example.org"], [2; 16])]).await;
    assert_eq!(stream.quiesced().await.hold, [2; 16]);
    let over = session.until_leg_is_over(async {}).await;
    session.unregister(over);
    let quiesced = stream.quiesced().await;
    assert_eq!(quiesced.hold, [1; 16]);
    assert_eq!(
        (quiesced.applied_revision, quiesced.applied_digest),
        (at.revision.0, at.digest.to_vec())
    );

    drop(stream);
    let (mut stream, _) = plane.accept().await;
    stream.welcome(wire::Welcome::default()).await;
    stream.applied(next).await;
    let mut again = [stream.quiesced().await.hold, stream.quiesced().await.hold];
    again.sort();
    assert_eq!(again, [vec![1; 16], vec![2; 16]]);

    // On request, too; and no longer once the hold ended.
    let last = stream
        .delta(next, vec![flipped(&["ann@example.org"], [1; 16])])
        .await;
    stream.applied(last).await;
    let repeat = wire::request::Request::RepeatAcknowledgements(wire::RepeatAcknowledgements {});
    stream
        .say(FromFleet::Request(wire::Request {
            id: 5,
            traceparent: String::new(),
            request: Some(repeat),
        }))
        .await;
    let mut said = Vec::new();
    loop {
        match stream.next().await.unwrap() {
            FromNode::Quiesced(quiesced) => said.push(quiesced.hold),
            FromNode::Answer(answer) => {
                assert_eq!((answer.request, answer.error.as_str()), (5, ""));
                break;
            }
            _ => {}
        }
    }
    assert_eq!(said, [vec![2; 16]]);
}

#[tokio::test]
async fn an_acknowledgement_says_what_its_hold_met_again_while_that_grows_and_when_it_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let sessions = node.knowledge.sessions().clone();
    let session = sessions.register(ActingFor::one(who("ann@example.org"), []), about("s1"));
    assert!(matches!(session.look(), Look::Route(_)));
    session.enters(Phase::Bridged, Some(&"old".into()));
    let at = stream.delta(at, vec![held(&["ann@example.org"], [1; 16])]).await;
    stream.applied(at).await;
    let over = session.until_leg_is_over(async {}).await;
    session.unregister(over);
    let met = |quiesced: wire::Quiesced| (quiesced.hold, quiesced.sessions_closed, quiesced.logins_parked);
    assert_eq!(met(stream.quiesced().await), (vec![1; 16], 1, 0));

    let park = |name: &str| {
        let login = sessions.register(ActingFor::one(who("ann@example.org"), []), about(name));
        tokio::spawn(async move {
            assert!(matches!(login.look(), Look::Held));
            let until = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
            login.wait(until, Wait::Begins).await
        })
    };
    let first = park("s2");
    assert_eq!(met(stream.quiesced().await), (vec![1; 16], 1, 1));
    let second = park("s3");
    while sessions.waiting() < 2 {
        tokio::task::yield_now().await;
    }
    stream
        .delta(at, vec![flipped(&["ann@example.org"], [1; 16])])
        .await;
    // Said with the next report, or as the last word.
    assert_eq!(met(stream.quiesced().await), (vec![1; 16], 1, 2));
    assert_eq!(first.await.unwrap(), Woken::LookAgain);
    assert_eq!(second.await.unwrap(), Woken::LookAgain);
}

#[tokio::test]
async fn a_node_that_restarts_under_a_hold_acknowledges_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let at = stream.delta(at, vec![held(&["ann@example.org"], [1; 16])]).await;
    stream.quiesced().await;
    node.stop().await;
    let _node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, hello) = plane.accept().await;
    assert_eq!(hello.known_revision, at.revision.0);
    stream.welcome(wire::Welcome::default()).await;
    let quiesced = stream.quiesced().await;
    assert_eq!(
        (quiesced.hold, quiesced.applied_revision),
        (vec![1; 16], at.revision.0)
    );
}

#[tokio::test]
async fn what_the_disk_does_not_take_is_not_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let state = directory.path().join("state");
    let _node = Node::start(&state, &[plane.address]);
    let (mut stream, _) = plane.accept().await;
    stream.welcome(wire::Welcome::default()).await;
    stream
        .until(|message| matches!(message, FromNode::Report(_)).then_some(()))
        .await;
    // From here on nothing can be written.
    std::fs::remove_dir_all(&state).unwrap();
    let at = stream.snapshot(super::play::example()).await;
    stream.delta(at, vec![held(&["ann@example.org"], [1; 16])]).await;
    // Several reports later nothing was acknowledged.
    for _ in 0..3 {
        stream
            .until(|message| match message {
                FromNode::Report(_) => Some(()),
                FromNode::Applied(applied) => panic!("acknowledged revision {}", applied.revision),
                FromNode::Quiesced(_) => panic!("acknowledged the hold"),
                _ => None,
            })
            .await;
    }
}

#[tokio::test]
async fn a_leg_that_does_not_end_is_reported_with_its_destination_and_session() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let session = node
        .knowledge
        .sessions()
        .register(ActingFor::one(who("ann@example.org"), []), about("s1"));
    assert!(matches!(session.look(), Look::Route(_)));
    session.enters(Phase::Bridged, Some(&"old".into()));
    stream.delta(at, vec![held(&["ann@example.org"], [1; 16])]).await;
    while session.order() == crate::sessions::Order::Stay {
        tokio::task::yield_now().await;
    }
    let ending = tokio::spawn(async move { session.until_leg_is_over(std::future::pending()).await.how() });
    let stuck = stream
        .until(|message| match message {
            FromNode::Stuck(stuck) => Some(stuck),
            FromNode::Quiesced(_) => panic!("not quiet"),
            _ => None,
        })
        .await;
    assert_eq!(
        (
            stuck.hold,
            stuck.destination.as_str(),
            stuck.session.as_str(),
            stuck.protocol.as_str()
        ),
        (vec![1; 16], "old", "s1", "imap")
    );
    ending.abort();
}
