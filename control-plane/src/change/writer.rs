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

use std::sync::Arc;
use std::time::Duration;

use mailswitch_proto::revision::{Position, Revision};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgPool;
use tokio::sync::{Mutex, watch};

use super::attempt::Attempt;
use super::doubt::InDoubt;
use super::earlier::{Doubtful, done_before, settled};
use super::made::Made;
use super::memory::{Era, Memory, Seen};
use super::patience::PATIENCE;
use super::transaction::OpenTransaction;
use super::{Context, Draft, Error, Mode};
use crate::store::doubt::doubt_list;
use crate::store::fleet::Belief;
use crate::store::{self, fleet};

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

    /// Whether it may take a revision while the database may have gone back in time (promise D3).
    fn in_doubt(&self) -> InDoubt {
        InDoubt::Refused
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
    pub fn memory(&self) -> &Arc<Memory> {
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
        let mut doubtful = Doubtful::new();
        let mut overtaken = 0;
        let mut unanswered = false;
        loop {
            let era = self.memory.seen().era;
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
            let failed = match attempt {
                Ok(committed) => {
                    if let Some(position) = committed.position {
                        self.remember(era, position);
                        crate::meters::committed(started.elapsed());
                    }
                    return Ok(committed);
                }
                Err(Attempt::Overtaken) if overtaken < ATTEMPTS => {
                    overtaken += 1;
                    continue;
                }
                Err(Attempt::Failed(error)) if error.is_unavailable() && started.elapsed() < PATIENCE => {
                    tracing::debug!(%error, "the database is away; the change is tried again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                Err(Attempt::Unanswered(error))
                    if context.idempotency_key.is_some() && started.elapsed() < PATIENCE =>
                {
                    tracing::debug!(%error, "the commit was not answered; the idempotency key will tell");
                    unanswered = true;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                Err(Attempt::Unanswered(error)) => return Err(Error::Store(error).after_the_commit()),
                Err(Attempt::Overtaken) => Error::Busy(overtaken),
                Err(Attempt::Failed(error)) => error.into(),
                Err(Attempt::Ended(error)) => error,
            };
            // Whatever this attempt ended with, an earlier one may still be committed: a server that was stopped in the
            // middle of it, or a database that went back since (promise F3).
            return Err(match doubtful.is_empty() && !unanswered {
                true => failed,
                false => failed.after_the_commit(),
            });
        }
    }

    fn remember(&self, era: Era, position: Position) {
        self.memory.remember(era, position);
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
        doubtful: &mut Doubtful<C::Output>,
        others: Option<&Mutex<()>>,
    ) -> Result<Committed<C::Output>, Attempt> {
        let mut txn = OpenTransaction::begin(&self.pool, change.size()).await?;
        // In this order: what is remembered meanwhile may be newer than what was read.
        let seen = self.memory.seen();
        let (known, belief) = fleet::position_and_belief_get(txn.conn()).await?;
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
        if (made.breadth.is_some(), belief, change.in_doubt()) == (true, Belief::Doubted, InDoubt::Refused) {
            let doubts = doubt_list(txn.conn()).await?;
            txn.rollback().await?;
            return Err(Attempt::Ended(Error::Doubted(doubts)));
        }
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
    async fn check(&self, txn: &mut OpenTransaction, seen: Seen, found: Position) -> Result<(), Attempt> {
        let Seen {
            position: seen, era, ..
        } = seen;
        let same_chain = if found.revision <= seen.revision {
            found == seen
        } else {
            // Trimmed: nothing can be said, and nothing speaks against it.
            store::change::change_position_get(txn.conn(), seen.revision)
                .await?
                .is_none_or(|then| then == seen)
        };
        if same_chain {
            self.memory.remember(era, found);
            Ok(())
        } else {
            Err(Attempt::Ended(Error::WentBack { seen, found }))
        }
    }
}
