//! The mapping file of a node that runs alone (behaviour section 10): lines of identifier and destination, loaded
//! whole. A line that cannot be used fails the load and keeps what was there, with file and line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailswitch_config::mapping_file::{self, Mistake};
use mailswitch_config::node::Alone;
use mailswitch_config::table::cutover::Cutover;
use mailswitch_config::table::mapping::MappingStore;
use mailswitch_config::{DestinationName, FleetConfig};
use mailswitch_proto::identifier::HashKey;

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
        line: u32,
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
    /// It cannot be read.
    #[error("{}", in_words(.0))]
    Mistake(Mistake),
    /// A destination that the configuration does not have.
    #[error("destination {name:?} is not declared; declared are: {declared}")]
    Undeclared {
        /// As written.
        name: String,
        /// What there is.
        declared: String,
    },
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

/// Mappings that were read and not yet taken.
#[derive(Debug)]
#[must_use = "nothing has changed yet"]
pub struct Prepared(Table);

/// Reads the mappings of a new configuration.
///
/// # Errors
/// As `open`.
pub fn prepare(alone: &Alone) -> Result<Prepared, FileError> {
    let table = match &alone.mapping.store {
        MappingStore::File { path } => load(path, &alone.fleet)?,
        MappingStore::Redis(_) => return Err(FileError::Store("redis")),
        MappingStore::Sql(_) => return Err(FileError::Store("sql")),
    };
    Ok(Prepared(table))
}

/// Takes them.
pub fn adopt(knowledge: &Knowledge, Prepared(table): Prepared) {
    knowledge.sessions().replace_quietly(table);
}

pub(crate) fn wait_policy(waits: WaitPolicy, cutover: &Cutover) -> WaitPolicy {
    WaitPolicy {
        hold_login_timeout: cutover.hold_login_timeout,
        first_lease: cutover.lease,
        ..waits
    }
}

fn load(path: &Path, fleet: &FleetConfig) -> Result<Table, FileError> {
    let bytes = std::fs::read(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let wrong = |line, wrong| FileError::Line {
        path: path.to_owned(),
        line,
        wrong,
    };
    let file = mapping_file::parse(&bytes, &fleet.normalization);
    for problem in file.problems {
        if problem.mistake.is_fatal() {
            return Err(wrong(problem.line, WrongLine::Mistake(problem.mistake)));
        }
        tracing::warn!(file = %path.display(), line = problem.line, "in the mapping file: {}", in_words(&problem.mistake));
    }
    // The key only has to be unknown to clients; nobody else has this table.
    let mut table = Table::empty(HashKey(rand::random()));
    table.set_policy(Policy::from(&fleet.routing));
    for entry in file.entries {
        if !fleet.destinations.contains_key(&entry.destination) {
            let undeclared = WrongLine::Undeclared {
                name: entry.destination.to_string(),
                declared: fleet
                    .destinations
                    .keys()
                    .map(DestinationName::as_str)
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            return Err(wrong(entry.line, undeclared));
        }
        let key = table.key_of(&entry.identifier);
        table
            .map(key, &entry.destination)
            .map_err(|too_many| wrong(entry.line, too_many.into()))?;
    }
    table.serve(Serving::Yes);
    Ok(table)
}

fn in_words(mistake: &Mistake) -> String {
    match mistake {
        Mistake::OneField => {
            "an identifier without a destination; write both, separated by blanks".to_owned()
        }
        Mistake::NotUtf8 => "the line is not UTF-8".to_owned(),
        Mistake::Identifier(invalid) => {
            format!("{invalid}; no client can present it, and the line is left out")
        }
        Mistake::UpperCase => "upper case is lowered, as mapping.normalize says".to_owned(),
    }
}
