//! `node drain` and `node forget`. Draining is an order that the node answers; told to leave, it says goodbye by itself
//! when its last session is over (promise N2), and `status` shows it. Forgetting is the operator's recorded
//! word that a node is stopped for good, for all accounts; for one cutover it is `--fenced-is-off` (promise N3, decision
//! 0026).

use std::sync::Arc;

use mailswitch_proto::control::v1 as wire;
use mailswitch_proto::control::v1::{Problem, problem::Kind};
use mailswitch_proto::fleet::v1::{self as fleet, answer, request};
use mailswitch_proto::id::InstanceId;
use mailswitch_proto::trace_context;

use super::caller::committed;
use super::{Answer, Caller};
use crate::change::Mode;
use crate::change::node::{Forget, Word, node_forget};
use crate::nodes::ask::{AskError, ask_all};
use crate::nodes::{Node, registry};
use crate::process::ControlPlane;

/// The nodes of this name.
pub(super) fn named(plane: &ControlPlane, name: &str) -> Answer<Vec<Node>> {
    let nodes = plane.nodes.named(name);
    if nodes.is_empty() {
        let known: Vec<String> = plane.nodes.all().into_iter().map(|node| node.name).collect();
        let remedy = match known.as_slice() {
            [] => "no node is registered".to_owned(),
            known => format!("take one of: {}", known.join(", ")),
        };
        return Err(Problem::new(
            Kind::Precondition,
            format!("there is no node {name:?}"),
            remedy,
        ));
    }
    Ok(nodes)
}

pub(super) async fn drain(
    plane: Arc<ControlPlane>,
    caller: Caller,
    request: wire::NodeDrainRequest,
) -> Answer<wire::NodeDrainResponse> {
    let context = caller.context(request.change)?;
    if request.leave && request.resume {
        let what = "a node that leaves is not resumed at once";
        return Err(Problem::new(Kind::Invalid, what, "say one of both"));
    }
    let all = match named(&plane, &request.node) {
        // One that has left is unknown here until its next stream stands.
        Err(unknown) if request.resume => return Err(unknown.passing()),
        all => all?,
    };
    if request.resume {
        super::fence::not_fenced(&plane, &request.node).await?;
    }
    if request.leave {
        connected_to_leave(&request.node, &all)?;
    }
    let nodes: Vec<Node> = all.into_iter().filter(Node::is_connected).collect();
    if nodes.is_empty() {
        let what = format!("node {} is not connected: it was not told", request.node);
        let problem = Problem::new(Kind::Unproven, what, "start it, or look at its log");
        return Err(problem.on_nodes([request.node]).passing());
    }
    let sessions = active(&nodes);
    if context.mode != Mode::Commit {
        return Ok(wire::NodeDrainResponse { sessions });
    }
    let (resume, leave) = (request.resume, request.leave);
    let ask = request::Request::Drain(fleet::Drain {
        resume,
        leave,
        fence: false,
    });
    for (node, answer) in ask_all(nodes, &ask, &trace_context::traceparent()).await {
        if let Err(error) = answer.map(|answer| matches!(answer, answer::Answer::Done(_))) {
            let what = format!("node {} did not confirm: {error}", node.name);
            let problem = Problem::new(
                Kind::Unproven,
                what,
                "see `mailswitchctl node list`, and repeat the command",
            );
            let problem = problem.on_nodes([node.name]);
            // Told twice, it does it once.
            return Err(match error {
                AskError::Refused(_) | AskError::Unexpected => problem,
                _ => problem.passing(),
            });
        }
    }
    let verb = match (resume, leave) {
        (true, _) => "node resume",
        (false, true) => "node drain --leave",
        (false, false) => "node drain",
    };
    super::audit::done(&plane, &context, verb, &request.node, "").await;
    Ok(wire::NodeDrainResponse { sessions })
}

pub(super) async fn forget(
    plane: Arc<ControlPlane>,
    caller: Caller,
    request: wire::NodeForgetRequest,
) -> Answer<wire::Committed> {
    let context = caller.context(request.change)?;
    let instance = match request.instance.as_slice() {
        [] => None,
        bytes => Some(InstanceId::try_from(bytes).map_err(|error| {
            let remedy = "take it from `mailswitchctl node list`, or leave it out for all of that name";
            Problem::new(Kind::Invalid, error.to_string(), remedy)
        })?),
    };
    still_running(&plane, &request.node, instance)?;
    let forget = Forget {
        node: request.node,
        instance,
        word: if request.stopped {
            Word::Stopped
        } else {
            Word::Missing
        },
    };
    let done = node_forget(&plane.writer, &context, &forget).await?;
    if context.mode == Mode::Commit {
        if let Some(position) = done.position {
            plane.nodes.forgotten(&forget.node, instance, position.revision);
        }
        if let Err(error) = registry::refresh(plane.writer.pool(), &plane.nodes).await {
            tracing::debug!(%error, "the registry is read again with the next heartbeat");
        }
        plane.cutovers.wake();
    }
    Ok(committed(done).0)
}

/// A process that does not hear the order cannot prove that it serves nobody: it stays registered (promise N2).
fn connected_to_leave(name: &str, all: &[Node]) -> Answer<()> {
    match all.iter().find(|node| !node.is_connected()) {
        None => Ok(()),
        Some(node) => {
            let what = format!(
                "node {name} (process {}) is not connected: it cannot say goodbye",
                node.instance
            );
            let remedy = format!(
                "connect it and repeat the command; or, if its machine is off: mailswitchctl node forget {name} \
                 --i-stopped-it"
            );
            Err(Problem::new(Kind::Precondition, what, remedy).passing())
        }
    }
}

/// The word that a node is stopped is not taken while its stream is up.
fn still_running(plane: &ControlPlane, name: &str, instance: Option<InstanceId>) -> Answer<()> {
    let running = plane
        .nodes
        .named(name)
        .into_iter()
        .find(|node| node.is_connected() && instance.is_none_or(|instance| instance == node.instance));
    match running {
        None => Ok(()),
        Some(node) => {
            let what = format!(
                "node {name} (process {}) is connected: it is not stopped",
                node.instance
            );
            let remedy = "stop it first; it leaves the list of connected nodes within 20 s";
            Err(Problem::new(Kind::Precondition, what, remedy))
        }
    }
}

/// By their last reports.
fn active(nodes: &[Node]) -> u64 {
    let reports = nodes.iter().filter_map(|node| node.report.as_ref());
    reports
        .flat_map(|report| &report.active)
        .map(|active| active.sessions)
        .sum()
}
