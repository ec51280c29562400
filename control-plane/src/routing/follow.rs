//! Reads the change log past the last revision that is in memory, whenever something wakes it, and at least once in a
//! while: a wake-up is for latency, reading the log is for correctness.
//!
//! While the database is away, memory stays as it is, and nodes keep their streams. A database that went back in time
//! (promise D3) is never followed: memory keeps the branch that nodes have, and `suspect` says so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailswitch_proto::revision::{Position, Revision};
use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::load::{LoadError, load};
use super::log::Bounds;
use super::{AdvanceError, Routing};
use crate::change::log::{Relation, changes_after, position, relation};
use crate::change::memory::{Era, Memory};
use crate::store;

/// Read at a time.
const PAGE: u32 = 256;

/// Without a wake-up.
const LOOK: Duration = Duration::from_secs(1);

/// After a failure: the database is restarting.
const BACK_OFF: Duration = Duration::from_millis(200);

/// What the task works on.
#[derive(Clone)]
pub struct Follower {
    /// The database.
    pub pool: PgPool,
    /// What this replica has seen of it (promise D2).
    pub memory: Arc<Memory>,
    /// Where revisions go.
    pub routing: Arc<Routing>,
    /// Why the log is not followed now.
    pub trouble: Arc<Trouble>,
    /// Of the tail.
    pub bounds: Bounds,
}

/// Why the log is not followed now, in words.
#[derive(Debug, Default)]
pub struct Trouble {
    /// The database is not believed any more (promise D3): no routing write is made.
    pub suspect: Mutex<Option<String>>,
    /// It does not answer.
    pub away: Mutex<Option<String>>,
}

/// Why the log could not be followed this time.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Advance(#[from] AdvanceError),
    #[error(
        "the database has gone back in time: revision {} ({}) was read by this replica, and it is at {} ({}); no routing write is made",
        .ours.revision, .ours.digest, .theirs.revision, .theirs.digest
    )]
    WentBack { ours: Position, theirs: Position },
}

impl Follower {
    /// Follows until `stop`.
    pub async fn run(self, mut woken: watch::Receiver<Revision>, stop: CancellationToken) {
        let mut broken = false;
        loop {
            woken.mark_unchanged();
            let pause = match self.catch_up().await {
                Ok(()) => {
                    if std::mem::take(&mut broken) {
                        tracing::info!(revision = %self.routing.position().revision, "the change log is followed again");
                    }
                    *self.trouble.suspect.lock() = None;
                    *self.trouble.away.lock() = None;
                    LOOK
                }
                Err(error) => {
                    if !std::mem::replace(&mut broken, true) {
                        tracing::error!(%error, "the change log cannot be followed; nodes keep what they have");
                    }
                    let place = match error {
                        FollowError::Store(_) => &self.trouble.away,
                        _ => &self.trouble.suspect,
                    };
                    *place.lock() = Some(error.to_string());
                    BACK_OFF
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                changed = woken.changed(), if pause == LOOK => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Everything that is in the log now.
    async fn catch_up(&self) -> Result<(), FollowError> {
        loop {
            // Taken before anything is read: what a restore replaces meanwhile is not remembered again, and a comparison
            // across it says nothing.
            let (era, epoch) = (self.memory.seen().era, self.routing.epoch());
            match self.catch_up_in(era).await {
                Err(FollowError::WentBack { .. } | FollowError::Advance(_))
                    if (era, epoch) != (self.memory.seen().era, self.routing.epoch()) => {}
                ended => return ended,
            }
        }
    }

    async fn catch_up_in(&self, era: Era) -> Result<(), FollowError> {
        loop {
            let ours = self.routing.position();
            let page = match changes_after(&self.pool, ours.revision, PAGE).await {
                Ok(page) => page,
                // The log was trimmed past us while we could not read it.
                Err(store::Error::Corrupt { .. }) => return self.start_over(ours).await,
                Err(error) => return Err(error.into()),
            };
            if page.is_empty() {
                return self.compare(ours).await;
            }
            let logged = page
                .into_iter()
                .map(|logged| (logged.position, Bytes::from(logged.payload)));
            self.routing.advance(logged).await?;
            self.memory.remember(era, self.routing.position());
        }
    }

    /// Nothing follows: then the database is where we are, or behind.
    async fn compare(&self, ours: Position) -> Result<(), FollowError> {
        let theirs = position(&self.pool).await?;
        if theirs.revision < ours.revision || (theirs.revision == ours.revision && theirs != ours) {
            return Err(FollowError::WentBack { ours, theirs });
        }
        // What this replica saw in an earlier life counts, too (promise D2).
        let seen = self.memory.seen().position;
        if seen != ours && relation(&self.pool, seen).await? == Relation::Diverged {
            return Err(FollowError::WentBack { ours: seen, theirs });
        }
        Ok(())
    }

    async fn start_over(&self, ours: Position) -> Result<(), FollowError> {
        let loaded = load(&self.pool, self.bounds).await?;
        let theirs = loaded.state.position();
        if theirs.revision < ours.revision {
            return Err(FollowError::WentBack { ours, theirs });
        }
        self.routing.replace(loaded).await;
        Ok(())
    }
}
