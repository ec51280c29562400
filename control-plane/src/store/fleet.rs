//! The counter row: who the fleet is, and where its log stands.

use mailswitch_proto::id::FleetId;
use mailswitch_proto::identifier::HashKey;
use mailswitch_proto::revision::{Digest, Position, Revision};
use sqlx::PgConnection;

use super::Error;

/// What was made once, with the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    /// Its id.
    pub id: FleetId,
    /// The key of the table hash.
    pub hash_key: HashKey,
}

/// Makes the row when there is none.
///
/// # Errors
/// The database's.
pub async fn fleet_make(conn: &mut PgConnection, fresh: &Fleet) -> Result<(), Error> {
    sqlx::query("INSERT INTO fleet (fleet, hash_key, digest) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(fresh.id.uuid())
        .bind(fresh.hash_key.0.as_slice())
        .bind(Digest::NONE.as_bytes().as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

/// The fleet, and where its log stands.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn fleet_get(conn: &mut PgConnection) -> Result<(Fleet, Position), Error> {
    let (id, hash_key, revision, digest): (uuid::Uuid, Vec<u8>, i64, Vec<u8>) =
        sqlx::query_as("SELECT fleet, hash_key, revision, digest FROM fleet")
            .fetch_one(conn)
            .await?;
    let hash_key = <[u8; 16]>::try_from(hash_key.as_slice())
        .map_err(|_| Error::corrupt("the fleet's hash key", "it is not 16 bytes long"))?;
    Ok((
        Fleet {
            id: FleetId::from(id),
            hash_key: HashKey(hash_key),
        },
        position("the counter row", revision, &digest)?,
    ))
}

/// Where the log stands.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn position_get(conn: &mut PgConnection) -> Result<Position, Error> {
    let (revision, digest): (i64, Vec<u8>) = sqlx::query_as("SELECT revision, digest FROM fleet")
        .fetch_one(conn)
        .await?;
    position("the counter row", revision, &digest)
}

/// Whether what the database says may be acted on (promise D3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// It may.
    Believed,
    /// There are rows in `doubts`.
    Doubted,
}

/// Where the log stands, and whether it is believed: both at one instant.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn position_and_belief_get(conn: &mut PgConnection) -> Result<(Position, Belief), Error> {
    let (revision, digest, doubted): (i64, Vec<u8>, bool) =
        sqlx::query_as("SELECT revision, digest, EXISTS (SELECT FROM doubts) FROM fleet")
            .fetch_one(conn)
            .await?;
    let belief = if doubted {
        Belief::Doubted
    } else {
        Belief::Believed
    };
    Ok((position("the counter row", revision, &digest)?, belief))
}

pub(crate) fn position(what: &'static str, revision: i64, digest: &[u8]) -> Result<Position, Error> {
    Ok(Position {
        revision: Revision(u64::try_from(revision).map_err(|error| Error::corrupt(what, error))?),
        digest: Digest::try_from(digest).map_err(|error| Error::corrupt(what, error))?,
    })
}

/// A revision as PostgreSQL counts: it stays under 2^63 for longer than the disk lasts.
pub(crate) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}
