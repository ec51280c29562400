//! Leases: asked for in time, measured from the request, and acknowledged only as far as they reach (promise L1, L4, N3, N5).

use std::time::Duration;

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::change::Kind;
use mailswitch_proto::fleet::v1::fleet_message::Message as FromFleet;
use mailswitch_proto::fleet::v1::node_message::Message as FromNode;
use mailswitch_proto::fleet::v1::request::Request;
use mailswitch_proto::revision::Position;

use super::play::{ControlPlane, Node, Stream, about, change, held, mapped, who};
use super::requests::{ask, tell};
use crate::route::{Look, Refusal};
use crate::sessions::{ActingFor, Order, Phase, Registered};
use crate::state_file::{Directory, Mark, Writer};

const PATIENCE: Duration = Duration::from_secs(20);
const ARMING: [u8; 16] = [0xa; 16];

fn armed(names: &[&str], arming: [u8; 16]) -> wire::Change {
    let armed = wire::Armed {
        arming: arming.to_vec(),
        operation: Vec::new(),
    };
    change(names, Kind::Armed(armed))
}

fn disarmed(arming: [u8; 16]) -> wire::Change {
    let disarmed = wire::Disarmed {
        arming: arming.to_vec(),
    };
    change(&[], Kind::Disarmed(disarmed))
}

fn repeat() -> Option<Request> {
    Some(Request::RepeatAcknowledgements(wire::RepeatAcknowledgements {}))
}

impl Stream {
    /// A hold that is told to be stuck, and not quiet; leases are granted as they are asked for.
    async fn stuck(&mut self) -> wire::Stuck {
        loop {
            match self.next().await.expect("the node ended the stream") {
                FromNode::LeaseRequest(request) => self.grant(&request, PATIENCE).await,
                FromNode::Stuck(stuck) => return stuck,
                FromNode::Quiesced(quiesced) => panic!("{quiesced:?}"),
                _ => {}
            }
        }
    }

    async fn lease_request(&mut self) -> wire::LeaseRequest {
        self.until(|message| match message {
            FromNode::LeaseRequest(request) => Some(request),
            FromNode::ArmingApplied(_) => panic!("acknowledged without a lease"),
            _ => None,
        })
        .await
    }

    async fn grant(&self, request: &wire::LeaseRequest, lease: Duration) {
        self.say(FromFleet::LeaseGrant(wire::LeaseGrant {
            serial: request.serial,
            lease_millis: u64::try_from(lease.as_millis()).unwrap(),
        }))
        .await;
    }

    async fn arming_applied(&mut self) -> wire::ArmingApplied {
        self.until(|message| match message {
            FromNode::ArmingApplied(applied) => Some(applied),
            _ => None,
        })
        .await
    }

    /// Ann is armed, and the node has a lease for her.
    async fn arm_ann(&mut self, at: Position, lease: Duration) -> Position {
        let at = self.delta(at, vec![armed(&["ann@example.org"], ARMING)]).await;
        let request = self.lease_request().await;
        self.grant(&request, lease).await;
        assert_eq!(self.arming_applied().await.arming, ARMING);
        at
    }
}

fn bridged(node: &Node, login: &str, id: &str) -> Registered {
    let sessions = node.knowledge.sessions();
    let session = sessions.register(ActingFor::one(who(login), []), about(id));
    assert!(session.look().route().is_some());
    session.enters(Phase::Bridged, Some(&"old".into()));
    session
}

async fn told(session: &Registered) -> Order {
    tokio::time::timeout(PATIENCE, session.told_to_end())
        .await
        .expect("it was told nothing")
}

