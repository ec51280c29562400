//! Runs a change in one transaction and gives it its revision: gapless, and in commit order.
//!
//! The order inside the transaction: the position is read; the change reads and writes; the log row is staged without a
//! number; and then, in one round trip, the counter row moves on from that very position and the transaction commits
//! (promise D2, D6). So no writer holds the counter row while it can be stopped, conditions that were read inside the
//! transaction hold at the commit, and a writer that was overtaken starts again.
//!
//! One short change at a time in this process (`turn`), so that replicas only ever compete with replicas. A bulk
//! change does not take its turn: it can last seconds, and a hold must not wait for it. When it is overtaken by
//! changes that touch nothing of its own, only the last round trip is done again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mailswitch_proto::fleet::v1;
use mailswitch_proto::identifier::{self, Key};
use mailswitch_proto::revision::{Position, Revision};
use prost::Message as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use super::memory::Memory;
use super::patience::PATIENCE;
use super::transaction::OpenTransaction;
use super::{Context, Draft, Error, Mode, Refusal};
use crate::store::change::{Breadth, Staged, Touched};
use crate::store::{self, audit, fleet, idempotency};

/// How often a change starts again because others were committed first. With short changes of a few replicas two or
/// three are usual; more means that something is wrong with the others.
const ATTEMPTS: u32 = 50;

/// Something that can be asked for, and how it is made.
pub trait Change: Sync {
    /// What the caller gets, now and when it asks again with the same idempotency key.
    type Output: Serialize + DeserializeOwned + Send;

    /// `mapping set`, `account import`, …: for the audit log and the idempotency key.
    fn verb(&self) -> &'static str;

    /// Everything that was asked, in one string: the same key with another request is refused.
    fn request(&self) -> String;

    /// How long it may take.
    fn size(&self) -> Size {
        Size::Short
    }

