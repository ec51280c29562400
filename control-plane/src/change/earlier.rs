//! What became of earlier attempts: of this call, when a commit was not answered, and of another call with the same
//! idempotency key. Each attempt looks here before it does anything.

use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use super::attempt::Attempt;
use super::transaction::OpenTransaction;
use super::{Change, Committed, Context, Error, Refusal};
use crate::store::{self, idempotency};

/// Attempts whose commit was not answered: the id of the row in the log, and what would have come of it.
pub(super) type Doubtful<T> = Vec<(Uuid, T, Vec<String>)>;

/// What came of an earlier attempt whose commit was not answered, if it was committed.
pub(super) async fn settled<T>(
    txn: &mut OpenTransaction,
    doubtful: &mut Doubtful<T>,
) -> Result<Option<Committed<T>>, Attempt> {
    if doubtful.is_empty() {
        return Ok(None);
    }
    let ids: Vec<Uuid> = doubtful.iter().map(|(id, ..)| *id).collect();
    let Some((id, position)) = store::change::change_outcome_get(txn.conn(), &ids).await? else {
        return Ok(None);
    };
    let found = doubtful.iter().position(|(doubt, ..)| *doubt == id);
    Ok(found.map(|at| {
        let (_, output, notes) = doubtful.swap_remove(at);
        Committed {
            position: Some(position),
            output,
            notes,
        }
    }))
}

/// What was answered when the same key was used before.
pub(super) async fn done_before<C: Change>(
    txn: &mut OpenTransaction,
    context: &Context,
    change: &C,
) -> Result<Option<Committed<C::Output>>, Attempt> {
    let Some(key) = context.idempotency_key else {
        return Ok(None);
    };
    let Some(done) = idempotency::idempotency_get(txn.conn(), key).await? else {
        return Ok(None);
    };
    if done.verb != change.verb() || done.request != fingerprint(change) {
        return Err(Attempt::Ended(
            Refusal::invalid(
                format!(
                    "idempotency key {key} was used for another request ({})",
                    done.verb
                ),
                "take a new key for each new request",
            )
            .into(),
        ));
    }
    Ok(Some(Committed {
        position: done.position,
        output: serde_json::from_value(done.output).map_err(|error| Attempt::Ended(Error::Kept(error)))?,
        notes: vec![
            "This was done before, under the same idempotency key; it was not done again.".to_owned(),
        ],
    }))
}

/// Whether the key was used before: then nothing is asked of nodes or checked any more, and the commit answers as it did.
pub(super) async fn is_known(pool: &PgPool, context: &Context) -> Result<bool, Error> {
    let Some(key) = context.idempotency_key else {
        return Ok(false);
    };
    let mut conn = pool.acquire().await?;
    Ok(idempotency::idempotency_get(&mut conn, key).await?.is_some())
}

/// What was asked, as the idempotency key keeps it.
pub(super) fn fingerprint<C: Change>(change: &C) -> Vec<u8> {
    Sha256::digest(change.request()).to_vec()
}
