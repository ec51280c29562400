//! All that nodes need to know, at one instant: what a replica starts from.

use mailswitch_config::resource::Resource;
use mailswitch_proto::identifier::Key;
use mailswitch_proto::revision::Position;
use sqlx::{Connection as _, PgConnection, PgPool};

use super::Error;
use super::arming::Arming;
use super::fleet::Fleet;
use super::hold::Hold;

/// The routing state of the fleet at a position.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Whose.
    pub fleet: Fleet,
    /// Of which position.
    pub position: Position,
    /// Keys of identifiers and of `@domain`s, with where they go.
    pub mappings: Vec<(Key, String)>,
    /// Armings in force.
    pub armings: Vec<Arming>,
    /// Holds in force.
    pub holds: Vec<Hold>,
    /// Tables of the configuration.
    pub resources: Vec<Resource>,
}

/// Reads it in one transaction that sees one instant.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn snapshot_get(pool: &PgPool) -> Result<Snapshot, Error> {
    let mut conn = pool.acquire().await?;
    let mut txn = conn
        .begin_with("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let (fleet, position) = super::fleet::fleet_get(&mut txn).await?;
    let snapshot = Snapshot {
        fleet,
        position,
        mappings: mappings(&mut txn).await?,
        armings: super::arming::arming_list(&mut txn).await?,
        holds: super::hold::hold_list(&mut txn).await?,
        resources: super::resource::resource_list(&mut txn).await?,
    };
    txn.rollback().await?;
    Ok(snapshot)
}

async fn mappings(conn: &mut PgConnection) -> Result<Vec<(Key, String)>, Error> {
    let rows: Vec<(Vec<u8>, String)> = sqlx::query_as("SELECT key, destination FROM mappings")
        .fetch_all(conn)
        .await?;
    rows.into_iter()
        .map(|(key, destination)| Ok((super::key("a mapping", &key)?, destination)))
        .collect()
}