    /// Checks the conditions and writes the rows. It may be called several times, each time in a new transaction.
    fn make(&self, draft: &mut Draft<'_>) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

/// Says apart a dry run of something from one that would change nothing.
const DRY_RUN: &str = "this was a dry run: without --dry-run, it would be a new revision";

/// How long a change may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Milliseconds: it takes its turn.
    Short,
    /// Seconds, over many keys.
    Bulk,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed<T> {
    /// Where the log stands after it; none: it changed nothing that routes, or it was a dry run.
    pub position: Option<Position>,
    /// What came of it.
    pub output: T,
    /// For the operator, a sentence each.
    pub notes: Vec<String>,
}

/// The one writer of a replica.
#[derive(Clone)]
pub struct Writer {
    pool: PgPool,
    memory: Arc<Memory>,
    turn: Arc<Mutex<()>>,
    committed: Arc<watch::Sender<Revision>>,
}

impl Writer {
    /// A writer on this database, with what this replica remembers of it.
    #[must_use]
    pub fn new(pool: PgPool, memory: Arc<Memory>) -> Self {
        Self {
            pool,
            memory,
            turn: Arc::new(Mutex::new(())),
            committed: Arc::new(watch::Sender::new(Revision::NONE)),
        }
    }

    /// The highest revision that this writer committed: a wake-up for readers in this process that needs no
    /// notification.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<Revision> {
        self.committed.subscribe()
    }

    /// The database.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// What this replica remembers.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Makes a change: one transaction, one revision.
    ///
    /// # Errors
    /// See `Error`. Only with `OutcomeUnknown` may the change have been made.
    pub async fn commit<C: Change>(
        &self,
        context: &Context,
        change: &C,
    ) -> Result<Committed<C::Output>, Error> {
        let started = tokio::time::Instant::now();
        let mut doubtful: Vec<(Uuid, C::Output, Vec<String>)> = Vec::new();
        let mut overtaken = 0;
        let mut unanswered = false;
        loop {
            // Taken anew for each attempt: one that waits for a lock does not hold up the others for long. A bulk change
            // that was overtaken again and again waits its turn like everyone.
            let turn = match change.size() {
                Size::Bulk if overtaken < 3 => None,
                _ => Some(self.turn.lock().await),
            };
            let others = match turn {
                None => Some(&*self.turn),
                Some(_) => None,
            };
            let attempt = self.attempt(context, change, &mut doubtful, others).await;
            drop(turn);
            match attempt {
                Ok(committed) => {
                    if let Some(position) = committed.position {
                        self.remember(position);
                        crate::meters::committed(started.elapsed());
                    }
                    return Ok(committed);
                }
                Err(Attempt::Overtaken) if overtaken < ATTEMPTS => overtaken += 1,
                Err(Attempt::Overtaken) => return Err(Error::Busy(overtaken)),
                Err(Attempt::Failed(error)) if error.is_unavailable() && started.elapsed() < PATIENCE => {
                    tracing::debug!(%error, "the database is away; the change is tried again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(Attempt::Unanswered(error))
                    if context.idempotency_key.is_some() && started.elapsed() < PATIENCE =>
                {
                    tracing::debug!(%error, "the commit was not answered; the idempotency key will tell");
                    unanswered = true;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(Attempt::Unanswered(error)) => return Err(Error::OutcomeUnknown(error)),
                Err(Attempt::Failed(error)) if doubtful.is_empty() && !unanswered => return Err(error.into()),
                Err(Attempt::Failed(error)) => return Err(Error::OutcomeUnknown(error)),
                Err(Attempt::Ended(error)) => return Err(error),
            }
        }
    }

    fn remember(&self, position: Position) {
        self.memory.remember(position);
        self.committed.send_if_modified(|seen| {
            // Lower than before after a restore: that has to wake readers too.
            let other = position.revision != *seen;
            *seen = position.revision;
            other
        });
    }

    async fn attempt<C: Change>(
        &self,
        context: &Context,
        change: &C,
        doubtful: &mut Vec<(Uuid, C::Output, Vec<String>)>,
        others: Option<&Mutex<()>>,
    ) -> Result<Committed<C::Output>, Attempt> {
        let mut txn = OpenTransaction::begin(&self.pool, change.size()).await?;
        // In this order: what is remembered meanwhile may be newer than what was read.
        let seen = self.memory.seen();
        let known = fleet::position_get(txn.conn()).await?;
        self.check(&mut txn, seen, known).await?;
        if let Some(committed) = settled(&mut txn, doubtful).await? {
            txn.rollback().await?;
            return Ok(committed);
        }
        if let Some(committed) = done_before(&mut txn, context, change).await? {
            txn.rollback().await?;
            return Ok(committed);
        }
        let mut draft = Draft::new(txn.conn(), known);
        let output = match change.make(&mut draft).await {
            Ok(output) => output,
            Err(error) => {
                txn.rollback().await?;
                return Err(error.into());
            }
        };
        let made = Made::new(draft, context);
        made.write(&mut txn, context, change, &output).await?;
        if context.mode == Mode::DryRun {
            txn.rollback().await?;
            let mut notes = made.notes;
            if made.breadth.is_some() {
                notes.push(DRY_RUN.to_owned());
            }
            return Ok(Committed {
                position: None,
                output,
                notes,
            });
        }
        if made.breadth.is_none() {
            // Its row in the log would say how a commit without an answer ended: it has none.
            txn.commit().await.map_err(Attempt::at_the_commit)?;
            return Ok(Committed {
                position: None,
                output,
                notes: made.notes,
            });
        }
        match made.seal(&mut txn, context, change.size(), others).await {
            Ok(position) => Ok(Committed {
                position: Some(position),
                output,
                notes: made.notes,
            }),
            Err(Attempt::Failed(error)) if error.is_unavailable() => {
                // It may or may not have been committed: the next attempt finds out first.
                doubtful.push((made.id, output, made.notes));
                Err(Attempt::Failed(error))
            }
            Err(other) => Err(other),
        }
    }

    /// Whether the database is where this replica has seen it, or further on along the same chain (promise D2, D3).
    async fn check(&self, txn: &mut OpenTransaction, seen: Position, found: Position) -> Result<(), Attempt> {
        let same_chain = if found.revision <= seen.revision {
            found == seen
        } else {
            // Trimmed: nothing can be said, and nothing speaks against it.
            store::change::change_position_get(txn.conn(), seen.revision)
                .await?
                .is_none_or(|then| then == seen)
        };
        if same_chain {
            self.memory.remember(found);
            Ok(())
        } else {
            Err(Attempt::Ended(Error::WentBack { seen, found }))
        }
    }
}

/// How one attempt failed.
enum Attempt {
    /// Another change was committed first: again.
    Overtaken,
    /// The database.
    Failed(store::Error),
    /// The connection broke at the commit of a change that has no row in the log.
    Unanswered(store::Error),
    /// There is no point in another one.
    Ended(Error),
}

impl Attempt {
    fn at_the_commit(error: sqlx::Error) -> Self {
        let error = store::Error::from(error);
        match error.is_unavailable() {
            true => Self::Unanswered(error),
            false => error.into(),
        }
    }
}

impl From<store::Error> for Attempt {
    fn from(error: store::Error) -> Self {
        match error.code().as_deref() {
            // Our own "another change came first"; serialization failure, deadlock, lock timeout; and a unique violation:
            // what was looked up before is there now.
            Some("MS001" | "40001" | "40P01" | "55P03" | "23505") => Self::Overtaken,
            _ => Self::Failed(error),
        }
    }
}

impl From<sqlx::Error> for Attempt {
    fn from(error: sqlx::Error) -> Self {
        store::Error::from(error).into()
    }
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            other => Self::Ended(other),
        }
    }
}

/// What came of an earlier attempt whose commit was not answered, if it was committed.
async fn settled<T>(
    txn: &mut OpenTransaction,
    doubtful: &mut Vec<(Uuid, T, Vec<String>)>,
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
async fn done_before<C: Change>(
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

fn fingerprint<C: Change>(change: &C) -> Vec<u8> {
    Sha256::digest(change.request()).to_vec()
}

/// A draft that is complete, with the bytes that go into the log.
struct Made {
    id: Uuid,
    known: Position,
    payload: Vec<u8>,
    keys: Vec<u8>,
    breadth: Option<Breadth>,
    traceparent: String,
    entries: Vec<audit::Entry>,
    notes: Vec<String>,
}

impl Made {
    fn new(draft: Draft<'_>, context: &Context) -> Self {
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
            entries: draft.entries,
            notes: draft.notes,
        }
    }

    /// The rows that every change has.
    async fn write<C: Change>(
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
            };
            store::change::change_stage(txn.conn(), &staged).await?;
        }
        Ok(())
    }

    /// The last round trip; for a bulk change again and again, as long as what overtakes it has nothing to do with it.
    async fn seal(
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
