//! Holds in force, the acknowledgements that they got, and the results of commands that ran under them.

use chrono::{DateTime, Utc};
use mailswitch_proto::id::{ArmingId, HoldId, InstanceId, OperationId};
use mailswitch_proto::identifier::{self, Key};
use mailswitch_proto::revision::{Position, Revision};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Error;
use super::fleet::number;
use crate::cutover::proof::{Facts, Fence, Said};

/// A hold in force (promise Q1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Never used again.
    pub id: HoldId,
    /// Whose.
    pub operation: OperationId,
    /// At which it was committed.
    pub revision: Revision,
    /// Where the account is, and goes back to.
    pub source: String,
    /// Where it is to go.
    pub target: String,
    /// When it is released, come what may.
    pub deadline: DateTime<Utc>,
    /// How long sessions may look for a quiet moment.
    pub drain_timeout_ms: u64,
    /// The arming that it follows (promise L4); none: the keys are not armed.
    pub arming: Option<ArmingId>,
    /// What is held.
    pub keys: Vec<Key>,
}

/// A node's word that no session of the held account is left on it (promise Q4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Which hold.
    pub hold: HoldId,
    /// Whose word.
    pub instance: InstanceId,
    /// Where the node stood when it applied the hold.
    pub applied: Position,
    /// What the hold has met there so far.
    pub met: Met,
}

/// What a hold met on a node: for the operator, nothing rests on it. It only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Met {
    /// Sessions that ended for it.
    pub closed: u64,
    /// Logins that waited for its end.
    pub parked: u64,
}

/// How a registered process stands to a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Its node.
    pub node: String,
    /// The process.
    pub instance: InstanceId,
    /// Its acknowledgement, with what the hold has met there; none: it has not said that it is quiet.
    pub quiesced: Option<Met>,
    /// Whether it acknowledged the arming that was asked for.
    pub arming: Said,
    /// Whether its node is fenced.
    pub fence: Fence,
}

impl Proof {
    /// For the pure decision.
    #[must_use]
    pub const fn facts(&self) -> Facts {
        Facts {
            hold: match self.quiesced {
                Some(_) => Said::Acknowledged,
                None => Said::Nothing,
            },
            arming: self.arming,
            fence: self.fence,
        }
    }
}

/// A leg that did not end (promise Q2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Which hold.
    pub hold: HoldId,
    /// On which process.
    pub instance: InstanceId,
    /// Of which node.
    pub node: String,
    /// Toward which destination.
    pub destination: String,
    /// Which session.
    pub session: String,
    /// Its protocol.
    pub protocol: String,
}

/// Puts a hold in force.
///
/// # Errors
/// The database's; a unique violation when one of the identifiers is held already.
pub async fn hold_put(conn: &mut PgConnection, hold: &Hold, identifiers: &[String]) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO holds (id, operation, revision, source, target, deadline, drain_timeout_ms, keys, arming)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(hold.id.uuid())
    .bind(hold.operation.uuid())
    .bind(number(hold.revision))
    .bind(&hold.source)
    .bind(&hold.target)
    .bind(hold.deadline)
    .bind(i64::try_from(hold.drain_timeout_ms).unwrap_or(i64::MAX))
    .bind(identifier::pack(&hold.keys))
    .bind(hold.arming.map(|arming| arming.uuid()))
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO held_identifiers (identifier, key, hold)
         SELECT i.*, $3 FROM UNNEST($1::text[], $2::bytea[]) AS i",
    )
    .bind(identifiers)
    .bind(hold.keys.iter().map(|key| key.to_bytes()).collect::<Vec<_>>())
    .bind(hold.id.uuid())
    .execute(conn)
    .await?;
    Ok(())
}

/// The arming that a hold in force follows.
///
/// # Errors
/// The database's.
pub async fn hold_arming_get(conn: &mut PgConnection, hold: HoldId) -> Result<Option<ArmingId>, Error> {
    let row: Option<(Option<Uuid>,)> = sqlx::query_as("SELECT arming FROM holds WHERE id = $1")
        .bind(hold.uuid())
        .fetch_optional(conn)
        .await?;
    Ok(row.and_then(|(arming,)| arming).map(Into::into))
}

/// Ends a hold. Its acknowledgements stay, as the record of what a flip rested on.
///
/// # Errors
/// The database's.
pub async fn hold_remove(conn: &mut PgConnection, hold: HoldId) -> Result<(), Error> {
    sqlx::query("DELETE FROM holds WHERE id = $1")
        .bind(hold.uuid())
        .execute(conn)
        .await?;
    Ok(())
}

