//! `status`: what is committed, what each node was sent and what it has applied, who moves, and what should worry an
//! operator. Answered while the database is away too, from memory, and saying so.

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::table::routing::OnUnknown;
use mailswitch_proto::control::v1 as wire;
use mailswitch_proto::revision::{Position, Revision};

use super::operation::views;
use super::{Answer, Caller};
use crate::change::{self, doubt};
use crate::nodes::Node;
use crate::process::ControlPlane;
use crate::routing::log::Standing;
use crate::routing::state::State;
use crate::store;
use crate::store::arming::InForce;
use crate::store::doubt::Doubt;
use crate::store::fence::Fence;
use crate::store::operation::Which;

/// An operator who asks how things are does not wait longer for a database that may be gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// Operations that go on are shown up to this many; a wave has its own page.
const OPERATIONS: u32 = 200;

/// A connected node reports every few seconds: silent for longer than this, it hangs.
const SILENT: Duration = Duration::from_secs(60);

pub(super) async fn status(
    plane: Arc<ControlPlane>,
    _: Caller,
    _: wire::StatusRequest,
) -> Answer<wire::StatusResponse> {
    let asked = tokio::time::timeout(PATIENCE, committed(&plane)).await;
    let (committed, error) = match asked {
        Ok(Ok(committed)) => (committed, String::new()),
        Ok(Err(error)) => (Committed::of_memory(&plane), error.to_string()),
        Err(_) => {
            let error = format!("it did not answer within {} s", PATIENCE.as_secs());
            (Committed::of_memory(&plane), error)
        }
    };
    let nodes = plane.nodes.all();
    let doubts = plane.nodes.doubts();
    let mut warnings = warnings(&plane, &nodes, &doubts, &committed);
    if !error.is_empty() {
        warnings.insert(
            0,
            format!("the database is unreachable ({error}): revision and counts are this replica's"),
        );
    }
    let state = plane.routing.state().await;
    let default = plane.routing.config().routing.default_destination.clone();
    Ok(wire::StatusResponse {
        fleet: plane.routing.fleet().to_vec(),
        revision: committed.position.revision.0,
        digest: committed.position.digest.to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        replica: plane.replica.clone(),
        database: Some(wire::Database {
            reachable: error.is_empty(),
            kind: plane.kind.place.to_owned(),
            version: plane.kind.version.clone(),
            error,
        }),
        nodes: nodes
            .iter()
            .map(|node| of_node(node, &doubts, &state, &committed.fences))
            .collect(),
        operations: committed.operations,
        mappings: state.table().len() as u64,
        accounts: committed.accounts,
        armed: committed.armed.map_or(0, |armed| armed.armed),
        armed_since_unix_millis: committed
            .armed
            .and_then(|armed| armed.armed_since)
            .map_or(0, |since| u64::try_from(since.timestamp_millis()).unwrap_or(0)),
        lease_millis: u64::try_from(plane.routing.config().cutover.lease.as_millis()).unwrap_or(u64::MAX),
        default_destination: default.map(|name| name.to_string()).unwrap_or_default(),
        warnings,
    })
}

/// What only the database knows.
struct Committed {
    position: Position,
    accounts: u64,
    armed: Option<InForce>,
    fences: Vec<Fence>,
    operations: Vec<wire::Operation>,
}

impl Committed {
    fn of_memory(plane: &ControlPlane) -> Self {
        Self {
            position: plane.routing.position(),
            accounts: 0,
            armed: None,
            fences: Vec::new(),
            operations: Vec::new(),
        }
    }
}

async fn committed(plane: &ControlPlane) -> Result<Committed, change::Error> {
    let mut conn = plane.writer.pool().acquire().await?;
    let position = store::fleet::position_get(&mut conn).await?;
    let accounts = store::account::account_count(&mut conn).await?;
    let armed = Some(store::arming::in_force_get(&mut conn).await?);
    let fences = store::fence::fence_list(&mut conn).await?;
    drop(conn);
    let operations = views(plane, Which::Open, None, OPERATIONS).await?;
    Ok(Committed {
        position,
        accounts,
        armed,
        fences,
        operations,
    })
}

