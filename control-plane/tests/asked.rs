//! What is asked of nodes on their streams: `node drain|resume`, `session kick`. A node that is away, or between two
//! streams, or that refuses, is told apart.

// A test says with a panic what it did not expect.
#![allow(clippy::unwrap_used)]

mod stage;

use mailswitch_proto::control::v1 as control;
use mailswitch_proto::control::v1::Problem;
use mailswitch_proto::control::v1::problem::Kind;
use mailswitch_proto::fleet::v1 as fleet;
use mailswitch_proto::fleet::v1::{answer, node_message, request};
use stage::node::Node;
use stage::{Stage, answered, because, refused, until};

fn drain(node: &str, leave: bool) -> control::NodeDrainRequest {
    control::NodeDrainRequest {
        change: because("a test"),
        node: node.to_owned(),
        resume: !leave,
        leave,
    }
}

async fn is_away(stage: &Stage, name: &str) {
    until("it is known to be away", async || {
        let nodes = stage.status().await.nodes;
        nodes.iter().any(|node| node.name == name && !node.connected)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_is_worth_another_try_and_one_that_never_was_is_not() {
    let stage = Stage::configured().await;
    drop(stage.node("fra-1").await);
    is_away(&stage, "fra-1").await;
    let mut operator = stage.operator().await;
    let problem = refused(operator.node_drain(drain("fra-1", false)).await);
    assert_eq!((problem.kind(), problem.passing), (Kind::Unproven, true));
    assert_eq!(problem.nodes, ["fra-1"]);
    // It cannot say goodbye: nothing was done (promise N2).
    let problem = refused(operator.node_drain(drain("fra-1", true)).await);
    assert_eq!((problem.kind(), problem.passing), (Kind::Precondition, true));
    assert!(problem.remedy.contains("node forget"), "{}", problem.remedy);
    // One that nobody knows may have left, and be about to come back to be resumed; there is nothing to drain.
    let unknown = control::NodeDrainRequest {
        resume: false,
        ..drain("fra-2", false)
    };
    let problem = refused(operator.node_drain(unknown).await);
    assert_eq!((problem.kind(), problem.passing), (Kind::Precondition, false));
}

/// Asks a node that hears the question and then does this.
async fn asked<F>(stage: &Stage, then: impl FnOnce(Node, u64) -> F) -> Problem
where
    F: Future<Output = Option<Node>>,
{
    let mut node = stage.node("fra-1").await;
    let mut operator = stage.operator().await;
    let asking = tokio::spawn(async move { operator.node_drain(drain("fra-1", false)).await });
    let (id, asked) = node.asked().await;
    assert!(matches!(asked, request::Request::Drain(_)), "{asked:?}");
    let _node = then(node, id).await;
    refused(asking.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_up_is_worth_another_try_and_one_that_refuses_is_not() {
    let stage = Stage::configured().await;
    let problem = asked(&stage, async |node, _| {
        drop(node);
        None
    })
    .await;
    assert_eq!((problem.kind(), problem.passing), (Kind::Unproven, true));
    let problem = asked(&stage, async |node, request| {
        let refusal = fleet::Answer {
            request,
            error: "its disk is full".to_owned(),
            answer: None,
        };
        node.say(node_message::Message::Answer(refusal)).await;
        Some(node)
    })
    .await;
    assert_eq!((problem.kind(), problem.passing), (Kind::Unproven, false));
    assert!(problem.what.contains("its disk is full"), "{}", problem.what);
}

/// Kicks, and answers as the node does.
async fn kick(
    stage: &Stage,
    node: &mut Node,
    request: control::SessionKickRequest,
    answer: answer::Answer,
) -> (
    request::Request,
    Result<tonic::Response<control::SessionKickResponse>, tonic::Status>,
) {
    let mut operator = stage.operator().await;
    let asking = tokio::spawn(async move { operator.session_kick(request).await });
    let (id, asked) = node.asked().await;
    node.answer(id, answer).await;
    (asked, asking.await.unwrap())
}

fn session(id: &str) -> control::SessionKickRequest {
    control::SessionKickRequest {
        change: because("a test"),
        session: id.to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_no_node_knows_is_refused_and_an_account_without_sessions_is_not() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    let none = answer::Answer::Kicked(fleet::Kicked::default());
    let (_, answer) = kick(&stage, &mut node, session("s-1"), none.clone()).await;
    let problem = refused(answer);
    assert_eq!(problem.kind(), Kind::Precondition);
    assert_eq!(problem.what, "there is no session s-1 on node fra-1");
    let whole = control::SessionKickRequest {
        change: because("a test"),
        identifier: "alice@example.org".to_owned(),
        ..Default::default()
    };
    let (_, answer) = kick(&stage, &mut node, whole, none).await;
    assert_eq!(answered(answer).nodes[0].sessions, 0);
    // A silent node may have it.
    drop(stage.node("ber-1").await);
    is_away(&stage, "ber-1").await;
    let none = answer::Answer::Kicked(fleet::Kicked::default());
    let (_, answer) = kick(&stage, &mut node, session("s-1"), none).await;
    let nodes = answered(answer).nodes;
    assert!(nodes.iter().any(|node| !node.error.is_empty()), "{nodes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_that_is_only_tried_ends_nothing_and_counts_what_it_would_end() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    let mut tried = session("s-2");
    tried.change.as_mut().unwrap().dry_run = true;
    let page = fleet::SessionPage {
        sessions: ["s-1", "s-2"]
            .map(|id| fleet::Session {
                id: id.to_owned(),
                ..Default::default()
            })
            .to_vec(),
        total: 2,
        ..Default::default()
    };
    let (asked, answer) = kick(&stage, &mut node, tried, answer::Answer::Sessions(page)).await;
    assert!(matches!(asked, request::Request::ListSessions(_)), "{asked:?}");
    assert_eq!(answered(answer).nodes[0].sessions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_of_a_pass_through_session_is_refused_and_says_that_it_goes_on() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    let page = fleet::SessionPage {
        sessions: vec![fleet::Session {
            id: "s-1".to_owned(),
            pass_through: true,
            ..Default::default()
        }],
        total: 1,
        pass_through: 1,
        ..Default::default()
    };
    let kicked = fleet::Kicked {
        pass_through: 1,
        ..Default::default()
    };
    let mut tried = session("s-1");
    tried.change.as_mut().unwrap().dry_run = true;
    for (request, told) in [
        (session("s-1"), answer::Answer::Kicked(kicked)),
        (tried, answer::Answer::Sessions(page)),
    ] {
        let (_, answer) = kick(&stage, &mut node, request, told).await;
        let problem = refused(answer);
        assert_eq!(problem.kind(), Kind::Precondition);
        assert!(problem.remedy.contains("not routed by account"), "{problem:?}");
    }
}
