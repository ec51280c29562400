//! The log: one row a revision, with the bytes that every node will apply and chain.

use mailswitch_proto::identifier::Key;
use mailswitch_proto::revision::{Position, Revision};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::Error;
use super::fleet::{number, position};

/// What a change can affect, so that a long bulk write knows whether a short one that overtook it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breadth {
    /// Only the keys that it names.
    Keys,
    /// Only who is registered.
    Nodes,
    /// More than its keys tell: resources, accounts, a domain's mapping.
    Everything,
}

impl Breadth {
    const fn text(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Nodes => "nodes",
            Self::Everything => "everything",
        }
    }
}

/// A change that has everything but its number.
#[derive(Debug)]
pub struct Staged<'a> {
    /// Made by the writer for this attempt.
    pub id: Uuid,
    /// An encoded `fleet.v1.ChangeSet`.
    pub payload: &'a [u8],
    /// All keys that it touches, packed.
    pub keys: &'a [u8],
    /// What it can affect.
    pub breadth: Breadth,
    /// W3C trace context, or empty.
    pub traceparent: &'a str,
    /// Whether it arms or disarms, or holds what is armed.
    pub arming: Arming,
}

/// Whether a change is about arming itself. Whether it touches what is armed is found when it is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arming {
    /// It is.
    Changed,
    /// It is not.
    Untouched,
}

/// A row of the log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Where a reader stands after it.
    pub position: Position,
    /// The stored bytes.
    pub payload: Vec<u8>,
    /// W3C trace context, or empty.
    pub traceparent: String,
}

/// Writes the row without its number, inside the writer's transaction. It says whether the change touches an armed account,
/// as they are at this moment: what is armed meanwhile has a revision of its own, and a change that it overtakes and
/// touches is made anew (promise L2).
///
/// # Errors
/// The database's.
pub async fn change_stage(conn: &mut PgConnection, staged: &Staged<'_>) -> Result<(), Error> {
    // The keys are packed; nothing is armed most of the time, and then they are not unpacked.
    sqlx::query(
        "INSERT INTO changes (id, payload, keys, breadth, traceparent, armed) VALUES ($1, $2, $3, $4, $5, $6 OR
            (EXISTS (SELECT FROM armings) AND ($4 = 'everything' OR EXISTS (SELECT FROM armed_identifiers
                WHERE key IN (SELECT substring($3::bytea FROM at FOR 16)
                    FROM generate_series(1, octet_length($3::bytea), 16) AS at)))))",
    )
    .bind(staged.id)
    .bind(staged.payload)
    .bind(staged.keys)
    .bind(staged.breadth.text())
    .bind(staged.traceparent)
    .bind(staged.arming == Arming::Changed)
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives it its number and commits, in one round trip (promise D6).
///
/// # Errors
/// Code `MS001` when another change was committed since `known` was read; the transaction is then to be rolled
/// back.
pub async fn change_seal_and_commit(
    conn: &mut PgConnection,
    staged: Uuid,
    known: Position,
    sealed: Position,
) -> Result<(), Error> {
    // Two statements in one message can have no parameters. All four values are numbers and hex digits.
    let sql = format!(
        "SELECT change_seal('{staged}'::uuid, {}, '\\x{}'::bytea, '\\x{}'::bytea); COMMIT",
        number(known.revision),
        hex(known.digest.as_bytes()),
        hex(sealed.digest.as_bytes()),
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await?;
    Ok(())
}

/// The position at which one of these staged changes was committed, if any was.
///
/// # Errors
/// The database's.
pub async fn change_outcome_get(
    conn: &mut PgConnection,
    staged: &[Uuid],
) -> Result<Option<(Uuid, Position)>, Error> {
    let row: Option<(Uuid, i64, Vec<u8>)> =
        sqlx::query_as("SELECT change, revision, digest FROM revisions WHERE change = ANY($1)")
            .bind(staged)
            .fetch_optional(conn)
            .await?;
    row.map(|(id, revision, digest)| Ok((id, position("a change", revision, &digest)?)))
        .transpose()
}

/// Up to `limit` changes after `revision`, in order.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn change_list_after(
    conn: &mut PgConnection,
    revision: Revision,
    limit: u32,
) -> Result<Vec<Logged>, Error> {
    let rows: Vec<(i64, Vec<u8>, Vec<u8>, String)> = sqlx::query_as(
        "SELECT revision, digest, payload, traceparent FROM changes WHERE revision > $1 ORDER BY revision LIMIT $2",
    )
    .bind(number(revision))
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(revision, digest, payload, traceparent)| {
            Ok(Logged {
                position: position("a change", revision, &digest)?,
                payload,
                traceparent,
            })
        })
        .collect()
}

/// The position at a revision, also when its change is trimmed; none when it is forgotten or not reached.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn change_position_get(
    conn: &mut PgConnection,
    revision: Revision,
) -> Result<Option<Position>, Error> {
    let row: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT revision, digest FROM revisions WHERE revision = $1")
            .bind(number(revision))
            .fetch_optional(conn)
            .await?;
    row.map(|(revision, digest)| position("a change", revision, &digest))
        .transpose()
}

/// What was committed after `revision`: the breadth that matters, and whether any of `mine` was touched.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn change_touched_since(
    conn: &mut PgConnection,
    revision: Revision,
    mine: &std::collections::HashSet<Key>,
) -> Result<Touched, Error> {
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT breadth, keys FROM changes WHERE revision > $1")
            .bind(number(revision))
            .fetch_all(conn)
            .await?;
    for (breadth, keys) in rows {
        if breadth == Breadth::Everything.text() {
            return Ok(Touched::Mine);
        }
        if super::keys("a change", &keys)?
            .iter()
            .any(|key| mine.contains(key))
        {
            return Ok(Touched::Mine);
        }
    }
    Ok(Touched::OthersOnly)
}

/// What `change_touched_since` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touched {
    /// Something that our conditions may have rested on.
    Mine,
    /// Nothing of ours.
    OthersOnly,
}

/// Deletes what is older than both bounds, and never the last row. Returns how many went.
///
/// # Errors
/// The database's.
pub async fn change_trim(
    conn: &mut PgConnection,
    keep_revisions: u64,
    keep_seconds: u64,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "DELETE FROM changes WHERE revision <= (SELECT revision FROM fleet) - $1
           AND revision < (SELECT revision FROM fleet) AND at < now() - make_interval(secs => $2)",
    )
    .bind(i64::try_from(keep_revisions).unwrap_or(i64::MAX))
    .bind(keep_seconds as f64)
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
