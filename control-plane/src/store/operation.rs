//! The record of cutovers. Every write names the term and the holder that it was made under (promise F1).

use chrono::{DateTime, Utc};
use mailswitch_proto::id::{InstanceId, OperationId};
use mailswitch_proto::identifier;
use mailswitch_proto::revision::Revision;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::Error;
use super::fleet::number;
use crate::cutover::operation::{Fence, FencedIs, Hook, Kind, Operation, Outcome, Step, Subject};

#[derive(FromRow)]
struct Row {
    id: Uuid,
    rolls_back: Option<Uuid>,
    account: Option<Uuid>,
    account_name: String,
    identifiers: Vec<String>,
    keys: Vec<u8>,
    from_any: Vec<String>,
    source: String,
    target: String,
    step: String,
    outcome: Option<String>,
    arming: Option<Uuid>,
    lease_ms: i64,
    fenced_is_off: bool,
    lapsed: Vec<String>,
    taken_as_off: Vec<String>,
    hold: Option<Uuid>,
    hold_revision: Option<i64>,
    end_revision: Option<i64>,
    copy: String,
    verify: String,
    drain_timeout_ms: i64,
    max_hold_ms: i64,
    deadline: Option<DateTime<Utc>>,
    abort_asked: Option<String>,
    cause: String,
    missing: Vec<String>,
    traceparent: String,
    reason: String,
    started_by: String,
    started_from: String,
    started_at: DateTime<Utc>,
    held_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    term: i64,
    holder: Uuid,
}

impl TryFrom<Row> for Operation {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.id.into(),
            kind: row
                .rolls_back
                .map_or(Kind::Cutover, |id| Kind::Rollback(id.into())),
            subject: Subject {
                account: row.account.map(Into::into),
                name: row.account_name,
                identifiers: row.identifiers,
                keys: super::keys("an operation", &row.keys)?,
            },
            from_any: row.from_any,
            source: row.source,
            target: row.target,
            step: Step::from_text(&row.step)?,
            outcome: row.outcome.as_deref().map(Outcome::from_text).transpose()?,
            arming: row.arming.map(Into::into),
            lease_ms: row.lease_ms.unsigned_abs(),
            fenced: match row.fenced_is_off {
                true => FencedIs::Off,
                false => FencedIs::Unsaid,
            },
            lapsed: row.lapsed,
            taken_as_off: row.taken_as_off,
            hold: row.hold.map(Into::into),
            hold_revision: row
                .hold_revision
                .map(|revision| Revision(revision.unsigned_abs())),
            end_revision: row.end_revision.map(|revision| Revision(revision.unsigned_abs())),
            copy: Hook::from_text(&row.copy)?,
            verify: Hook::from_text(&row.verify)?,
            drain_timeout_ms: row.drain_timeout_ms.unsigned_abs(),
            max_hold_ms: row.max_hold_ms.unsigned_abs(),
            deadline: row.deadline,
            abort_asked: row.abort_asked,
            cause: row.cause,
            missing: row.missing,
            traceparent: row.traceparent,
            reason: row.reason,
            started_by: row.started_by,
            started_from: row.started_from,
            started_at: row.started_at,
            held_at: row.held_at,
            ended_at: row.ended_at,
            fence: Fence {
                term: row.term,
                holder: row.holder.into(),
            },
        })
    }
}

/// Records a new one.
///
/// # Errors
/// The database's.
pub async fn operation_add(conn: &mut PgConnection, operation: &Operation) -> Result<(), Error> {
    let (kind, rolls_back) = match operation.kind {
        Kind::Cutover => ("cutover", None),
        Kind::Rollback(of) => ("rollback", Some(of.uuid())),
    };
    sqlx::query(
        "INSERT INTO operations (id, kind, rolls_back, account, account_name, identifiers, keys, from_any, source,
            target, step, copy, verify, drain_timeout_ms, max_hold_ms, traceparent, reason, started_by, started_from,
            started_at, term, holder, lease_ms, fenced_is_off)
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24)",
    )
    .bind(operation.id.uuid())
    .bind(kind)
    .bind(rolls_back)
    .bind(operation.subject.account.map(|id| id.uuid()))
    .bind(&operation.subject.name)
    .bind(&operation.subject.identifiers)
    .bind(identifier::pack(&operation.subject.keys))
    .bind(&operation.from_any)
    .bind(&operation.source)
    .bind(&operation.target)
    .bind(operation.step.text())
    .bind(operation.copy.text())
    .bind(operation.verify.text())
    .bind(i64::try_from(operation.drain_timeout_ms).unwrap_or(i64::MAX))
    .bind(i64::try_from(operation.max_hold_ms).unwrap_or(i64::MAX))
    .bind(&operation.traceparent)
    .bind(&operation.reason)
    .bind(&operation.started_by)
    .bind(&operation.started_from)
    .bind(operation.started_at)
    .bind(operation.fence.term)
    .bind(operation.fence.holder.uuid())
    .bind(i64::try_from(operation.lease_ms).unwrap_or(i64::MAX))
    .bind(operation.fenced == FencedIs::Off)
    .execute(conn)
    .await?;
    Ok(())
}

