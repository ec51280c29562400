//! Cutovers on a real database, with nodes that are played: `steps` (every way to go and to end), `leases`, `races` (the flip's
//! conditions), `takeovers` (drivers that die, and databases), `refusals`.

// A test says with a panic what it did not expect.
#![allow(clippy::unwrap_used)]

mod leases;
mod races;
mod refusals;
#[path = "../scene/mod.rs"]
mod scene;
mod steps;
mod takeovers;

use std::time::Duration;

use mailswitch_control_plane::change::Context;
use mailswitch_control_plane::change::log::changes_after;
use mailswitch_control_plane::cutover::operation::Fence;
use mailswitch_control_plane::cutover::request::Start;
use mailswitch_proto::fleet::v1::ChangeSet;
use mailswitch_proto::fleet::v1::change::Kind;
use mailswitch_proto::id::{HoldId, InstanceId, OperationId};
use mailswitch_proto::revision::Revision;
use prost::Message as _;
use scene::Scene;

const LONG: Duration = Duration::from_secs(60);
const ALICE: &str = "alice@example.org";

async fn kinds_after(scene: &Scene, revision: Revision) -> Vec<Kind> {
    changes_after(scene.database.pool(), revision, 100)
        .await
        .unwrap()
        .iter()
        .flat_map(|logged| ChangeSet::decode(logged.payload.as_slice()).unwrap().changes)
        .filter_map(|change| change.kind)
        .collect()
}

async fn begin(scene: &Scene, replica: &scene::Replica, start: &Start) -> OperationId {
    let _ = scene;
    replica
        .cutovers
        .begin(&Context::own("batch 7"), start)
        .await
        .unwrap()
        .output
}

/// Held, acknowledged by `quiet`, and at the flip, with nobody who drives it: what its transaction sees is all there is.
async fn at_the_flip(scene: &Scene, start: &Start, quiet: &[InstanceId]) -> (OperationId, HoldId, Fence) {
    let replica = scene.replica();
    let id = begin(scene, &replica, start).await;
    let hold = replica.held(id).await;
    let fence = replica.cutovers.get(id).await.unwrap().operation.fence;
    replica.crash().await;
    for instance in quiet {
        scene.acknowledge(*instance, hold).await;
    }
    sqlx::query("UPDATE operations SET step = 'flipping' WHERE id = $1")
        .bind(id.uuid())
        .execute(scene.database.pool())
        .await
        .unwrap();
    (id, hold, fence)
}
