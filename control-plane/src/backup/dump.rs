//! Writes a backup: every table as it was at one instant.

use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::io::AsyncWrite;

use super::frame::{CHUNK, Kind, Writer};
use super::{BackupError, Header, TABLES, Table};
use crate::store;

/// Writes a backup of the whole database to `out`, and says what it is of.
///
/// # Errors
/// The database's, or those of `out`: what was written then has no end, and is refused by `restore`.
pub async fn dump(pool: &PgPool, out: impl AsyncWrite + Unpin + Send) -> Result<Header, BackupError> {
    // Of its own: a COPY that ends in the middle, because the caller went away, leaves answers in the connection that
    // whoever took it next would take for their own.
    let mut conn = pool.acquire().await?.detach();
    let mut txn = conn
        .begin_with("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    // A slow reader of the backup is no stopped writer: it locks nothing that anyone waits for.
    sqlx::raw_sql("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
        .execute(&mut *txn)
        .await?;
    let (fleet, position) = store::fleet::fleet_get(&mut txn).await?;
    let header = Header::new(fleet.id, position);
    let mut writer = Writer::new(out).await?;
    writer.frame(Kind::Header, &json(&header)?).await?;
    for name in TABLES {
        table(&mut txn, name, &mut writer).await?;
    }
    writer.finish().await?;
    txn.rollback().await?;
    conn.close().await?;
    Ok(header)
}

async fn table<W: AsyncWrite + Unpin + Send>(
    conn: &mut PgConnection,
    name: &str,
    writer: &mut Writer<W>,
) -> Result<(), BackupError> {
    let columns: Vec<(String,)> = sqlx::query_as(
        "SELECT attname::text FROM pg_attribute
         WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    )
    .bind(name)
    .fetch_all(&mut *conn)
    .await?;
    let table = Table {
        name: name.to_owned(),
        columns: columns.into_iter().map(|(column,)| column).collect(),
    };
    writer.frame(Kind::Table, &json(&table)?).await?;
    let mut checksum = Sha256::new();
    // The names are ours and the catalog's, and quoted.
    let statement = format!("COPY {} TO STDOUT", super::restore::target(&table));
    let mut rows = conn.copy_out_raw(&statement).await?;
    while let Some(piece) = rows.try_next().await? {
        checksum.update(&piece);
        for chunk in piece.chunks(CHUNK) {
            writer.frame(Kind::Rows, chunk).await?;
        }
    }
    drop(rows);
    writer.frame(Kind::TableEnd, &checksum.finalize()).await
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, BackupError> {
    serde_json::to_vec(value).map_err(|error| BackupError::Io(error.into()))
}