/// One of them.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn operation_get(conn: &mut PgConnection, id: OperationId) -> Result<Option<Operation>, Error> {
    sqlx::query_as::<_, Row>("SELECT * FROM operations WHERE id = $1")
        .bind(id.uuid())
        .fetch_optional(conn)
        .await?
        .map(Operation::try_from)
        .transpose()
}

/// Which are wanted of `operation_list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// That go on.
    Open,
    /// That ended.
    Ended,
}

/// The newest first; of one identifier, or all.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn operation_list(
    conn: &mut PgConnection,
    which: Which,
    identifier: Option<&str>,
    limit: u32,
) -> Result<Vec<Operation>, Error> {
    sqlx::query_as::<_, Row>(
        "SELECT * FROM operations WHERE (ended_at IS NOT NULL) = $1 AND ($2::text IS NULL OR $2 = ANY(identifiers))
         ORDER BY started_at DESC LIMIT $3",
    )
    .bind(which == Which::Ended)
    .bind(identifier)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(Operation::try_from)
    .collect()
}

/// The last one of an account (by its name) that ended as done.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn operation_last_done_get(
    conn: &mut PgConnection,
    account_name: &str,
) -> Result<Option<Operation>, Error> {
    sqlx::query_as::<_, Row>(
        "SELECT * FROM operations WHERE account_name = $1 AND outcome = 'done' ORDER BY end_revision DESC LIMIT 1",
    )
    .bind(account_name)
    .fetch_optional(conn)
    .await?
    .map(Operation::try_from)
    .transpose()
}

/// One that has not ended and names one of these identifiers, held already or not.
///
/// # Errors
/// The database's.
pub async fn operation_open_on_get(
    conn: &mut PgConnection,
    identifiers: &[String],
) -> Result<Option<OperationId>, Error> {
    let row: Option<(Uuid,)> =
        sqlx::query_as("SELECT id FROM operations WHERE ended_at IS NULL AND identifiers && $1 LIMIT 1")
            .bind(identifiers)
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|(id,)| id.into()))
}

/// The identifiers that operations are moving, held already or not.
///
/// # Errors
/// The database's.
pub async fn operation_open_identifiers(
    conn: &mut PgConnection,
) -> Result<std::collections::HashMap<String, OperationId>, Error> {
    let rows: Vec<(Vec<String>, Uuid)> =
        sqlx::query_as("SELECT identifiers, id FROM operations WHERE ended_at IS NULL")
            .fetch_all(conn)
            .await?;
    Ok(rows
        .into_iter()
        .flat_map(|(identifiers, id)| {
            identifiers
                .into_iter()
                .map(move |identifier| (identifier, id.into()))
        })
        .collect())
}

/// One that has not ended and has this destination as its source or target.
///
/// # Errors
/// The database's.
pub async fn operation_open_between_get(
    conn: &mut PgConnection,
    destination: &str,
) -> Result<Option<OperationId>, Error> {
    let row: Option<(Uuid,)> = sqlx::query_as(
        "SELECT id FROM operations WHERE ended_at IS NULL AND (source = $1 OR target = $1) LIMIT 1",
    )
    .bind(destination)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(id,)| id.into()))
}

/// What a write under a fence came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Fenced {
    /// It was ours to write.
    Written,
    /// Another replica drives the operation, or it is no longer where we thought.
    NotOurs,
}

/// Writes where it stands, if it is still at `was` and ours.
///
/// # Errors
/// The database's.
pub async fn operation_put(
    conn: &mut PgConnection,
    operation: &Operation,
    was: Step,
) -> Result<Fenced, Error> {
    put(conn, PUT, operation, was).await
}

