//! Restores a backup: all of it, in one transaction, or nothing.

use std::collections::HashSet;
use std::sync::Arc;

use mailswitch_proto::id::{FleetId, InstanceId};
use mailswitch_proto::revision::Position;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection};
use tokio::io::AsyncRead;

use super::frame::{Kind, Reader};
use super::{BackupError, FORMAT, Header, OLDEST_SCHEMA, TABLES, Table, tables_of};
use crate::change::Writer;
use crate::database::SCHEMA;
use crate::store;
use crate::store::doubt::{Doubt, doubt_list, doubt_put, doubt_registered};
use crate::store::fleet::Fleet;
use crate::store::node::{Node, node_list, node_put, node_remove};

/// Whether what is in the database may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It may not: only an empty one is restored into.
    OnlyEmpty,
    /// `--replace`.
    Whatever,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Whose state.
    pub fleet: FleetId,
    /// Where the log stands now.
    pub position: Position,
    /// Why this replica will not believe the restored database after its next start; none: it will.
    pub unwritten: Option<String>,
}

/// Replaces the database's content by a backup. This replica believes the restored position from now on, also after a
/// kill; whatever else it keeps in memory is its caller's to load anew. The table of operations has no driver afterwards:
/// whoever patrols takes the open ones over.
///
/// The database has gone back in time (promise D3): every process that is registered has to say where it stands before
/// anything routes anew. Who is registered is known better by the database that is replaced than by the backup: processes
/// that were replaced or left since are not waited for, and those that came since are.
///
/// # Errors
/// See `BackupError`: nothing was changed, unless it says so.
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
    let before = Before::read(&mut txn).await?;
    if replace == Replace::OnlyEmpty && before.position != Position::NONE {
        return Err(BackupError::NotEmpty(before.position.revision));
    }
    let all = TABLES.join(", ");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "TRUNCATE {all}, idempotency, doubts"
    )))
    .execute(&mut *txn)
    .await?;
    tables(&mut reader, &mut txn, header.schema).await?;
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
    before.carry_over(&mut txn, &fleet, position).await?;
    txn.commit().await.map_err(at_the_commit)?;
    let memory = Arc::clone(writer.memory());
    let written = tokio::task::spawn_blocking(move || memory.replace(position)).await;
    // It is restored, however the connection ends.
    let _ = conn.close().await;
    Ok(Restored {
        fleet: fleet.id,
        position,
        unwritten: match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panicked) => Some(panicked.to_string()),
        },
    })
}

/// Whether it was committed is not known when nobody answered.
fn at_the_commit(error: sqlx::Error) -> BackupError {
    let error = store::Error::from(error);
    match error.is_unavailable() {
        true => BackupError::OutcomeUnknown(error),
        false => error.into(),
    }
}

/// What the database that is replaced knows of the present.
struct Before {
    fleet: Fleet,
    position: Position,
    registered: Vec<Node>,
    doubts: Vec<Doubt>,
}

impl Before {
    async fn read(conn: &mut PgConnection) -> Result<Self, BackupError> {
        let (fleet, position) = store::fleet::fleet_get(conn).await?;
        Ok(Self {
            fleet,
            position,
            registered: node_list(conn).await?,
            doubts: doubt_list(conn).await?,
        })
    }

    /// Everybody who is registered, here or in the backup of another machine's database, has to say where it stands; and
    /// who was in doubt stays so until it has spoken again.
    async fn carry_over(
        self,
        conn: &mut PgConnection,
        fleet: &Fleet,
        position: Position,
    ) -> Result<(), BackupError> {
        if self.fleet == *fleet && self.position != Position::NONE {
            let restored: HashSet<InstanceId> =
                node_list(conn).await?.iter().map(|node| node.instance).collect();
            let registered: HashSet<InstanceId> = self.registered.iter().map(|node| node.instance).collect();
            for gone in restored.difference(&registered) {
                node_remove(conn, *gone).await?;
            }
            for mut node in self.registered {
                if !restored.contains(&node.instance) {
                    node.registered = node.registered.min(position.revision);
                    node_put(conn, &node).await?;
                }
            }
            for doubt in self.doubts {
                doubt_put(conn, &Doubt { at: None, ..doubt }).await?;
            }
        }
        doubt_registered(conn).await?;
        Ok(())
    }
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
    schema: i32,
) -> Result<(), BackupError> {
    let mut left: Vec<&str> = tables_of(schema).to_vec();
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
