//! Who is registered: one row per process of a node (promise N1).

use mailswitch_proto::id::InstanceId;
use mailswitch_proto::revision::Revision;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Error;
use super::fleet::number;

/// A registered process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The process.
    pub instance: InstanceId,
    /// Its node's name, as in its certificate.
    pub name: String,
    /// Sixteen bytes that stand for the machine.
    pub machine: Vec<u8>,
    /// Where it stands.
    pub site: String,
    /// What it runs.
    pub version: String,
    /// What it listens on, as JSON.
    pub listeners: serde_json::Value,
    /// At which it was registered.
    pub registered: Revision,
}

/// All of them, by name.
///
/// # Errors
/// The database's.
pub async fn node_list(conn: &mut PgConnection) -> Result<Vec<Node>, Error> {
    type Row = (
        Uuid,
        String,
        Vec<u8>,
        String,
        String,
        sqlx::types::Json<serde_json::Value>,
        i64,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT instance, name, machine, site, version, listeners, registered_revision FROM nodes
         ORDER BY name, registered_revision",
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(
            |(instance, name, machine, site, version, listeners, registered)| Node {
                instance: instance.into(),
                name,
                machine,
                site,
                version,
                listeners: listeners.0,
                registered: Revision(registered.unsigned_abs()),
            },
        )
        .collect())
}

/// Whether this process is registered.
///
/// # Errors
/// The database's.
pub async fn node_exists(conn: &mut PgConnection, instance: InstanceId) -> Result<bool, Error> {
    let (exists,): (bool,) = sqlx::query_as("SELECT EXISTS (SELECT FROM nodes WHERE instance = $1)")
        .bind(instance.uuid())
        .fetch_one(conn)
        .await?;
    Ok(exists)
}

/// Writes one.
///
/// # Errors
/// The database's.
pub async fn node_put(conn: &mut PgConnection, node: &Node) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO nodes (instance, name, machine, site, version, listeners, registered_revision)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (instance) DO UPDATE SET site = excluded.site, version = excluded.version,
            listeners = excluded.listeners",
    )
    .bind(node.instance.uuid())
    .bind(&node.name)
    .bind(&node.machine)
    .bind(&node.site)
    .bind(&node.version)
    .bind(sqlx::types::Json(&node.listeners))
    .bind(number(node.registered))
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes one, and its acknowledgements with it.
///
/// # Errors
/// The database's.
pub async fn node_remove(conn: &mut PgConnection, instance: InstanceId) -> Result<(), Error> {
    sqlx::query("DELETE FROM nodes WHERE instance = $1")
        .bind(instance.uuid())
        .execute(conn)
        .await?;
    Ok(())
}
