//! A draft that is complete: the rows that every change has, and the last round trip, which gives it its revision.

use std::collections::HashSet;

use mailswitch_proto::fleet::v1;
use mailswitch_proto::identifier::{self, Key};
use mailswitch_proto::revision::Position;
use prost::Message as _;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::attempt::Attempt;
use super::earlier::fingerprint;
use super::transaction::OpenTransaction;
use super::writer::Size;
use super::{Change, Context, Draft, Error};
use crate::store::change::{Arming, Breadth, Staged, Touched};
use crate::store::{self, audit, fleet, idempotency};

/// A draft that is complete, with the bytes that go into the log.
pub(super) struct Made {
    pub(super) id: Uuid,
    known: Position,
    payload: Vec<u8>,
    keys: Vec<u8>,
    pub(super) breadth: Option<Breadth>,
    traceparent: String,
    arming: Arming,
    entries: Vec<audit::Entry>,
    pub(super) notes: Vec<String>,
}

impl Made {
    pub(super) fn new(draft: Draft<'_>, context: &Context) -> Self {
        let traceparent = draft.traceparent.unwrap_or_else(|| context.traceparent.clone());
        let keys = draft
            .changes
            .iter()
            .flat_map(|change| change.keys.iter().copied())
            .collect();
        let set = v1::ChangeSet {
            changes: draft.changes,
            traceparent: traceparent.clone(),
        };
        Self {
            id: Uuid::now_v7(),
            known: draft.known,
            payload: set.encode_to_vec(),
            keys,
            breadth: draft.breadth,
            traceparent,
            arming: draft.arming,
            entries: draft.entries,
            notes: draft.notes,
        }
    }

    /// The rows that every change has.
    pub(super) async fn write<C: Change>(
        &self,
        txn: &mut OpenTransaction,
        context: &Context,
        change: &C,
        output: &C::Output,
    ) -> Result<(), Attempt> {
        let author = audit::Author {
            change: self.breadth.map(|_| self.id),
            who: &context.actor.who,
            from: &context.actor.from,
            reason: &context.reason,
            trace: context.trace_id(),
        };
        audit::audit_add(txn.conn(), &author, &self.entries).await?;
        if let Some(key) = context.idempotency_key {
            let done = idempotency::Done {
                verb: change.verb().to_owned(),
                request: fingerprint(change),
                position: self.breadth.map(|_| self.known.after(&self.payload)),
                output: serde_json::to_value(output).map_err(|error| Attempt::Ended(Error::Kept(error)))?,
            };
            idempotency::idempotency_put(txn.conn(), key, &done).await?;
        }
        if let Some(breadth) = self.breadth {
            let staged = Staged {
                id: self.id,
                payload: &self.payload,
                keys: &self.keys,
                breadth,
                traceparent: &self.traceparent,
                arming: self.arming,
            };
            store::change::change_stage(txn.conn(), &staged).await?;
        }
        Ok(())
    }

    /// The last round trip; for a bulk change again and again, as long as what overtakes it has nothing to do with it.
    pub(super) async fn seal(
        &self,
        txn: &mut OpenTransaction,
        context: &Context,
        size: Size,
        others: Option<&Mutex<()>>,
    ) -> Result<Position, Attempt> {
        let mut known = self.known;
        let mut turn = None;
        loop {
            if size == Size::Bulk {
                sqlx::raw_sql("SAVEPOINT sealing").execute(txn.conn()).await?;
            }
            let sealed = known.after(&self.payload);
            match store::change::change_seal_and_commit(txn.conn(), self.id, known, sealed).await {
                Ok(()) => {
                    txn.ended();
                    return Ok(sealed);
                }
                Err(error) if size == Size::Bulk && error.code().as_deref() == Some("MS001") => {
                    sqlx::raw_sql("ROLLBACK TO SAVEPOINT sealing")
                        .execute(txn.conn())
                        .await?;
                    if let (None, Some(others)) = (&turn, others) {
                        turn = Some(others.lock().await);
                    }
                    known = self.moved_on(txn, context, known).await?;
                }
                Err(error) => {
                    let failed = Attempt::from(error);
                    if matches!(failed, Attempt::Overtaken) {
                        txn.rollback().await?;
                    }
                    return Err(failed);
                }
            }
        }
    }

    async fn moved_on(
        &self,
        txn: &mut OpenTransaction,
        context: &Context,
        known: Position,
    ) -> Result<Position, Attempt> {
        let mine: HashSet<Key> = identifier::unpack(&self.keys)
            .map(Iterator::collect)
            .unwrap_or_default();
        let now = fleet::position_get(txn.conn()).await?;
        if self.breadth == Some(Breadth::Everything)
            || store::change::change_touched_since(txn.conn(), known.revision, &mine).await? == Touched::Mine
        {
            txn.rollback().await?;
            return Err(Attempt::Overtaken);
        }
        if let Some(key) = context.idempotency_key {
            idempotency::idempotency_move(txn.conn(), key, now.after(&self.payload)).await?;
        }
        Ok(now)
    }
}
