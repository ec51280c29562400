//! Mappings: identifier (or `@domain`) to destination.

use mailswitch_proto::identifier::Key;
use sqlx::PgConnection;

use super::Error;

/// One mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// In normal form, or `@domain`.
    pub identifier: String,
    /// Its key.
    pub key: Key,
    /// Where it goes.
    pub destination: String,
}

/// Where one goes by a mapping of its own.
///
/// # Errors
/// The database's.
pub async fn mapping_get(conn: &mut PgConnection, identifier: &str) -> Result<Option<String>, Error> {
    let row: Option<(String,)> = sqlx::query_as("SELECT destination FROM mappings WHERE identifier = $1")
        .bind(identifier)
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|(destination,)| destination))
}

/// Where these go by mappings of their own.
///
/// # Errors
/// The database's.
pub async fn mapping_get_many(
    conn: &mut PgConnection,
    identifiers: &[String],
) -> Result<std::collections::HashMap<String, String>, Error> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT identifier, destination FROM mappings WHERE identifier = ANY($1)")
            .bind(identifiers)
            .fetch_all(conn)
            .await?;
    Ok(rows.into_iter().collect())
}

/// A page of them in order, after `after`; of a destination, of a domain (`example.org`), or all.
///
/// # Errors
/// The database's.
pub async fn mapping_list(
    conn: &mut PgConnection,
    destination: Option<&str>,
    domain: Option<&str>,
    after: &str,
    limit: u32,
) -> Result<Vec<(String, String)>, Error> {
    Ok(sqlx::query_as(
        "SELECT identifier, destination FROM mappings
         WHERE identifier > $3 AND ($1::text IS NULL OR destination = $1)
           AND ($2::text IS NULL OR right(identifier, length($2) + 1) = '@' || $2)
         ORDER BY identifier LIMIT $4",
    )
    .bind(destination)
    .bind(domain)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await?)
}

/// How many there are.
///
/// # Errors
/// The database's.
pub async fn mapping_count(conn: &mut PgConnection) -> Result<u64, Error> {
    let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM mappings")
        .fetch_one(conn)
        .await?;
    Ok(count.unsigned_abs())
}

/// One mapping that goes to `destination`, if any does.
///
/// # Errors
/// The database's.
pub async fn mapping_to_get(conn: &mut PgConnection, destination: &str) -> Result<Option<String>, Error> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT identifier FROM mappings WHERE destination = $1 LIMIT 1")
            .bind(destination)
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|(identifier,)| identifier))
}

/// Writes them, in bulk.
///
/// # Errors
/// The database's.
pub async fn mapping_put_many(conn: &mut PgConnection, mappings: &[Mapping]) -> Result<(), Error> {
    for chunk in mappings.chunks(50_000) {
        sqlx::query(
            "INSERT INTO mappings (identifier, key, destination)
             SELECT * FROM UNNEST($1::text[], $2::bytea[], $3::text[])
             ON CONFLICT (identifier) DO UPDATE SET key = excluded.key, destination = excluded.destination",
        )
        .bind(
            chunk
                .iter()
                .map(|mapping| mapping.identifier.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            chunk
                .iter()
                .map(|mapping| mapping.key.to_bytes())
                .collect::<Vec<_>>(),
        )
        .bind(
            chunk
                .iter()
                .map(|mapping| mapping.destination.as_str())
                .collect::<Vec<_>>(),
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Removes them.
///
/// # Errors
/// The database's.
pub async fn mapping_remove_many(conn: &mut PgConnection, identifiers: &[String]) -> Result<(), Error> {
    sqlx::query("DELETE FROM mappings WHERE identifier = ANY($1)")
        .bind(identifiers)
        .execute(conn)
        .await?;
    Ok(())
}
