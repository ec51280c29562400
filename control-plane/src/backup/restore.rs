//! Restores a backup: all of it, in one transaction, or nothing.

use mailswitch_proto::id::FleetId;
use mailswitch_proto::revision::Position;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection};
use tokio::io::AsyncRead;

use super::frame::{Kind, Reader};
use super::{BackupError, FORMAT, Header, OLDEST_SCHEMA, TABLES, Table};
use crate::change::Writer;
use crate::database::SCHEMA;
use crate::store;

/// Whether what is in the database may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It may not: only an empty one is restored into.
    OnlyEmpty,
    /// `--replace`.
    Whatever,
}

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Whose state.
    pub fleet: FleetId,
    /// Where the log stands now.
    pub position: Position,
}

/// Replaces the database's content by a backup. This replica believes the restored position from now on; whatever else
/// it keeps in memory is its caller's to load anew. The table of operations has no driver afterwards: whoever patrols
/// takes the open ones over.
///
/// # Errors
/// See `BackupError`: nothing was changed.
pub async fn restore(
    writer: &Writer,
    from: impl AsyncRead + Unpin + Send,
    replace: Replace,
) -> Result<Restored, BackupError> {
    let mut reader = Reader::new(from).await?;
    let header = header(&mut reader).await?;
    // Of its own, as that of a backup: a COPY may end in the middle.
    let mut conn = writer.pool().acquire().await?.detach();
    let mut txn = conn.begin().await?;
    sqlx::raw_sql(
        "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
         SET LOCAL lock_timeout = '10s'; LOCK TABLE fleet IN ACCESS EXCLUSIVE MODE",
    )
    .execute(&mut *txn)
    .await?;
    let (_, before) = store::fleet::fleet_get(&mut txn).await?;
    if replace == Replace::OnlyEmpty && before != Position::NONE {
        return Err(BackupError::NotEmpty(before.revision));
    }
    let all = TABLES.join(", ");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("TRUNCATE {all}, idempotency")))
        .execute(&mut *txn)
        .await?;
    tables(&mut reader, &mut txn).await?;
    // Whoever drove them when the backup was made is not there; and the counter of the audit log goes on.
    sqlx::raw_sql(
        "UPDATE operations SET holder = '00000000-0000-0000-0000-000000000000' WHERE ended_at IS NULL;
         SELECT setval(pg_get_serial_sequence('audit', 'id'), coalesce((SELECT max(id) FROM audit), 0) + 1)",
    )
    .execute(&mut *txn)
    .await?;
    let (fleet, position) = store::fleet::fleet_get(&mut txn).await?;
    if !header.is_at(position) || header.fleet != fleet.id.uuid() {
        return Err(BackupError::Damaged(
            "its tables are not of the revision that it names".to_owned(),
        ));
    }
    txn.commit().await?;
    writer.memory().replace(position);
    // It is restored, however the connection ends.
    let _ = conn.close().await;
    Ok(Restored {
        fleet: fleet.id,
        position,
    })
}

async fn header<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<Header, BackupError> {
    let (Kind::Header, content) = reader.frame().await? else {
        return Err(BackupError::NoBackup);
    };
    let header: Header =
        serde_json::from_slice(&content).map_err(|error| BackupError::Damaged(error.to_string()))?;
    if header.format != FORMAT || !(OLDEST_SCHEMA..=SCHEMA).contains(&header.schema) {
        return Err(BackupError::OtherVersion {
            found_format: header.format,
            found_schema: header.schema,
            version: header.version,
        });
    }
    Ok(header)
}

async fn tables<R: AsyncRead + Unpin + Send>(
    reader: &mut Reader<R>,
    conn: &mut PgConnection,
) -> Result<(), BackupError> {
    let mut left: Vec<&str> = TABLES.to_vec();
    loop {
        match reader.frame().await? {
            (Kind::Table, content) => {
                let table: Table = serde_json::from_slice(&content)
                    .map_err(|error| BackupError::Damaged(error.to_string()))?;
                // Only the tables that we know, each once: their names go into statements.
                if left.first() != Some(&table.name.as_str()) {
                    return Err(BackupError::Damaged(format!(
                        "table {:?} is out of place",
                        table.name
                    )));
                }
                left.remove(0);
                rows(reader, conn, &table).await?;
            }
            (Kind::End, _) if left.is_empty() => return Ok(()),
            (kind, _) => {
                return Err(BackupError::Damaged(format!(
                    "{kind:?} comes where a table was expected"
                )));
            }
        }
    }
}

async fn rows<R: AsyncRead + Unpin + Send>(
    reader: &mut Reader<R>,
    conn: &mut PgConnection,
    table: &Table,
) -> Result<(), BackupError> {
    let mut checksum = Sha256::new();
    let mut copy = conn
        .copy_in_raw(&format!("COPY {} FROM STDIN", target(table)))
        .await?;
    let ended = loop {
        match reader.frame().await {
            Ok((Kind::Rows, piece)) => {
                checksum.update(&piece);
                copy.send(piece).await?;
            }
            Ok((Kind::TableEnd, expected)) if expected.as_slice() == checksum.finalize().as_slice() => {
                break Ok(());
            }
            Ok(_) => {
                break Err(BackupError::Damaged(format!(
                    "the rows of {} are not as they were",
                    table.name
                )));
            }
            Err(error) => break Err(error),
        }
    };
    match ended {
        Ok(()) => {
            copy.finish().await?;
            Ok(())
        }
        Err(error) => {
            copy.abort("the backup is damaged").await?;
            Err(error)
        }
    }
}

/// The table and its columns, quoted.
pub(super) fn target(table: &Table) -> String {
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = table.columns.iter().map(quoted).collect();
    format!("{} ({})", quoted(&table.name), columns.join(", "))
}
