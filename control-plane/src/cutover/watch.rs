//! What is seen of an operation: its record, and what each registered process said of its hold.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use mailswitch_proto::id::OperationId;
use sqlx::PgPool;
use tokio::sync::watch;

use super::Cutovers;
use super::operation::Operation;
use super::proof::Standing;
use super::request::{Proof, View};
use crate::change::{Error, Refusal};
use crate::store;

/// How often an operation is looked at that another replica drives.
const FROM_AFAR: Duration = Duration::from_millis(250);

/// As it is now.
pub(super) async fn view(pool: &PgPool, id: OperationId) -> Result<View, Error> {
    let mut conn = pool.acquire().await?;
    let operation = store::operation::operation_get(&mut conn, id)
        .await?
        .ok_or_else(|| {
            Refusal::precondition(
                format!("there is no operation {id}"),
                "look in `mailswitchctl status`",
            )
        })?;
    let proofs = match (operation.hold, operation.arming) {
        (None, None) => Vec::new(),
        (hold, arming) => {
            let stuck = match hold {
                Some(hold) => store::hold::hold_stuck_list(&mut conn, hold).await?,
                None => Vec::new(),
            };
            store::hold::hold_proof_list(&mut conn, hold, arming)
                .await?
                .into_iter()
                .map(|proof| Proof {
                    stuck: stuck
                        .iter()
                        .find(|stuck| stuck.instance == proof.instance)
                        .cloned(),
                    standing: recorded(&operation, &proof),
                    facts: proof.facts(),
                    node: proof.node,
                    instance: proof.instance,
                    met: proof.quiesced.unwrap_or_default(),
                })
                .collect()
        }
    };
    Ok(View {
        operation,
        proofs,
        at: Utc::now(),
    })
}

/// As it is written down: a lapse is the driver's word, and stands in the record once the flip rested on it.
fn recorded(operation: &Operation, proof: &store::hold::Proof) -> Standing {
    match proof.quiesced {
        Some(_) => Standing::Quiesced,
        None if operation.lapsed.contains(&proof.node) => Standing::Lapsed,
        None if operation.taken_as_off.contains(&proof.node) => Standing::TakenAsOff,
        None => Standing::Missing,
    }
}

/// Follows one that no task of this process drives: it has ended, or another replica drives it.
pub(super) async fn from_afar(
    cutovers: &Cutovers,
    id: OperationId,
) -> Result<watch::Receiver<Arc<View>>, Error> {
    let pool = cutovers.inner.writer.pool().clone();
    let first = view(&pool, id).await?;
    let ended = first.operation.step.is_end();
    let (sender, receiver) = watch::channel(Arc::new(first));
    if ended {
        return Ok(receiver);
    }
    let stop = cutovers.inner.stop.clone();
    cutovers.inner.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sender.closed() => return,
                () = tokio::time::sleep(FROM_AFAR) => {}
            }
            match view(&pool, id).await {
                Ok(view) => {
                    let ended = view.operation.step.is_end();
                    sender.send_if_modified(|seen| {
                        let moved = seen.operation != view.operation || seen.proofs != view.proofs;
                        *seen = Arc::new(view);
                        moved
                    });
                    if ended {
                        return;
                    }
                }
                Err(error) => tracing::debug!(%error, "an operation could not be read"),
            }
        }
    });
    Ok(receiver)
}
