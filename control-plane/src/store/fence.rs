//! Nodes that are fenced, by name: they are not to serve (promise N3).

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Error;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The node.
    pub node: String,
    /// Since when.
    pub at: DateTime<Utc>,
    /// By whom.
    pub by: String,
}

/// All of them, by name.
///
/// # Errors
/// The database's.
pub async fn fence_list(conn: &mut PgConnection) -> Result<Vec<Fence>, Error> {
    let rows: Vec<(String, DateTime<Utc>, String)> =
        sqlx::query_as("SELECT node, fenced_at, fenced_by FROM fences ORDER BY node")
            .fetch_all(conn)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(node, at, by)| Fence { node, at, by })
        .collect())
}

/// Whether a fence was there, or was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Was {
    /// It was.
    There,
    /// It was not.
    Absent,
}

/// Writes one.
///
/// # Errors
/// The database's.
pub async fn fence_put(conn: &mut PgConnection, node: &str, by: &str) -> Result<Was, Error> {
    let done = sqlx::query("INSERT INTO fences (node, fenced_by) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(node)
        .bind(by)
        .execute(conn)
        .await?;
    Ok(if done.rows_affected() == 1 {
        Was::Absent
    } else {
        Was::There
    })
}

/// Removes one.
///
/// # Errors
/// The database's.
pub async fn fence_remove(conn: &mut PgConnection, node: &str) -> Result<Was, Error> {
    let done = sqlx::query("DELETE FROM fences WHERE node = $1")
        .bind(node)
        .execute(conn)
        .await?;
    Ok(if done.rows_affected() == 1 {
        Was::There
    } else {
        Was::Absent
    })
}
