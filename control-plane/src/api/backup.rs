//! `backup` and `restore`.

use std::sync::Arc;

use mailswitch_proto::control::v1 as wire;
use mailswitch_proto::control::v1::{Problem, problem::Kind};
use tonic::Streaming;

use super::pages::Pages;
use super::{Answer, Caller};
use crate::process::ControlPlane;

pub(super) async fn backup(
    _: Arc<ControlPlane>,
    _: Caller,
    _: wire::BackupRequest,
) -> Answer<Pages<wire::Chunk>> {
    Err(Problem::new(
        Kind::Precondition,
        "this control plane makes no backups yet",
        "use pg_dump",
    ))
}

pub(super) async fn restore(
    _: Arc<ControlPlane>,
    _: Caller,
    _: Streaming<wire::RestoreRequest>,
) -> Answer<wire::RestoreResponse> {
    Err(Problem::new(
        Kind::Precondition,
        "this control plane restores no backups yet",
        "use pg_restore",
    ))
}