/// All that are in force.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn hold_list(conn: &mut PgConnection) -> Result<Vec<Hold>, Error> {
    type Row = (
        Uuid,
        Uuid,
        i64,
        String,
        String,
        DateTime<Utc>,
        i64,
        Vec<u8>,
        Option<Uuid>,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, operation, revision, source, target, deadline, drain_timeout_ms, keys, arming FROM holds
         ORDER BY revision",
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(
            |(id, operation, revision, source, target, deadline, drain, keys, arming)| {
                Ok(Hold {
                    id: id.into(),
                    operation: operation.into(),
                    revision: Revision(revision.unsigned_abs()),
                    source,
                    target,
                    deadline,
                    drain_timeout_ms: drain.unsigned_abs(),
                    arming: arming.map(Into::into),
                    keys: super::keys("a hold", &keys)?,
                })
            },
        )
        .collect()
}

/// The operation and the hold that hold one of these identifiers, with that identifier.
///
/// # Errors
/// The database's.
pub async fn hold_on_get(
    conn: &mut PgConnection,
    identifiers: &[String],
) -> Result<Option<(OperationId, HoldId, String)>, Error> {
    let row: Option<(Uuid, Uuid, String)> = sqlx::query_as(
        "SELECT h.operation, h.id, i.identifier FROM held_identifiers i JOIN holds h ON h.id = i.hold
         WHERE i.identifier = ANY($1) LIMIT 1",
    )
    .bind(identifiers)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(operation, hold, identifier)| (operation.into(), hold.into(), identifier)))
}

/// The operation that holds an identifier under a domain entry (`@example.org`), with that identifier.
///
/// # Errors
/// The database's.
pub async fn hold_under_domain_get(
    conn: &mut PgConnection,
    domain_entry: &str,
) -> Result<Option<(OperationId, String)>, Error> {
    let row: Option<(Uuid, String)> = sqlx::query_as(
        "SELECT h.operation, i.identifier FROM held_identifiers i JOIN holds h ON h.id = i.hold
         WHERE right(i.identifier, length($1)) = $1 LIMIT 1",
    )
    .bind(domain_entry)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(operation, identifier)| (operation.into(), identifier)))
}

/// Records acknowledgements: of holds in force, of registered processes, applied at or after the hold and on our
/// chain. What names anything else is ignored (promise Q4). Returns the operations that got one. What a recorded one
/// says of what its hold has met is kept up to date, also when the hold is over.
///
/// # Errors
/// The database's.
pub async fn hold_ack_add(conn: &mut PgConnection, acks: &[Ack]) -> Result<Vec<OperationId>, Error> {
    let rows: Vec<(Uuid,)> = sqlx::query_as(
        "WITH said AS (SELECT DISTINCT ON (hold, instance) * FROM
                UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[])
                    AS s(hold, instance, revision, digest, closed, parked) ORDER BY hold, instance, parked DESC, closed DESC),
            grew AS (UPDATE hold_acks a SET sessions_closed = GREATEST(a.sessions_closed, s.closed),
                    logins_parked = GREATEST(a.logins_parked, s.parked)
                FROM said s WHERE a.hold = s.hold AND a.instance = s.instance
                    AND (s.closed > a.sessions_closed OR s.parked > a.logins_parked)),
            added AS (INSERT INTO hold_acks (hold, instance, applied_revision, applied_digest, sessions_closed,
                    logins_parked)
                SELECT s.hold, s.instance, s.revision, s.digest, s.closed, s.parked FROM said s
                    JOIN holds h ON h.id = s.hold AND s.revision >= h.revision
                    JOIN nodes n ON n.instance = s.instance
                    JOIN revisions c ON c.revision = s.revision AND c.digest = s.digest
                ON CONFLICT (hold, instance) DO NOTHING RETURNING hold)
         SELECT DISTINCT h.operation FROM added a JOIN holds h ON h.id = a.hold",
    )
    .bind(acks.iter().map(|ack| ack.hold.uuid()).collect::<Vec<_>>())
    .bind(acks.iter().map(|ack| ack.instance.uuid()).collect::<Vec<_>>())
    .bind(acks.iter().map(|ack| number(ack.applied.revision)).collect::<Vec<_>>())
    .bind(acks.iter().map(|ack| *ack.applied.digest.as_bytes()).collect::<Vec<_>>())
    .bind(acks.iter().map(|ack| count(ack.met.closed)).collect::<Vec<_>>())
    .bind(acks.iter().map(|ack| count(ack.met.parked)).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(operation,)| operation.into()).collect())
}

/// Records a leg that did not end, of a hold in force. Returns its operation.
///
/// # Errors
/// The database's.
pub async fn hold_stuck_add(conn: &mut PgConnection, stuck: &Stuck) -> Result<Option<OperationId>, Error> {
    let row: Option<(Uuid,)> = sqlx::query_as(
        "WITH added AS (INSERT INTO hold_stuck (hold, instance, node, destination, session, protocol)
            SELECT h.id, n.instance, n.name, $3, $4, $5 FROM holds h, nodes n WHERE h.id = $1 AND n.instance = $2
            ON CONFLICT DO NOTHING)
         SELECT operation FROM holds WHERE id = $1",
    )
    .bind(stuck.hold.uuid())
    .bind(stuck.instance.uuid())
    .bind(&stuck.destination)
    .bind(&stuck.session)
    .bind(&stuck.protocol)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(operation,)| operation.into()))
}