#[tokio::test]
async fn an_arming_is_acknowledged_with_a_lease_behind_it_and_again_after_each_hello_and_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let at = stream.delta(at, vec![armed(&["ann@example.org"], ARMING)]).await;
    let request = stream.lease_request().await;
    assert_eq!(
        request.applied_revision, at.revision.0,
        "asked for when the arming is on the disk"
    );
    assert_eq!(node.goes_to("ann@example.org"), None);
    assert_eq!(node.goes_to("bob@example.org"), Some("old".into()));
    stream.grant(&request, PATIENCE).await;
    let applied = stream.arming_applied().await;
    assert_eq!(applied.arming, ARMING);
    assert_eq!(
        (applied.applied_revision, applied.applied_digest),
        (at.revision.0, at.digest.to_vec())
    );
    assert_eq!(node.goes_to("ann@example.org"), Some("old".into()));

    tell(&stream, 5, repeat()).await;
    assert_eq!(stream.arming_applied().await.arming, ARMING);

    drop(stream);
    let (mut stream, _) = plane.accept().await;
    stream.welcome(wire::Welcome::default()).await;
    assert_eq!(stream.arming_applied().await.arming, ARMING, "a level (Q6)");
    assert_eq!(
        stream.lease_request().await.serial,
        2,
        "and another replica is asked at once"
    );
}

#[tokio::test]
async fn session_list_shows_what_a_session_of_an_armed_account_lives_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let _ann = bridged(&node, "ann@example.org", "s1");
    let _bob = bridged(&node, "bob@example.org", "s2");
    assert_eq!(leases(&mut stream).await, ["", ""]);
    stream.delta(at, vec![armed(&["ann@example.org"], ARMING)]).await;
    let request = stream.lease_request().await;
    assert_eq!(leases(&mut stream).await, ["awaited", ""]);
    stream.grant(&request, Duration::from_secs(2)).await;
    stream.arming_applied().await;
    assert_eq!(leases(&mut stream).await, ["live", ""]);
    // Requests of the node are left without an answer.
    let lapse = async { while leases(&mut stream).await != ["lapsed", ""] {} };
    tokio::time::timeout(PATIENCE, lapse).await.expect("it lapses");
}

async fn leases(stream: &mut Stream) -> Vec<String> {
    let list = wire::ListSessions {
        limit: 10,
        ..wire::ListSessions::default()
    };
    match ask(stream, 9, Some(Request::ListSessions(list))).await.answer {
        Some(wire::answer::Answer::Sessions(page)) => {
            page.sessions.into_iter().map(|session| session.lease).collect()
        }
        other => panic!("no list: {other:?}"),
    }
}

#[tokio::test]
async fn it_is_asked_again_while_something_is_armed_and_not_once_nothing_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let lease = Duration::from_secs(2);
    let at = stream.arm_ann(at, lease).await;
    let ann = bridged(&node, "ann@example.org", "s1");
    for _ in 0..5 {
        let request = stream
            .until(|message| match message {
                FromNode::LeaseRequest(request) => Some(request),
                _ => None,
            })
            .await;
        stream.grant(&request, lease).await;
    }
    // That is longer than one of them.
    assert_eq!(ann.order(), Order::Stay);
    let at = stream.delta(at, vec![disarmed(ARMING)]).await;
    stream.applied(at).await;
    // Nothing is on its way any more: some reports later nothing was asked.
    for _ in 0..2 {
        stream
            .until(|message| {
                assert!(!matches!(message, FromNode::LeaseRequest(_)), "nothing is armed");
                matches!(message, FromNode::Report(_)).then_some(())
            })
            .await;
    }
    assert_eq!(ann.order(), Order::Stay);
}

#[tokio::test]
async fn a_grant_that_comes_behind_its_end_admits_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    stream.delta(at, vec![armed(&["ann@example.org"], ARMING)]).await;
    let request = stream.lease_request().await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    stream.grant(&request, Duration::from_millis(20)).await;
    // It asks again, and that is heard in the order in which it is said.
    let request = stream.lease_request().await;
    assert_eq!(node.goes_to("ann@example.org"), None);
    stream.grant(&request, PATIENCE).await;
    stream.arming_applied().await;
    assert_eq!(node.goes_to("ann@example.org"), Some("old".into()));
}