/// One node, as `status` and `node list` show it.
fn of_node(node: &Node, doubts: &[Doubt], state: &State, fences: &[Fence]) -> wire::NodeStatus {
    let doubt = doubts.iter().find(|doubt| doubt.instance == node.instance);
    // Of one that is away, the last thing that is known may be that it is ahead.
    let ahead = doubt.and_then(|doubt| doubt.at).filter(|_| !node.is_connected());
    let applied = ahead.unwrap_or(node.applied);
    let standing = |rejected: &&mailswitch_proto::fleet::v1::Rejected| {
        // A later version of the resource, applied and not rejected, replaced it.
        let changed = state.resource_changed(&rejected.resource);
        changed.is_none_or(|changed| changed.0 <= rejected.revision || changed > node.applied.revision)
    };
    wire::NodeStatus {
        name: node.name.clone(),
        site: node.site.clone(),
        instance: node.instance.to_vec(),
        version: node.version.clone(),
        connected: node.is_connected(),
        sent_revision: node.sent.0,
        applied_revision: applied.revision.0,
        applied_digest: applied.digest.to_vec(),
        seen_millis_ago: node.silent_for().map_or(u64::MAX, |silent| {
            u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)
        }),
        registered_revision: node.registered_revision.0,
        listeners: node.listeners.clone(),
        rejected: node.rejected.values().filter(standing).cloned().collect(),
        report: node.report.clone(),
        diverged: node.diverged || ahead.is_some(),
        draining: node.is_draining(),
        left: node.left,
        fenced: fences.iter().any(|fence| fence.node == node.name),
    }
}

fn warnings(plane: &ControlPlane, nodes: &[Node], doubts: &[Doubt], committed: &Committed) -> Vec<String> {
    let mut warnings = Vec::new();
    let suspect = plane.trouble.suspect.lock().clone();
    warnings.extend(suspect.map(|suspect| format!("{suspect}: {}", doubt::MEMORY_REMEDY)));
    warnings.extend(doubts.iter().map(doubt::of_one));
    let fenced = |node: &&Node| committed.fences.iter().any(|fence| fence.node == node.name);
    let doubted = |node: &&Node| doubts.iter().any(|doubt| doubt.instance == node.instance);
    warnings.extend(
        nodes
            .iter()
            .filter(|node| !doubted(node) && !fenced(node))
            .filter_map(|node| of_one(plane, node, committed.position.revision)),
    );
    warnings.extend(committed.fences.iter().map(|fence| of_fence(fence, nodes)));
    for node in nodes {
        warnings.extend(node.open_breakers().map(|breaker| {
            format!(
                "node {}: the breaker of {} ({}) is open: {}",
                node.name, breaker.destination, breaker.protocol, breaker.last_error
            )
        }));
    }
    let config = plane.routing.config();
    if config.routing.default_destination.is_none() {
        warnings.push(
            "the fleet has no default destination: logins without a mapping get the temporary failure".into(),
        );
    }
    if config.routing.unidentified == OnUnknown::Default {
        warnings.push(
            "`routing.unidentified` is \"default\": logins that carry no identifier go to the default destination, and \
             no cutover moves them"
                .into(),
        );
    }
    if config.routing.unknown == OnUnknown::Default {
        warnings.push(
            "`routing.unknown` is \"default\": an alias that no account declares goes to the default destination, also \
             after its account has moved"
                .into(),
        );
    }
    warnings
}

/// What has become of a node that is not to serve (promise N3).
fn of_fence(fence: &Fence, nodes: &[Node]) -> String {
    let Fence { node, at, by } = fence;
    let since = at.format("%Y-%m-%d %H:%M:%S UTC");
    let registered: Vec<&Node> = nodes
        .iter()
        .filter(|known| known.name == *node && !known.left && !known.guest)
        .collect();
    let what = if registered.is_empty() {
        "and has left: it serves nobody, and no cutover waits for it".to_owned()
    } else if registered.iter().any(|known| known.is_connected()) {
        "and is connected: it has been told to leave, and counts until it has".to_owned()
    } else {
        format!(
            "and has not heard it: it may still serve, and still counts. Accounts that it acknowledged as armed can be moved              after a lease; others only with `mailswitchctl cutover --fenced-is-off`, your word that its machine is off; or              forget it for good with `mailswitchctl node forget {node} --i-stopped-it`"
        )
    };
    format!("node {node} is fenced since {since} by {by}, {what}")
}

/// The worst that is to be said of a node.
fn of_one(plane: &ControlPlane, node: &Node, committed: Revision) -> Option<String> {
    if node.left {
        // An operator asked for it.
        return None;
    }
    let name = &node.name;
    if node.diverged || plane.routing.standing(node.applied) == Standing::Diverged {
        return Some(format!(
            "node {name} is at revision {} ({}), which this replica does not know: it keeps what it has, and is sent nothing",
            node.applied.revision, node.applied.digest
        ));
    }
    if !node.is_connected() {
        let since = match node.silent_for() {
            Some(silent) => format!("not connected for {} s", silent.as_secs()),
            None => "not seen since this control plane started".to_owned(),
        };
        return Some(format!(
            "node {name} is {since}: only accounts that it acknowledged as armed can be cut over (each takes a lease longer), \
             until it answers, or is forgotten with `mailswitchctl node forget {name} --i-stopped-it`"
        ));
    }
    if node.silent_for().is_some_and(|silent| silent > SILENT) {
        return Some(format!("node {name} is connected and says nothing: it may hang"));
    }
    if node.applied.revision < node.sent.min(committed) {
        return Some(format!(
            "node {name} was sent revision {} and has applied {}",
            node.sent, node.applied.revision
        ));
    }
    None
}
