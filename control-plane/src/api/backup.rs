//! `backup` and `restore`: everything that the control plane keeps, as one file. A restored database has gone back in
//! time (promise D3): nodes that are ahead of it keep what they have, and routing writes wait until that is decided.

use std::sync::Arc;

use mailswitch_proto::control::v1 as wire;
use mailswitch_proto::control::v1::{Problem, problem::Kind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tonic::Streaming;

use super::pages::{self, Pages};
use super::{Answer, Caller, audit, problem};
use crate::backup::{self, BackupError, Replace};
use crate::change::{Mode, doubt};
use crate::nodes::registry;
use crate::process::ControlPlane;
use crate::routing::load::{LoadError, load};

/// Of a backup, on its way.
const PIECE: usize = 64 * 1024;

pub(super) async fn backup(
    plane: Arc<ControlPlane>,
    caller: Caller,
    _: wire::BackupRequest,
) -> Answer<Pages<wire::Chunk>> {
    // It shows everything, the key of the table hash too: who took one is on record.
    let context = caller.context(None)?;
    audit::done(&plane, &context, "backup", "", "").await;
    Ok(pages::stream(|out| async move {
        let (written, mut read) = tokio::io::duplex(PIECE);
        let dumping = backup::dump(plane.writer.pool(), written);
        let sending = async {
            loop {
                let mut data = vec![0; PIECE];
                let length = read.read(&mut data).await.map_err(BackupError::from)?;
                data.truncate(length);
                // The caller has it all, or went away: then the dump finds nobody to write to.
                if length == 0 || out.send(Ok(wire::Chunk { data })).await.is_err() {
                    drop(read);
                    return Ok(());
                }
            }
        };
        tokio::try_join!(async { dumping.await.map(|_| ()) }, sending)?;
        Ok(())
    }))
}

pub(super) async fn restore(
    plane: Arc<ControlPlane>,
    caller: Caller,
    mut requests: Streaming<wire::RestoreRequest>,
) -> Answer<wire::RestoreResponse> {
    let first = requests
        .message()
        .await
        .map_err(|status| problem::cut_off(&status))?
        .unwrap_or_default();
    let context = caller.context(first.change)?;
    if context.mode == Mode::DryRun {
        let remedy = "restore into a control plane of its own to see what is in the file";
        return Err(Problem::new(
            Kind::Invalid,
            "a restore cannot be tried without being done",
            remedy,
        ));
    }
    let replace = if first.replace {
        Replace::Whatever
    } else {
        Replace::OnlyEmpty
    };
    let (written, read) = tokio::io::duplex(PIECE);
    let restoring = backup::restore(&plane.writer, read, replace);
    let receiving = receive(requests, first.data, written);
    let (restored, received) = tokio::join!(restoring, receiving);
    // What did not arrive whole was refused for it; the caller hears why it did not arrive.
    let restored = match (restored, received) {
        (Ok(restored), _) => restored,
        (Err(BackupError::Damaged(_)), Err(cut_off)) => return Err(cut_off),
        (Err(error), _) => return Err(error.into()),
    };
    // From here on nothing may be answered that says that nothing was changed (promise F3).
    let loaded = load(plane.writer.pool(), plane.bounds).await;
    plane.routing.replace(loaded?).await;
    // What was compared with the state before does not count any more.
    *plane.trouble.suspect.lock() = None;
    registry::refresh(plane.writer.pool(), &plane.nodes)
        .await
        .map_err(LoadError::from)?;
    plane.cutovers.wake();
    let after = format!("revision {}", restored.position.revision);
    audit::done(&plane, &context, "restore", &restored.fleet.to_string(), &after).await;
    let mut notes: Vec<String> = match doubt::nodes_of(&plane.nodes.doubts()) {
        none if none.is_empty() => Vec::new(),
        waited_for => vec![format!(
            "The database has gone back in time. No routing write is made until {} said where they stand; those that are \
             ahead of it keep what they have: `mailswitchctl status` names them, and says what to do.",
            waited_for.join(", ")
        )],
    };
    notes.extend(restored.unwritten.map(|why| {
        format!(
            "The state directory could not be written ({why}): remove `seen-revision` from it before the control plane is \
             started again."
        )
    }));
    Ok(wire::RestoreResponse {
        revision: restored.position.revision.0,
        notes,
    })
}

/// Passes on what arrives, until the caller has sent all of it, or the restore wants no more.
async fn receive(
    mut requests: Streaming<wire::RestoreRequest>,
    first: Vec<u8>,
    mut to: DuplexStream,
) -> Answer<()> {
    let mut data = first;
    loop {
        if to.write_all(&data).await.is_err() {
            return Ok(());
        }
        match requests
            .message()
            .await
            .map_err(|status| problem::cut_off(&status))?
        {
            Some(request) => data = request.data,
            None => return Ok(()),
        }
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let what = error.to_string();
        match error {
            BackupError::Store(error) => error.into(),
            BackupError::OutcomeUnknown(_) => Self::new(
                Kind::Unavailable,
                what,
                "when the database is back, look at `mailswitchctl status`, or repeat the restore",
            ),
            BackupError::NoBackup | BackupError::Damaged(_) => Self::new(
                Kind::Invalid,
                what,
                "nothing was changed; take a file that `mailswitchctl backup` wrote",
            ),
            _ => Self::new(Kind::Precondition, what, "nothing was changed"),
        }
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        Self::new(
            Kind::Unavailable,
            format!("the backup was restored, and the state in it cannot be loaded: {error}"),
            "start the control plane again",
        )
    }
}
