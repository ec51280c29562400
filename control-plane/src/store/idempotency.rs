//! What was done under which idempotency key: done twice with the same key, it is done once.

use mailswitch_proto::revision::Position;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Error;
use super::fleet::{number, position};

/// What was done.
#[derive(Debug, Clone)]
pub struct Done {
    /// Which kind of change.
    pub verb: String,
    /// SHA-256 of what was asked.
    pub request: Vec<u8>,
    /// Where it was committed; none: it changed nothing.
    pub position: Option<Position>,
    /// What was answered.
    pub output: serde_json::Value,
}

/// What was done under this key.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn idempotency_get(conn: &mut PgConnection, key: Uuid) -> Result<Option<Done>, Error> {
    let row: Option<(
        String,
        Vec<u8>,
        i64,
        Vec<u8>,
        sqlx::types::Json<serde_json::Value>,
    )> = sqlx::query_as("SELECT verb, request, revision, digest, output FROM idempotency WHERE key = $1")
        .bind(key)
        .fetch_optional(conn)
        .await?;
    row.map(|(verb, request, revision, digest, output)| {
        let position = match revision {
            0 => None,
            revision => Some(position("an idempotency key", revision, &digest)?),
        };
        Ok(Done {
            verb,
            request,
            position,
            output: output.0,
        })
    })
    .transpose()
}

/// Remembers what is being done.
///
/// # Errors
/// The database's; a unique violation when another transaction did it meanwhile.
pub async fn idempotency_put(conn: &mut PgConnection, key: Uuid, done: &Done) -> Result<(), Error> {
    sqlx::query("INSERT INTO idempotency (key, verb, request, revision, digest, output) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(key)
        .bind(&done.verb)
        .bind(&done.request)
        .bind(done.position.map_or(0, |position| number(position.revision)))
        .bind(done.position.map(|position| position.digest.to_vec()).unwrap_or_default())
        .bind(sqlx::types::Json(&done.output))
        .execute(conn)
        .await?;
    Ok(())
}

/// When a bulk write was sealed at another position than it was written for.
///
/// # Errors
/// The database's.
pub async fn idempotency_move(conn: &mut PgConnection, key: Uuid, to: Position) -> Result<(), Error> {
    sqlx::query("UPDATE idempotency SET revision = $2, digest = $3 WHERE key = $1")
        .bind(key)
        .bind(number(to.revision))
        .bind(to.digest.as_bytes().as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets keys older than this. Returns how many.
///
/// # Errors
/// The database's.
pub async fn idempotency_trim(conn: &mut PgConnection, keep_seconds: u64) -> Result<u64, Error> {
    let done = sqlx::query("DELETE FROM idempotency WHERE at < now() - make_interval(secs => $1)")
        .bind(keep_seconds as f64)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}
