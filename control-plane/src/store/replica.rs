//! Replicas by their heartbeat.

use mailswitch_proto::id::InstanceId;
use sqlx::PgConnection;

use super::Error;

/// Whether another replica than the one of this name was heard of within `seconds`.
///
/// # Errors
/// The database's.
pub async fn replica_other_exists(conn: &mut PgConnection, name: &str, seconds: u32) -> Result<bool, Error> {
    let (exists,): (bool,) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM replicas WHERE name <> $1 AND seen_at > now() - make_interval(secs => $2))",
    )
    .bind(name)
    .bind(f64::from(seconds))
    .fetch_one(conn)
    .await?;
    Ok(exists)
}

/// Says that this replica is alive.
///
/// # Errors
/// The database's.
pub async fn replica_beat(
    conn: &mut PgConnection,
    instance: InstanceId,
    name: &str,
    advertise: &str,
    version: &str,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO replicas (instance, name, advertise, version) VALUES ($1, $2, $3, $4)
         ON CONFLICT (instance) DO UPDATE SET seen_at = now(), advertise = excluded.advertise",
    )
    .bind(instance.uuid())
    .bind(name)
    .bind(advertise)
    .bind(version)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM replicas WHERE seen_at < now() - interval '1 day'")
        .execute(conn)
        .await?;
    Ok(())
}
