//! `account arm` and `account disarm`. An arming is worth something on the nodes that acknowledged it (promise L4): the answer
//! waits for those that are connected, a moment at most, and names the others.

use std::sync::Arc;
use std::time::Duration;

use mailswitch_proto::control::v1 as wire;
use tokio::time::Instant;
use tonic::Streaming;

use super::caller::{believed, committed};
use super::{Answer, Caller, problem};
use crate::change::Mode;
use crate::change::arming::{Way, account_arm};
use crate::change::sessions::Nodes as _;
use crate::process::ControlPlane;
use crate::store;
use crate::store::arming::{Silent, arming_silent_list};

/// Some milliseconds are usual; ten thousand accounts take a second.
const MOMENT: Duration = Duration::from_secs(3);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(25);

/// The first message has the context, the others accounts. All of it is one revision.
pub(super) async fn arm(
    plane: Arc<ControlPlane>,
    caller: Caller,
    mut requests: Streaming<wire::AccountArmRequest>,
) -> Answer<wire::AccountArmResponse> {
    let mut first = None;
    let mut identifiers = Vec::new();
    while let Some(request) = requests
        .message()
        .await
        .map_err(|status| problem::cut_off(&status))?
    {
        first.get_or_insert((request.change, request.disarm));
        identifiers.extend(request.identifiers);
    }
    let (change, disarm) = first.unwrap_or_default();
    let context = caller.context(change)?;
    believed(&plane)?;
    let way = if disarm { Way::Disarm } else { Way::Arm };
    let done = account_arm(&plane.writer, &context, &identifiers, way).await?;
    let silent = match (way, context.mode) {
        (Way::Arm, Mode::Commit) => silent_on(&plane, &identifiers).await?,
        _ => Vec::new(),
    };
    let (committed, counts) = committed(done);
    let lease = plane.routing.config().cutover.lease;
    Ok(wire::AccountArmResponse {
        committed: Some(committed),
        changed: counts.changed,
        unchanged: counts.unchanged,
        unacknowledged: silent,
        lease_millis: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Registered nodes that have not acknowledged all of these armings.
async fn silent_on(plane: &ControlPlane, identifiers: &[String]) -> Answer<Vec<String>> {
    let config = plane.routing.config();
    let normal = |text: &String| {
        mailswitch_proto::identifier::Identifier::normalized(text, &config.normalization)
            .ok()
            .map(|identifier| identifier.to_string())
    };
    let identifiers: Vec<String> = identifiers.iter().filter_map(normal).collect();
    let until = Instant::now() + MOMENT;
    loop {
        let mut conn = plane.writer.pool().acquire().await.map_err(store::Error::from)?;
        let silent = arming_silent_list(&mut conn, &identifiers).await?;
        drop(conn);
        let connected = plane.nodes.serving();
        let waited_for = |silent: &Silent| connected.contains(&silent.instance);
        if !silent.iter().any(waited_for) || Instant::now() >= until {
            let mut names: Vec<String> = silent.into_iter().map(|silent| silent.node).collect();
            names.sort();
            names.dedup();
            return Ok(names);
        }
        tokio::time::sleep(LOOK).await;
    }
}