/// The same, for a step that nothing but a commit of this database follows: not synced by itself, but with that commit,
/// which is behind it in the same log. Not to be called inside a transaction.
///
/// # Errors
/// The database's.
pub async fn operation_put_ahead(
    conn: &mut PgConnection,
    operation: &Operation,
    was: Step,
) -> Result<Fenced, Error> {
    put(conn, PUT_AHEAD, operation, was).await
}

const PUT: &str =
    "UPDATE operations SET step = $5, outcome = $6, hold = $7, hold_revision = $8, end_revision = $9,
        copy = $10, verify = $11, deadline = $12, cause = $13, missing = $14, held_at = $15, ended_at = $16,
        arming = $17, lapsed = $18, taken_as_off = $19
     WHERE id = $1 AND term = $2 AND holder = $3 AND step = $4";

/// The setting ends with the statement, which is a transaction of its own.
const PUT_AHEAD: &str =
    "WITH unsynced AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS set)
     UPDATE operations SET step = $5, outcome = $6, hold = $7, hold_revision = $8, end_revision = $9,
        copy = $10, verify = $11, deadline = $12, cause = $13, missing = $14, held_at = $15, ended_at = $16,
        arming = $17, lapsed = $18, taken_as_off = $19
     FROM unsynced WHERE unsynced.set = 'off' AND id = $1 AND term = $2 AND holder = $3 AND step = $4";

async fn put(
    conn: &mut PgConnection,
    sql: &'static str,
    operation: &Operation,
    was: Step,
) -> Result<Fenced, Error> {
    let done = sqlx::query(sql)
        .bind(operation.id.uuid())
        .bind(operation.fence.term)
        .bind(operation.fence.holder.uuid())
        .bind(was.text())
        .bind(operation.step.text())
        .bind(operation.outcome.map(Outcome::text))
        .bind(operation.hold.map(|hold| hold.uuid()))
        .bind(operation.hold_revision.map(number))
        .bind(operation.end_revision.map(number))
        .bind(operation.copy.text())
        .bind(operation.verify.text())
        .bind(operation.deadline)
        .bind(&operation.cause)
        .bind(&operation.missing)
        .bind(operation.held_at)
        .bind(operation.ended_at)
        .bind(operation.arming.map(|arming| arming.uuid()))
        .bind(&operation.lapsed)
        .bind(&operation.taken_as_off)
        .execute(conn)
        .await?;
    Ok(if done.rows_affected() == 1 {
        Fenced::Written
    } else {
        Fenced::NotOurs
    })
}

/// Wakes the drivers of these operations in other replicas.
///
/// # Errors
/// The database's.
pub async fn operation_news(conn: &mut PgConnection, ids: &[OperationId]) -> Result<(), Error> {
    sqlx::query("SELECT pg_notify($1, id::text) FROM UNNEST($2::uuid[]) AS id")
        .bind(OPERATION_NEWS)
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

/// Where `operation_news` is heard.
pub const OPERATION_NEWS: &str = "mailswitch_operations";

/// Asks its driver to abort it, whoever that is: it does unless the flip comes first. False: it has ended.
///
/// # Errors
/// The database's.
pub async fn operation_abort_ask(conn: &mut PgConnection, id: OperationId, by: &str) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE operations SET abort_asked = COALESCE(abort_asked, $2) WHERE id = $1 AND ended_at IS NULL",
    )
    .bind(id.uuid())
    .bind(by)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The open operations that a process drives, or should.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn operation_open_of_list(
    conn: &mut PgConnection,
    holder: InstanceId,
) -> Result<Vec<Operation>, Error> {
    sqlx::query_as::<_, Row>("SELECT * FROM operations WHERE ended_at IS NULL AND holder = $1")
        .bind(holder.uuid())
        .fetch_all(conn)
        .await?
        .into_iter()
        .map(Operation::try_from)
        .collect()
}

/// Takes over every open operation that another process drives and whose replica has not been heard of for
/// `silent_seconds` (a process that crashed is silent; 0: whatever it says). Returns them, under the new fence.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn operation_take_over(
    conn: &mut PgConnection,
    holder: InstanceId,
    silent_seconds: u32,
) -> Result<Vec<Operation>, Error> {
    sqlx::query_as::<_, Row>(
        "UPDATE operations o SET term = term + 1, holder = $1
         WHERE ended_at IS NULL AND holder <> $1
           AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.instance = o.holder
                           AND r.seen_at > now() - make_interval(secs => $2))
         RETURNING *",
    )
    .bind(holder.uuid())
    .bind(f64::from(silent_seconds))
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(Operation::try_from)
    .collect()
}
