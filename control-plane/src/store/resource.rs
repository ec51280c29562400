//! The tables of the fleet's configuration: destinations, routing policy, and what else `apply` brings.

use mailswitch_proto::revision::Revision;
use sqlx::PgConnection;

use super::Error;
use super::fleet::number;

/// Which table: `[destination.new]` is kind `destination`, name `new`; below `[site.fra]` its site is `fra`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    /// `destination`, `routing`, `capabilities`, …
    pub kind: String,
    /// Of a destination or a capability table; else empty.
    pub name: String,
    /// Empty: everywhere.
    pub site: String,
}

impl std::fmt::Display for ResourceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.site.is_empty() {
            write!(f, "site.{}.", self.site)?;
        }
        f.write_str(&self.kind)?;
        if !self.name.is_empty() {
            write!(f, ".{}", self.name)?;
        }
        Ok(())
    }
}

/// A table and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Which.
    pub name: ResourceName,
    /// The TOML table as JSON.
    pub body: serde_json::Value,
}

/// All of them, in order.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn resource_list(conn: &mut PgConnection) -> Result<Vec<Resource>, Error> {
    let rows: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT kind, name, site, body FROM resources ORDER BY kind, name, site")
            .fetch_all(conn)
            .await?;
    rows.into_iter()
        .map(|(kind, name, site, body)| {
            Ok(Resource {
                name: ResourceName { kind, name, site },
                body: serde_json::from_str(&body).map_err(|error| Error::corrupt("a resource", error))?,
            })
        })
        .collect()
}

/// One of them.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn resource_get(
    conn: &mut PgConnection,
    kind: &str,
    name: &str,
) -> Result<Option<serde_json::Value>, Error> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT body FROM resources WHERE kind = $1 AND name = $2 AND site = ''")
            .bind(kind)
            .bind(name)
            .fetch_optional(conn)
            .await?;
    row.map(|(body,)| serde_json::from_str(&body).map_err(|error| Error::corrupt("a resource", error)))
        .transpose()
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
    .bind(&resource.name.kind)
    .bind(&resource.name.name)
    .bind(&resource.name.site)
    .bind(resource.body.to_string())
    .bind(number(revision))
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes one.
///
/// # Errors
/// The database's.
pub async fn resource_remove(conn: &mut PgConnection, name: &ResourceName) -> Result<(), Error> {
    sqlx::query("DELETE FROM resources WHERE kind = $1 AND name = $2 AND site = $3")
        .bind(&name.kind)
        .bind(&name.name)
        .bind(&name.site)
        .execute(conn)
        .await?;
    Ok(())
}
