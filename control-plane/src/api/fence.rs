//! `node fence` and `node unfence` (promise N3): first the order, to every process of the node that is connected, then the
//! record. What the node does not confirm is not counted: the answer says who was not told.

use std::sync::Arc;

use mailswitch_proto::control::v1 as wire;
use mailswitch_proto::control::v1::{Problem, problem::Kind};
use mailswitch_proto::fleet::v1::{self as fleet, answer::Answer as Said, request::Request};
use mailswitch_proto::trace_context;

use super::caller::committed;
use super::{Answer, Caller};
use crate::change::Mode;
use crate::change::fence::{node_fence, node_unfence};
use crate::nodes::Node;
use crate::nodes::ask::{FENCE, ask_all};
use crate::process::ControlPlane;
use crate::store;

pub(super) async fn fence(
    plane: Arc<ControlPlane>,
    caller: Caller,
    request: wire::NodeFenceRequest,
) -> Answer<wire::NodeFenceResponse> {
    let context = caller.context(request.change)?;
    if request.unfence {
        // The record first: a node that serves again before a cutover is bound to wait for it could be passed.
        let done = node_unfence(&plane.writer, &context, &request.node).await?;
        plane.cutovers.wake();
        let told = match context.mode {
            Mode::Commit => order(&plane, &request.node, &RESUME).await,
            Mode::DryRun => wire::NodeFenceResponse::default(),
        };
        return Ok(with(committed(done).0, told));
    }
    if context.mode == Mode::DryRun {
        let done = node_fence(&plane.writer, &context, &request.node).await?;
        return Ok(with(committed(done).0, wire::NodeFenceResponse::default()));
    }
    let told = order(&plane, &request.node, &FENCE).await;
    let done = node_fence(&plane.writer, &context, &request.node).await?;
    // One that connected in between, and had looked for the record before it was there.
    let late = plane.nodes.named(&request.node).into_iter();
    for node in late.filter(|node| node.is_connected() && !node.is_guest() && !node.left) {
        if let Some(link) = node.link() {
            link.tell(FENCE);
        }
    }
    plane.cutovers.wake();
    Ok(with(committed(done).0, told))
}

const RESUME: Request = Request::Drain(fleet::Drain {
    resume: true,
    leave: false,
    fence: false,
});

fn with(committed: wire::Committed, told: wire::NodeFenceResponse) -> wire::NodeFenceResponse {
    wire::NodeFenceResponse {
        committed: Some(committed),
        ..told
    }
}

/// Every process of the node, connected or not.
async fn order(plane: &ControlPlane, name: &str, order: &Request) -> wire::NodeFenceResponse {
    let mut told = wire::NodeFenceResponse::default();
    let all: Vec<Node> = plane.nodes.named(name);
    for (node, answer) in ask_all(all, order, &trace_context::traceparent()).await {
        match answer {
            Ok(Said::Done(_)) => told.told += 1,
            Ok(_) => told.untold.push(untold(&node, "it answered something else")),
            Err(error) => told.untold.push(untold(&node, &error.to_string())),
        }
    }
    told
}

fn untold(node: &Node, why: &str) -> wire::NodeKicked {
    wire::NodeKicked {
        node: node.name.clone(),
        sessions: 0,
        error: why.to_owned(),
    }
}

/// One that is fenced is not told to serve: it would be told to leave with its next stream.
pub(super) async fn not_fenced(plane: &ControlPlane, name: &str) -> Answer<()> {
    let mut conn = plane.writer.pool().acquire().await.map_err(store::Error::from)?;
    let fences = store::fence::fence_list(&mut conn).await?;
    match fences.iter().any(|fence| fence.node == name) {
        false => Ok(()),
        true => Err(Problem::new(
            Kind::Precondition,
            format!("node {name} is fenced: it is not to serve"),
            format!("take that back, and it is told to serve again: mailswitchctl node unfence {name}"),
        )),
    }
}

/// The operator's word that fenced machines are off is not taken while one of them is connected.
pub(super) async fn fenced_are_off(plane: &ControlPlane) -> Answer<()> {
    let mut conn = plane.writer.pool().acquire().await.map_err(store::Error::from)?;
    let fences = store::fence::fence_list(&mut conn).await?;
    let running = plane.nodes.all().into_iter().find(|node| {
        node.is_connected() && !node.left && !node.guest && fences.iter().any(|fence| fence.node == node.name)
    });
    match running {
        None => Ok(()),
        Some(node) => Err(Problem::new(
            Kind::Precondition,
            format!("node {} is fenced and connected: it is not off", node.name),
            "it has been told to leave: try again when `mailswitchctl node list` no longer shows it connected",
        )
        .on_nodes([node.name])),
    }
}
