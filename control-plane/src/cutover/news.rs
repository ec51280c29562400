//! What other replicas heard of operations that are driven here: a node says its acknowledgements to the replica that it
//! is connected to. Only for latency: a driver whose word was lost looks by itself.

use std::time::Duration;

use mailswitch_proto::id::OperationId;
use sqlx::postgres::PgListener;
use uuid::Uuid;

use super::Cutovers;
use crate::store::operation::OPERATION_NEWS;

/// After the listener broke.
const BACK_OFF: Duration = Duration::from_millis(500);

/// Wakes the drivers of this process until it stops.
pub(super) async fn listen_forever(cutovers: Cutovers) {
    let listening = async {
        loop {
            if let Err(error) = listen(&cutovers).await {
                tracing::debug!(%error, "other replicas are not heard; drivers look by themselves");
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    };
    tokio::select! {
        () = cutovers.inner.stop.cancelled() => {}
        () = listening => {}
    }
}

async fn listen(cutovers: &Cutovers) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(cutovers.inner.writer.pool()).await?;
    listener.listen(OPERATION_NEWS).await?;
    loop {
        let Some(said) = listener.try_recv().await? else {
            return Ok(());
        };
        let id = said.payload().parse::<Uuid>().ok().map(OperationId::from);
        // Another replica's is none of ours.
        let _ = cutovers.wake_of(id);
    }
}
