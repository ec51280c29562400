//! Backup and restore of all that a fleet is: a logical dump of our own, read at one instant, restored in one transaction.
//!
//! A file is a sequence of frames: a letter, a length, so many bytes (`frame`). The first says which format, schema,
//! fleet and revision it is; then each table with its rows as `COPY` writes them and their SHA-256; the last closes it with
//! the SHA-256 of everything before. A restored database has gone back in time (promise D3): whoever is ahead of it finds
//! out by the digest chain.

mod dump;
mod frame;
mod restore;

use mailswitch_proto::id::FleetId;
use mailswitch_proto::revision::{Digest, Position, Revision};
use serde::{Deserialize, Serialize};

pub use dump::dump;
pub use restore::{Replace, Restored, restore};

use crate::store;

/// Of the frames, and of what the first one says.
const FORMAT: u32 = 1;

/// The oldest schema whose backups are read: what later ones added has a default.
const OLDEST_SCHEMA: i32 = 1;

/// In the order in which they are restored: what is referred to comes first. Heartbeats and duties are of processes, not
/// of the fleet.
const TABLES: [&str; 20] = [
    "fleet",
    "changes",
    "revisions",
    "resources",
    "mappings",
    "accounts",
    "account_identifiers",
    "account_addresses",
    "nodes",
    "operations",
    "holds",
    "held_identifiers",
    "hold_acks",
    "hold_stuck",
    "hooks",
    "audit",
    "armings",
    "armed_identifiers",
    "arming_acks",
    "fences",
];

/// Those that a backup of this schema has: `armings` and what follows came with schema 3.
fn tables_of(schema: i32) -> &'static [&'static str] {
    match schema {
        ..3 => &TABLES[..16],
        _ => &TABLES,
    }
}

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Of the file.
    pub format: u32,
    /// Of the database.
    pub schema: i32,
    /// The program that wrote it.
    pub version: String,
    /// Whose state.
    pub fleet: uuid::Uuid,
    /// At which revision.
    pub revision: u64,
    /// The digest there, in hex.
    pub digest: String,
    /// When.
    pub made_at: chrono::DateTime<chrono::Utc>,
}

/// A table's name and columns: a later schema may have more of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    name: String,
    columns: Vec<String>,
}

impl Header {
    fn new(fleet: FleetId, position: Position) -> Self {
        Self {
            format: FORMAT,
            schema: crate::database::SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fleet: fleet.uuid(),
            revision: position.revision.0,
            digest: hex(position.digest.as_bytes()),
            made_at: chrono::Utc::now(),
        }
    }

    fn is_at(&self, position: Position) -> bool {
        Revision(self.revision) == position.revision && self.digest == hex(position.digest.as_bytes())
    }
}

/// Why a backup was not made, or not restored. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The file, or the connection that it comes or goes through.
    #[error("the backup could not be read or written: {0}")]
    Io(#[from] std::io::Error),
    /// It is something else.
    #[error("this is no backup of mailswitch")]
    NoBackup,
    /// Not all of it is there, or not as it was written.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// Another format or schema.
    #[error(
        "the backup has format {found_format} and schema {found_schema} (mailswitch {version}), and this program reads \
         format {FORMAT} and schema {OLDEST_SCHEMA} to {}: restore it with that version, and upgrade then",
        crate::database::SCHEMA
    )]
    OtherVersion {
        /// Of the file.
        found_format: u32,
        /// Of the database that it is of.
        found_schema: i32,
        /// That wrote it.
        version: String,
    },
    /// The connection broke at the very end.
    #[error("the database went away at the commit, and it is not known whether the backup was restored: {0}")]
    OutcomeUnknown(#[source] store::Error),
    /// There is something in the database.
    #[error("the database is not empty: it is at revision {0}; give --replace to lose what is in it")]
    NotEmpty(Revision),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest that a header names.
impl TryFrom<&Header> for Position {
    type Error = BackupError;

    fn try_from(header: &Header) -> Result<Self, BackupError> {
        let damaged = || BackupError::Damaged("its digest is none".to_owned());
        let mut bytes = [0; 32];
        if header.digest.len() != 64 || !header.digest.is_ascii() {
            return Err(damaged());
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&header.digest[at..at + 2], 16).map_err(|_| damaged())?;
        }
        Ok(Self {
            revision: Revision(header.revision),
            digest: Digest::from(bytes),
        })
    }
}
