//! Who drives an operation: the replica that recorded it, or one that takes it over because its driver is gone (promise D1).

use std::time::Duration;

use mailswitch_proto::id::OperationId;

use super::Cutovers;
use super::driver::drive;
use crate::change::Error;
use crate::store;

/// How long it is waited for after an attempt at the start.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How often operations are looked for that nobody drives any more.
const PATROL: Duration = Duration::from_secs(5);
/// A replica that has not written its heartbeat for so long is taken as gone.
const SILENT_SECONDS: u32 = 15;

/// Takes over at the start, and whenever another replica falls silent.
pub(super) async fn take_over_forever(cutovers: Cutovers) {
    // At the start nobody is waited for: with one replica its predecessor is gone. If it is not, its next write finds out
    // that the operation is no longer its own (promise F1), and nothing but time is lost.
    let mut silent = 0;
    loop {
        match take_over(&cutovers, silent).await {
            Ok(()) => silent = SILENT_SECONDS,
            Err(error) => tracing::warn!(%error, "open operations could not be taken over; trying again"),
        }
        tokio::select! {
            () = cutovers.inner.stop.cancelled() => return,
            () = tokio::time::sleep(if silent == 0 { BACK_OFF } else { PATROL }) => {}
        }
    }
}

async fn take_over(cutovers: &Cutovers, silent_seconds: u32) -> Result<(), Error> {
    let mut conn = cutovers.inner.writer.pool().acquire().await?;
    let taken =
        store::operation::operation_take_over(&mut conn, cutovers.inner.instance, silent_seconds).await?;
    drop(conn);
    for operation in taken {
        tracing::info!(
            operation = %operation.id,
            step = operation.step.text(),
            term = operation.fence.term,
            "took over an operation that nobody drives"
        );
        drive(cutovers, operation.id, operation.fence).await?;
    }
    // Ours already, and without a driver: whoever asked for it hung up between the record and the driver's start.
    let mut conn = cutovers.inner.writer.pool().acquire().await?;
    let own = store::operation::operation_open_of_list(&mut conn, cutovers.inner.instance).await?;
    drop(conn);
    for operation in own {
        drive(cutovers, operation.id, operation.fence).await?;
    }
    Ok(())
}

/// Starts the driver of an operation that was just recorded, or recorded before under the same idempotency key.
pub(super) async fn drive_if_ours(cutovers: &Cutovers, id: OperationId) -> Result<(), Error> {
    let operation = cutovers.get(id).await?.operation;
    if operation.fence.holder == cutovers.inner.instance && !operation.step.is_end() {
        drive(cutovers, id, operation.fence).await?;
    }
    Ok(())
}