#[tokio::test]
async fn a_node_that_is_cut_off_ends_its_armed_sessions_by_itself_and_serves_everybody_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    stream.arm_ann(at, Duration::from_millis(600)).await;
    let ann = bridged(&node, "ann@example.org", "s1");
    let bob = bridged(&node, "bob@example.org", "s2");
    drop((stream, plane));
    assert_eq!(told(&ann).await, Order::Reset);
    assert_eq!(node.goes_to("ann@example.org"), None);
    assert_eq!((bob.order(), bob.may_move()), (Order::Stay, true));
    assert_eq!(node.goes_to("bob@example.org"), Some("old".into()));
}

#[tokio::test]
async fn a_node_that_starts_without_a_control_plane_serves_armed_accounts_as_held() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    stream.arm_ann(at, PATIENCE).await;
    assert_eq!(node.goes_to("ann@example.org"), Some("old".into()));
    node.stop().await;
    drop((stream, plane));

    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    assert_eq!(
        node.goes_to("ann@example.org"),
        None,
        "the lease was another process's"
    );
    assert_eq!(node.goes_to("bob@example.org"), Some("old".into()));
    let (mut stream, _) = plane.accept().await;
    stream.welcome(wire::Welcome::default()).await;
    let request = stream.lease_request().await;
    stream.grant(&request, PATIENCE).await;
    stream.arming_applied().await;
    assert_eq!(node.goes_to("ann@example.org"), Some("old".into()));
}

#[tokio::test]
async fn a_leg_that_is_reset_when_its_frozen_lease_is_over_is_told_to_its_hold_as_stuck_and_never_as_quiesced()
 {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let at = stream.arm_ann(at, Duration::from_millis(500)).await;
    let ann = bridged(&node, "ann@example.org", "s1");
    stream.delta(at, vec![held(&["ann@example.org"], [1; 16])]).await;
    let ends = tokio::spawn(async move {
        while ann.order() != Order::Reset {
            ann.order_other_than(ann.order()).await;
        }
        // A backend that says nothing: what it still does nobody knows.
        let over = ann.until_leg_is_over(std::future::pending()).await;
        ann.unregister(over);
    });
    let stuck = stream.stuck().await;
    assert_eq!(
        (stuck.hold.as_slice(), stuck.session.as_str()),
        (&[1; 16][..], "s1")
    );
    ends.await.unwrap();
    // Whoever asks again hears the same, though the session is gone (Q6).
    tell(&stream, 1, repeat()).await;
    let again = stream.stuck().await;
    assert_eq!(again, stuck);
}

#[tokio::test]
async fn a_fence_resets_every_session_and_is_confirmed_once_the_mark_is_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, hello) = plane.accept().await;
    stream.welcome(wire::Welcome::default()).await;
    let at = stream.snapshot(super::play::example()).await;
    stream.applied(at).await;
    let bob = bridged(&node, "bob@example.org", "s1");
    let fence = wire::Drain {
        leave: true,
        fence: true,
        resume: false,
    };
    assert_eq!(ask(&mut stream, 1, Some(Request::Drain(fence))).await.error, "");
    assert_eq!(bob.order(), Order::Reset, "not at a quiet moment: at once");
    let left = Look::Refused(Refusal::Left);
    assert_eq!(node.look("ann@example.org"), left);
    stream
        .until(|message| {
            assert!(!matches!(message, FromNode::Goodbye(_)), "a session is left");
            matches!(message, FromNode::Report(_)).then_some(())
        })
        .await;
    let over = bob.until_leg_is_over(std::future::pending()).await;
    bob.unregister(over);
    assert_eq!(stream.goodbye().await.instance, hello.instance);
    // Whatever the feed brings then: it is another instance that serves again.
    let at = stream.delta(at, vec![mapped(&["bob@example.org"], "new")]).await;
    drop(stream);
    let (stream, hello) = plane.accept().await;
    assert!(hello.left);
    assert_eq!(node.look("bob@example.org"), left);
    drop(stream);
    node.stop().await;
    let directory = Directory::open(directory.path()).unwrap();
    assert_eq!(Writer::recover(&directory).unwrap().1.mark(), Mark::Left);
    let _ = at;
}
