//! The mapping file of a node that runs alone (behaviour section 10): lines of identifier and destination, loaded
//! whole. A line that cannot be used fails the load and keeps what was there, with file and line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailswitch_config::table::cutover::Cutover;
use mailswitch_config::table::mapping::MappingStore;
use mailswitch_config::{DestinationName, FleetConfig};
use mailswitch_proto::identifier::{HashKey, Identifier, InvalidIdentifier};

use super::Knowledge;
use crate::report::Report;
use crate::sessions::{Sessions, WaitPolicy};
use crate::table::{Policy, Serving, Table, TooManyDestinations};

/// A mapping file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("{}: the mapping file cannot be read: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of it cannot be used.
    #[error("{}:{line}: {wrong}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        wrong: WrongLine,
    },
    /// Only files are supported by this version.
    #[error(
        "mapping.source {0:?} is not supported by this version; write source = \"file\" or \"control-plane\""
    )]
    Store(&'static str),
}

/// What is wrong with a line. Says nothing of the identifier: it is a person's address.
#[derive(Debug, thiserror::Error)]
pub enum WrongLine {
    /// One field only.
    #[error("an identifier without a destination; write both, separated by blanks")]
    NoDestination,
    /// Not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// A destination that the configuration does not have.
    #[error("destination {name:?} is not declared; declared are: {declared}")]
    Undeclared {
        /// As written.
        name: String,
        /// What there is.
        declared: String,
    },
    /// No client could ever present it.
    #[error(transparent)]
    Identifier(#[from] InvalidIdentifier),
    /// Too many different ones.
    #[error(transparent)]
    TooMany(#[from] TooManyDestinations),
}

/// Opens the knowledge of a node that runs alone.
///
/// # Errors
/// When its mappings cannot be loaded.
pub fn open(
    fleet: FleetConfig,
    store: &MappingStore,
    waits: WaitPolicy,
    report: Arc<Report>,
) -> Result<Arc<Knowledge>, FileError> {
    let table = match store {
        MappingStore::File { path } => load(path, &fleet)?,
        MappingStore::Redis(_) => return Err(FileError::Store("redis")),
        MappingStore::Sql(_) => return Err(FileError::Store("sql")),
    };
    // Nobody holds anything in a node that runs alone: no leg is ever stuck for a hold.
    let (sessions, _stuck) = Sessions::new(table, wait_policy(waits, &fleet.cutover), report);
    Ok(Knowledge::new(sessions, fleet))
}

/// Reads the file anew. On any error nothing changes.
///
/// # Errors
/// As `open`.
pub fn reload(knowledge: &Knowledge, path: &Path) -> Result<(), FileError> {
    let table = load(path, &knowledge.config())?;
    knowledge.sessions().replace_quietly(table);
    Ok(())
}

pub(crate) fn wait_policy(waits: WaitPolicy, cutover: &Cutover) -> WaitPolicy {
    WaitPolicy {
        hold_login_timeout: cutover.hold_login_timeout,
        ..waits
    }
}

fn load(path: &Path, fleet: &FleetConfig) -> Result<Table, FileError> {
    let bytes = std::fs::read(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    // The key only has to be unknown to clients; nobody else has this table.
    let mut table = Table::empty(HashKey(rand::random()));
    table.set_policy(Policy::from(&fleet.routing));
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        map_line(&mut table, line, fleet).map_err(|wrong| FileError::Line {
            path: path.to_owned(),
            line: index + 1,
            wrong,
        })?;
    }
    table.serve(Serving::Yes);
    Ok(table)
}

/// Blank lines and comments say nothing; what follows the second field is ignored; a later line wins.
fn map_line(table: &mut Table, line: &[u8], fleet: &FleetConfig) -> Result<(), WrongLine> {
    let line = std::str::from_utf8(line).map_err(|_| WrongLine::NotUtf8)?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let mut fields = line.split_whitespace();
    let (Some(identifier), Some(destination)) = (fields.next(), fields.next()) else {
        return Err(WrongLine::NoDestination);
    };
    let Some((name, _)) = fleet.destinations.get_key_value(destination) else {
        return Err(WrongLine::Undeclared {
            name: destination.to_owned(),
            declared: fleet
                .destinations
                .keys()
                .map(DestinationName::as_str)
                .collect::<Vec<_>>()
                .join(", "),
        });
    };
    let identifier = Identifier::normalized(identifier, &fleet.normalization)?;
    let key = table.key_of(&identifier);
    table.map(key, name)?;
    Ok(())
}
