//! `apply`, `diff` and `export`: the fleet's configuration as one TOML file. The rules that need both sides are checked
//! against the listeners that every registered node reported.

use std::sync::Arc;

use mailswitch_config::finding::Findings;
use mailswitch_config::fleet::{FleetFile, ReportedListener};
use mailswitch_config::protocol::Keyword as _;
use mailswitch_config::{Checked, Protocol, TlsMode, resource};
use mailswitch_proto::control::v1 as wire;

use super::caller::{believed, committed, proof};
use super::{Answer, Caller, problem};
use crate::change::resource::resources_apply;
use crate::process::ControlPlane;

pub(super) async fn apply(
    plane: Arc<ControlPlane>,
    caller: Caller,
    request: wire::ApplyRequest,
) -> Answer<wire::ApplyResponse> {
    let context = caller.context(request.change)?;
    let Checked {
        config: file,
        warnings,
    } = checked(&plane, &request.toml, &request.file)?;
    believed(&plane)?;
    let before = plane.routing.state().await.resource_list();
    let proof = proof(request.unproven);
    let done = resources_apply(&plane.writer, &*plane.nodes, &context, &file.resources, proof).await?;
    Ok(wire::ApplyResponse {
        committed: Some(committed(done).0),
        differences: differences(&before, &file.resources),
        warnings: findings(warnings),
    })
}

pub(super) async fn diff(
    plane: Arc<ControlPlane>,
    _: Caller,
    request: wire::DiffRequest,
) -> Answer<wire::DiffResponse> {
    let Checked {
        config: file,
        warnings,
    } = checked(&plane, &request.toml, &request.file)?;
    let before = plane.routing.state().await.resource_list();
    Ok(wire::DiffResponse {
        differences: differences(&before, &file.resources),
        warnings: findings(warnings),
    })
}

pub(super) async fn export(
    plane: Arc<ControlPlane>,
    _: Caller,
    _: wire::ExportRequest,
) -> Answer<wire::ExportResponse> {
    let state = plane.routing.state().await;
    Ok(wire::ExportResponse {
        toml: resource::to_toml(&state.resource_list()),
        revision: state.position().revision.0,
    })
}

fn checked(plane: &ControlPlane, toml: &str, file: &str) -> Answer<Checked<FleetFile>> {
    let file = if file.is_empty() { "fleet.toml" } else { file };
    FleetFile::parse(toml, file, &reported(plane)).map_err(problem::findings)
}

/// What the nodes listen on. A listener of a protocol that this version does not know is the node's own matter.
fn reported(plane: &ControlPlane) -> Vec<ReportedListener> {
    let nodes = plane.nodes.all();
    let listeners = nodes
        .iter()
        .flat_map(|node| node.listeners.iter().map(move |listener| (&node.name, listener)));
    listeners
        .filter_map(|(node, listener)| {
            Some(ReportedListener {
                node: node.clone(),
                name: listener.name.as_str().into(),
                protocol: Protocol::from_keyword(&listener.protocol)?,
                tls: TlsMode::from_keyword(&listener.tls)?,
            })
        })
        .collect()
}

fn differences(
    before: &[mailswitch_config::Resource],
    after: &[mailswitch_config::Resource],
) -> Vec<wire::Difference> {
    let found = resource::diff(before, after).into_iter();
    found
        .map(|difference| wire::Difference {
            key: difference.key,
            before: difference.before.unwrap_or_default(),
            after: difference.after.unwrap_or_default(),
        })
        .collect()
}

fn findings(found: Findings) -> Vec<wire::Finding> {
    found.into_iter().map(problem::finding_of).collect()
}
