//! What the control plane asks.

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::answer::Answer;
use mailswitch_proto::fleet::v1::fleet_message::Message as FromFleet;
use mailswitch_proto::fleet::v1::node_message::Message as FromNode;
use mailswitch_proto::fleet::v1::request::Request;
use mailswitch_proto::identifier::pack;

use super::play::{ControlPlane, HASH, Node, Stream, about, held, who};
use crate::report::{BreakerNews, LoginOutcome};
use crate::sessions::{ActingFor, Order};

pub(super) async fn tell(stream: &Stream, id: u64, request: Option<Request>) {
    stream
        .say(FromFleet::Request(wire::Request {
            id,
            traceparent: String::new(),
            request,
        }))
        .await;
}

pub(super) async fn ask(stream: &mut Stream, id: u64, request: Option<Request>) -> wire::Answer {
    tell(stream, id, request).await;
    stream
        .until(|message| match message {
            FromNode::Answer(answer) if answer.request == id => Some(answer),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn resolve_answers_what_a_login_would_meet() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let _node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let at = stream.delta(at, vec![held(&["bob@example.org"], [1; 16])]).await;
    stream.applied(at).await;
    let mut id = 0;
    for (login, destination, rule, hold) in [
        ("Ann@Example.org%root", "old", wire::Rule::Mapping, 0),
        ("nobody@example.org", "old", wire::Rule::Default, 0),
        ("bob@example.org", "", wire::Rule::Held, 16),
    ] {
        id += 1;
        let login = login.to_owned();
        let answer = ask(&mut stream, id, Some(Request::Resolve(wire::Resolve { login }))).await;
        let Some(Answer::Resolution(resolution)) = answer.answer else {
            panic!("{answer:?}");
        };
        assert_eq!(
            (resolution.destination.as_str(), resolution.rule()),
            (destination, rule)
        );
        assert_eq!(
            (resolution.hold.len(), resolution.revision),
            (hold, at.revision.0)
        );
    }
    let login = "no one".to_owned();
    let answer = ask(&mut stream, 9, Some(Request::Resolve(wire::Resolve { login }))).await;
    // As the control plane says it: the node has answered, and agrees.
    let Some(Answer::Resolution(refused)) = answer.answer else {
        panic!("{answer:?}");
    };
    assert_eq!(refused.rule(), wire::Rule::Refused);
    assert!(refused.reason.contains("space"), "{refused:?}");
    let answer = ask(&mut stream, 10, None).await;
    assert!(answer.error.contains("does not know"), "{answer:?}");
}

#[tokio::test]
async fn sessions_are_listed_and_kicked_by_their_keys() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, _) = plane.accept_and_fill().await;
    let sessions = node.knowledge.sessions();
    let ann = sessions.register(
        ActingFor::one(who("ann@example.org"), [who("x@example.org")]),
        about("s1"),
    );
    let bob = sessions.register(ActingFor::one(who("bob@example.org"), []), about("s2"));
    let nobody = sessions.register(ActingFor::nobody(), about("s3"));

    let list = wire::ListSessions {
        limit: 2,
        ..wire::ListSessions::default()
    };
    let answer = ask(&mut stream, 1, Some(Request::ListSessions(list))).await;
    let Some(Answer::Sessions(page)) = answer.answer else {
        panic!("{answer:?}");
    };
    assert_eq!((page.total, page.truncated, page.sessions.len()), (3, true, 2));
    let first = &page.sessions[0];
    assert_eq!(
        (first.id.as_str(), first.state.as_str(), first.identifier.as_str()),
        ("s1", "registered", "an***")
    );

    let keys = pack(&[HASH.key_of("x@example.org")]);
    let kick = |keys: Vec<u8>, session: &str| {
        Some(Request::Kick(wire::Kick {
            keys,
            session: session.to_owned(),
        }))
    };
    let answer = ask(&mut stream, 2, kick(keys, "")).await;
    assert_eq!(
        answer.answer,
        Some(Answer::Kicked(wire::Kicked {
            sessions: 1,
            pass_through: 0
        }))
    );
    assert_eq!((ann.order(), bob.order()), (Order::Recall, Order::Stay));
    ask(&mut stream, 3, kick(Vec::new(), "s3")).await;
    assert_eq!((nobody.order(), bob.order()), (Order::Recall, Order::Stay));
    let answer = ask(&mut stream, 4, kick(Vec::new(), "")).await;
    assert!(
        !answer.error.is_empty(),
        "a kick of everybody is nothing that anybody asks for"
    );
}

#[tokio::test]
async fn a_drained_node_admits_nobody_until_it_is_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, _) = plane.accept_and_fill().await;
    tell(&stream, 1, Some(Request::Drain(wire::Drain::default()))).await;
    stream.draining(true).await;
    assert_eq!(node.goes_to("ann@example.org"), None);
    // Whichever control plane it speaks to hears of it.
    drop(stream);
    let (mut stream, _) = plane.accept().await;
    stream.welcome(wire::Welcome::default()).await;
    stream.draining(true).await;
    tell(
        &stream,
        2,
        Some(Request::Drain(wire::Drain {
            resume: true,
            ..wire::Drain::default()
        })),
    )
    .await;
    stream.draining(false).await;
    assert_eq!(node.goes_to("ann@example.org"), Some("old".into()));
    let reset = |destination: &str| {
        Some(Request::ResetBreaker(wire::ResetBreaker {
            destination: destination.to_owned(),
        }))
    };
    assert_eq!(ask(&mut stream, 3, reset("old")).await.error, "");
    assert_eq!(
        ask(&mut stream, 4, reset("third")).await.error,
        "no destination third"
    );
}

#[tokio::test]
async fn counters_are_reported_and_a_breaker_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, _) = plane.accept_and_fill().await;
    let report = node.knowledge.sessions().report();
    let (old, imap) = ("old".into(), mailswitch_config::Protocol::Imap);
    report.login(
        Some(&old),
        imap,
        LoginOutcome::Accepted,
        std::time::Duration::ZERO,
    );
    let _open = report.open(&old, imap);
    report.waited(std::time::Duration::from_millis(3));
    let breaker = wire::Breaker {
        destination: "old".to_owned(),
        protocol: "imap".to_owned(),
        open: true,
        ..wire::Breaker::default()
    };
    report.breaker(breaker.clone(), BreakerNews::OpenedOrClosed);
    let changed = stream
        .until(|message| match message {
            FromNode::BreakerChanged(changed) => changed.breaker,
            _ => None,
        })
        .await;
    assert_eq!(changed, breaker);
    let counted = stream
        .until(|message| match message {
            FromNode::Report(report) if !report.logins.is_empty() => Some(report),
            _ => None,
        })
        .await;
    assert_eq!((counted.active[0].sessions, counted.logins[0].count), (1, 1));
    assert_eq!(counted.logins[0].outcome, "accepted");
    assert_eq!(counted.breakers, [breaker]);
    let waits = counted.hold_waits.unwrap();
    assert_eq!((waits.count, waits.max_millis, waits.buckets[2]), (1, 3, 1));
}
