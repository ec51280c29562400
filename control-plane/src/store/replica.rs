//! Replicas by their heartbeat.

use mailswitch_proto::id::InstanceId;
use sqlx::PgConnection;

use super::Error;

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