/// The legs of a hold that did not end.
///
/// # Errors
/// The database's.
pub async fn hold_stuck_list(conn: &mut PgConnection, hold: HoldId) -> Result<Vec<Stuck>, Error> {
    let rows: Vec<(Uuid, String, String, String, String)> = sqlx::query_as(
        "SELECT instance, node, destination, session, protocol FROM hold_stuck WHERE hold = $1 ORDER BY at, session",
    )
    .bind(hold.uuid())
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(instance, node, destination, session, protocol)| Stuck {
            hold,
            instance: instance.into(),
            node,
            destination,
            session,
            protocol,
        })
        .collect())
}

/// Every registered process, and what is recorded of it for this hold and this arming: read inside the flip's transaction
/// (promise F1).
///
/// # Errors
/// The database's.
pub async fn hold_proof_list(
    conn: &mut PgConnection,
    hold: Option<HoldId>,
    arming: Option<ArmingId>,
) -> Result<Vec<Proof>, Error> {
    let rows: Vec<(String, Uuid, Option<i64>, Option<i64>, bool, bool)> = sqlx::query_as(
        "SELECT n.name, n.instance, a.sessions_closed, a.logins_parked, m.arming IS NOT NULL, f.node IS NOT NULL
         FROM nodes n
         LEFT JOIN hold_acks a ON a.instance = n.instance AND a.hold = $1
         LEFT JOIN arming_acks m ON m.instance = n.instance AND m.arming = $2
         LEFT JOIN fences f ON f.node = n.name
         ORDER BY n.name, n.registered_revision",
    )
    .bind(hold.map(|hold| hold.uuid()))
    .bind(arming.map(|arming| arming.uuid()))
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(node, instance, closed, parked, armed, fenced)| Proof {
            node,
            instance: instance.into(),
            quiesced: closed.zip(parked).map(|(closed, parked)| Met {
                closed: closed.unsigned_abs(),
                parked: parked.unsigned_abs(),
            }),
            arming: if armed { Said::Acknowledged } else { Said::Nothing },
            fence: if fenced { Fence::Fenced } else { Fence::None },
        })
        .collect())
}

/// As PostgreSQL counts.
fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How a command under a hold stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookState {
    /// `copy` or `verify`.
    pub hook: String,
    /// How often its runner renewed its lease.
    pub renewals: u64,
    /// Its result, when it has one.
    pub finished: Option<HookResult>,
    /// Exit status or signal, in words.
    pub detail: String,
}

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookResult {
    /// It went well.
    Passed,
    /// It did not.
    Failed,
}

/// Counts a renewal, for a hold in force. False: that hold is over.
///
/// # Errors
/// The database's.
pub async fn hook_renew(conn: &mut PgConnection, hold: HoldId, hook: &str) -> Result<bool, Error> {
    let done = sqlx::query(
        "INSERT INTO hooks (hold, hook, renewals) SELECT id, $2, 1 FROM holds WHERE id = $1
         ON CONFLICT (hold, hook) DO UPDATE SET renewals = hooks.renewals + 1",
    )
    .bind(hold.uuid())
    .bind(hook)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Records a result, once, for a hold in force. False: that hold is over, or it has a result.
///
/// # Errors
/// The database's.
pub async fn hook_finish(
    conn: &mut PgConnection,
    hold: HoldId,
    hook: &str,
    result: HookResult,
    detail: &str,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "INSERT INTO hooks (hold, hook, finished, detail) SELECT id, $2, $3, $4 FROM holds WHERE id = $1
         ON CONFLICT (hold, hook) DO UPDATE SET finished = excluded.finished, detail = excluded.detail
            WHERE hooks.finished IS NULL",
    )
    .bind(hold.uuid())
    .bind(hook)
    .bind(match result {
        HookResult::Passed => "passed",
        HookResult::Failed => "failed",
    })
    .bind(detail)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How the commands under a hold stand.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn hook_list(conn: &mut PgConnection, hold: HoldId) -> Result<Vec<HookState>, Error> {
    let rows: Vec<(String, i64, Option<String>, String)> =
        sqlx::query_as("SELECT hook, renewals, finished, detail FROM hooks WHERE hold = $1")
            .bind(hold.uuid())
            .fetch_all(conn)
            .await?;
    rows.into_iter()
        .map(|(hook, renewals, finished, detail)| {
            let finished = match finished.as_deref() {
                None => None,
                Some("passed") => Some(HookResult::Passed),
                Some("failed") => Some(HookResult::Failed),
                Some(other) => return Err(Error::corrupt("the result of a command", other)),
            };
            Ok(HookState {
                hook,
                renewals: renewals.unsigned_abs(),
                finished,
                detail,
            })
        })
        .collect()
}
