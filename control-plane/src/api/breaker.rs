//! `breaker reset`: every node forgets the failures of a destination and tries it again.

use std::sync::Arc;

use mailswitch_proto::control::v1 as wire;
use mailswitch_proto::fleet::v1::{ResetBreaker, answer, request};
use mailswitch_proto::trace_context;

use super::{Answer, Caller};
use crate::change::Mode;
use crate::nodes::Node;
use crate::nodes::ask::{AskError, ask_all};
use crate::process::ControlPlane;

pub(super) async fn reset(
    plane: Arc<ControlPlane>,
    caller: Caller,
    request: wire::BreakerResetRequest,
) -> Answer<wire::BreakerResetResponse> {
    let context = caller.context(request.change)?;
    let destination = request.destination;
    super::destination::known(&plane, &destination)?;
    if context.mode == Mode::DryRun {
        return Ok(wire::BreakerResetResponse {
            nodes: plane.nodes.all().into_iter().map(would_be_told).collect(),
        });
    }
    let ask = request::Request::ResetBreaker(ResetBreaker {
        destination: destination.clone(),
    });
    let answers = ask_all(plane.nodes.all(), &ask, &trace_context::traceparent()).await;
    super::audit::done(&plane, &context, "breaker reset", &destination, "").await;
    let nodes = answers.into_iter().map(|(node, answer)| wire::NodeKicked {
        node: node.name,
        sessions: 0,
        error: match answer {
            Ok(answer::Answer::Done(_)) => String::new(),
            Ok(_) => AskError::Unexpected.to_string(),
            Err(error) => error.to_string(),
        },
    });
    Ok(wire::BreakerResetResponse {
        nodes: nodes.collect(),
    })
}

fn would_be_told(node: Node) -> wire::NodeKicked {
    let error = match node.is_connected() {
        true => String::new(),
        false => AskError::NotConnected.to_string(),
    };
    wire::NodeKicked {
        node: node.name,
        sessions: 0,
        error,
    }
}
