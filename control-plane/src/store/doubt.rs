//! Processes that know, or may know, more than the database (promise D3): while there is one, nothing routes anew.

use mailswitch_proto::id::InstanceId;
use mailswitch_proto::revision::Position;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Error;
use super::fleet::{number, position};

/// One such process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The process, registered or not.
    pub instance: InstanceId,
    /// Its node.
    pub node: String,
    /// Where it stands, outside of this chain; none: it has not said so since the database may have gone back.
    pub at: Option<Position>,
}

/// All of them, by name.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn doubt_list(conn: &mut PgConnection) -> Result<Vec<Doubt>, Error> {
    let rows: Vec<(Uuid, String, Option<i64>, Option<Vec<u8>>)> =
        sqlx::query_as("SELECT instance, node, revision, digest FROM doubts ORDER BY node, at, instance")
            .fetch_all(conn)
            .await?;
    rows.into_iter()
        .map(|(instance, node, revision, digest)| {
            Ok(Doubt {
                instance: instance.into(),
                node,
                at: revision
                    .zip(digest)
                    .map(|(revision, digest)| position("a doubt", revision, &digest))
                    .transpose()?,
            })
        })
        .collect()
}

/// Writes one.
///
/// # Errors
/// The database's.
pub async fn doubt_put(conn: &mut PgConnection, doubt: &Doubt) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO doubts (instance, node, revision, digest) VALUES ($1, $2, $3, $4)
         ON CONFLICT (instance) DO UPDATE SET node = excluded.node, revision = excluded.revision,
            digest = excluded.digest",
    )
    .bind(doubt.instance.uuid())
    .bind(&doubt.node)
    .bind(doubt.at.map(|at| number(at.revision)))
    .bind(doubt.at.map(|at| at.digest.as_bytes().to_vec()))
    .execute(conn)
    .await?;
    Ok(())
}

/// Every registered process, fenced or not, has to say where it stands. Returns how many are waited for that were not before.
///
/// # Errors
/// The database's.
pub async fn doubt_registered(conn: &mut PgConnection) -> Result<u64, Error> {
    let done = sqlx::query(
        "INSERT INTO doubts (instance, node) SELECT instance, name FROM nodes ON CONFLICT (instance) DO NOTHING",
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// These processes are heard: one of them said that it stands at `known`. Only if that is on the chain of this very
/// database, or from before what is kept of it: asked in the same statement, so that no restore comes between. Returns how
/// many doubts went.
///
/// # Errors
/// The database's.
pub async fn doubt_settle(
    conn: &mut PgConnection,
    instances: &[InstanceId],
    known: Position,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "DELETE FROM doubts WHERE instance = ANY($1) AND ($2 = 0
            OR EXISTS (SELECT FROM revisions WHERE revision = $2 AND digest = $3)
            OR $2 < COALESCE((SELECT min(revision) FROM revisions), 0))",
    )
    .bind(
        instances
            .iter()
            .map(|instance| instance.uuid())
            .collect::<Vec<_>>(),
    )
    .bind(number(known.revision))
    .bind(known.digest.as_bytes().as_slice())
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Takes them out, on somebody's word.
///
/// # Errors
/// The database's.
pub async fn doubt_remove(conn: &mut PgConnection, instances: &[InstanceId]) -> Result<(), Error> {
    sqlx::query("DELETE FROM doubts WHERE instance = ANY($1)")
        .bind(
            instances
                .iter()
                .map(|instance| instance.uuid())
                .collect::<Vec<_>>(),
        )
        .execute(conn)
        .await?;
    Ok(())
}
