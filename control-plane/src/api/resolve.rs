//! `resolve LOGIN`: what would happen to it here, and on every node, each from its own memory. A node that does not
//! answer is named with the reason.

use std::sync::Arc;

use mailswitch_proto::control::v1 as wire;
use mailswitch_proto::fleet::v1::{Resolve, answer, request};
use mailswitch_proto::trace_context;

use super::{Answer, Caller};
use crate::nodes::Node;
use crate::nodes::ask::{AskError, ask_all};
use crate::process::ControlPlane;
use crate::routing::resolve::resolve as resolve_here;

pub(super) async fn resolve(
    plane: Arc<ControlPlane>,
    _: Caller,
    request: wire::ResolveRequest,
) -> Answer<wire::ResolveResponse> {
    let config = plane.routing.config();
    let here = resolve_here(&*plane.routing.state().await, &config, &request.login);
    let nodes = if request.all_nodes {
        everywhere(&plane, request.login).await
    } else {
        Vec::new()
    };
    Ok(wire::ResolveResponse {
        control_plane: Some(here),
        nodes,
    })
}

async fn everywhere(plane: &ControlPlane, login: String) -> Vec<wire::NodeResolution> {
    let ask = request::Request::Resolve(Resolve { login });
    let answers = ask_all(plane.nodes.all(), &ask, &trace_context::traceparent()).await;
    answers.into_iter().map(of_node).collect()
}

fn of_node((node, answer): (Node, Result<answer::Answer, AskError>)) -> wire::NodeResolution {
    let (resolution, error) = match answer {
        Ok(answer::Answer::Resolution(resolution)) => (Some(resolution), String::new()),
        Ok(_) => (None, AskError::Unexpected.to_string()),
        Err(error) => (None, error.to_string()),
    };
    wire::NodeResolution {
        node: node.name,
        site: node.site,
        resolution,
        error,
    }
}
