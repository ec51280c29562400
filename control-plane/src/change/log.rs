//! How readers follow the log. A notification only wakes them: what they read comes from the log past their last
//! revision, so a lost or merged notification loses nothing (design section 3).

use std::time::Duration;

use mailswitch_proto::revision::{Position, Revision};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::store::{self, Error, change, fleet};

pub use crate::store::change::Logged;

/// How often the log is looked at although nothing woke us: after a reconnect of the listener, notifications in between
/// are lost.
const POLL: Duration = Duration::from_secs(1);

/// Up to `limit` changes after `revision`, in order; none: nothing was committed since.
///
/// # Errors
/// The database's. `Corrupt` when the log has a gap after `revision`: it was trimmed past it, and the reader needs a
/// snapshot.
pub async fn changes_after(pool: &PgPool, revision: Revision, limit: u32) -> Result<Vec<Logged>, Error> {
    let mut conn = pool.acquire().await?;
    let changes = change::change_list_after(&mut conn, revision, limit).await?;
    let mut expected = revision;
    for logged in &changes {
        expected = expected.next();
        if logged.position.revision != expected {
            return Err(Error::corrupt(
                "the log",
                format!("revision {expected} is not in it"),
            ));
        }
    }
    Ok(changes)
}

/// The position that the database is at.
///
/// # Errors
/// The database's.
pub async fn position(pool: &PgPool) -> Result<Position, Error> {
    let mut conn = pool.acquire().await?;
    fleet::position_get(&mut conn).await
}

/// How a position that somebody has relates to our chain (promise D3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It is on our chain.
    OnChain,
    /// It is older than the log reaches: nothing can be said about it. A snapshot replaces it.
    Trimmed,
    /// It is ahead of the database, or on another branch.
    Diverged,
}

/// How `theirs` relates to our chain.
///
/// # Errors
/// The database's.
pub async fn relation(pool: &PgPool, theirs: Position) -> Result<Relation, Error> {
    if theirs == Position::NONE {
        return Ok(Relation::OnChain);
    }
    let mut conn = pool.acquire().await?;
    let ours = fleet::position_get(&mut conn).await?;
    if theirs.revision > ours.revision {
        return Ok(Relation::Diverged);
    }
    Ok(
        match change::change_position_get(&mut conn, theirs.revision).await? {
            Some(then) if then == theirs => Relation::OnChain,
            Some(_) => Relation::Diverged,
            None => Relation::Trimmed,
        },
    )
}

/// How much of the log is kept: a change goes when it is older than both bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// So many revisions.
    pub revisions: u64,
    /// So long.
    pub age: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            revisions: 100_000,
            age: Duration::from_secs(86_400),
        }
    }
}

/// Of the audit log, and of the numbers of changes (design section 3).
const AUDIT: Duration = Duration::from_secs(400 * 86_400);

/// Trims the log to a window, the idempotency keys to two days, and the audit log to 400. Returns how many changes went.
///
/// # Errors
/// The database's.
pub async fn trim(pool: &PgPool, keep: Window) -> Result<u64, Error> {
    let mut conn = pool.acquire().await?;
    store::idempotency::idempotency_trim(&mut conn, 2 * 86_400).await?;
    store::audit::audit_trim(&mut conn, AUDIT.as_secs()).await?;
    change::change_trim(&mut conn, keep.revisions, keep.age.as_secs()).await
}

/// Wakes readers: the value is a revision that was committed, or just a reason to look: a reader must not
/// conclude anything else from it (after a restore it goes down).
///
/// It merges this process's own commits (`own`), the notifications of other replicas, and a timer. The task ends with
/// `stop`.
#[must_use]
pub fn follow(
    pool: PgPool,
    own: watch::Receiver<Revision>,
    stop: CancellationToken,
) -> watch::Receiver<Revision> {
    let (wake, woken) = watch::channel(Revision::NONE);
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = wake.closed() => {}
            () = forward(own, &wake) => {}
            () = listen(&pool, &wake) => {}
        }
    });
    woken
}

async fn forward(mut own: watch::Receiver<Revision>, wake: &watch::Sender<Revision>) {
    loop {
        let revision = *own.borrow_and_update();
        raise(wake, revision);
        if own.changed().await.is_err() {
            // No writer in this process any more: the listener goes on alone.
            std::future::pending::<()>().await;
        }
    }
}

async fn listen(pool: &PgPool, wake: &watch::Sender<Revision>) {
    loop {
        if let Err(error) = listen_until_broken(pool, wake).await {
            tracing::debug!(%error, "the listener on the log is broken; polling until it is back");
        }
        // Back off, and look: what was notified meanwhile is in the log.
        tokio::time::sleep(Duration::from_millis(200)).await;
        poll(pool, wake).await;
    }
}

async fn listen_until_broken(pool: &PgPool, wake: &watch::Sender<Revision>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("mailswitch_changes").await?;
    poll(pool, wake).await;
    loop {
        match tokio::time::timeout(POLL, listener.try_recv()).await {
            Err(_) => poll(pool, wake).await,
            Ok(Ok(Some(notification))) => {
                if let Ok(revision) = notification.payload().parse() {
                    raise(wake, Revision(revision));
                }
            }
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        }
    }
}

async fn poll(pool: &PgPool, wake: &watch::Sender<Revision>) {
    match position(pool).await {
        Ok(position) => raise(wake, position.revision),
        Err(error) => tracing::debug!(%error, "the position could not be read"),
    }
}

fn raise(wake: &watch::Sender<Revision>, revision: Revision) {
    wake.send_if_modified(|seen| {
        let other = revision != *seen;
        *seen = revision;
        other
    });
}
