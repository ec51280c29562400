//! The tables of the fleet's configuration: destinations, routing policy, and what else `apply` brings.

use mailswitch_config::resource::{Resource, ResourceKey};
use mailswitch_proto::revision::Revision;
use sqlx::PgConnection;

use super::Error;
use super::fleet::number;

/// All of them, in order.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn resource_list(conn: &mut PgConnection) -> Result<Vec<Resource>, Error> {
    let rows: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT kind, name, site, body FROM resources ORDER BY kind, name, site")
            .fetch_all(conn)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(kind, name, site, body)| Resource {
            key: ResourceKey { kind, name, site },
            body,
        })
        .collect())
}

/// Writes one.
///
/// # Errors
/// The database's.
pub async fn resource_put(
    conn: &mut PgConnection,
    resource: &Resource,
    revision: Revision,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO resources (kind, name, site, body, revision) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (kind, name, site) DO UPDATE SET body = excluded.body, revision = excluded.revision",
    )
    .bind(&resource.key.kind)
    .bind(&resource.key.name)
    .bind(&resource.key.site)
    .bind(&resource.body)
    .bind(number(revision))
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes one.
///
/// # Errors
/// The database's.
pub async fn resource_remove(conn: &mut PgConnection, name: &ResourceKey) -> Result<(), Error> {
    sqlx::query("DELETE FROM resources WHERE kind = $1 AND name = $2 AND site = $3")
        .bind(&name.kind)
        .bind(&name.name)
        .bind(&name.site)
        .execute(conn)
        .await?;
    Ok(())
}
