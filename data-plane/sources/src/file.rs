//! The mapping file (behaviour 10): lines of identifier and destination, loaded whole. A file with a line that cannot be
//! used is not used at all: what was loaded before stays, and the error names file and line.
//!
//! What is in memory is what was loaded and what was written through us. A hand edit takes effect at a reload, not by
//! the way when somebody else's mapping is written; but it is never lost: every write starts from what is on the disk.

mod replace;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailswitch_config::DestinationName;
use mailswitch_config::mapping_file::edit::{self, Edit};
use mailswitch_config::mapping_file::{self, MappingFile as Parsed, Mistake};
use mailswitch_proto::identifier::{HashKey, Identifier, Normalization};
use parking_lot::RwLock;

pub(crate) use self::table::{Changed, Table};
use crate::destinations::{Destinations, Uncovered};
use crate::store::{ChangeError, Existed, Keys};
use replace::Snapshot;

/// The file changed under a write this often: whoever does that writes faster than we read.
const TRIES: usize = 5;

/// A mapping file that cannot be used, or not be written.
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
    /// It could not be written; it is as it was.
    #[error("{}: the mapping file cannot be written: {source}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else writes it all the time.
    #[error("{}: the mapping file changes while it is written; nothing was written", path.display())]
    Restless {
        /// Which file.
        path: PathBuf,
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
}

/// What is wrong with a line. Says nothing of the identifier: it is a person's address.
#[derive(Debug, thiserror::Error)]
pub enum WrongLine {
    /// It cannot be read.
    #[error("{}", in_words(.0))]
    Mistake(Mistake),
    /// A destination that the configuration does not have (V17).
    #[error("destination {name:?} is not declared; declared are: {declared}")]
    Undeclared {
        /// As written.
        name: String,
        /// What there is.
        declared: String,
    },
    /// A destination where clients of a protocol would get nowhere (V18).
    #[error(transparent)]
    Uncovered(Uncovered),
    /// Too many different ones.
    #[error("more than {} destinations are named", u16::MAX)]
    TooMany,
}

/// A mapping file that is loaded.
#[derive(Debug)]
pub(crate) struct MappingFile {
    path: PathBuf,
    normalization: Normalization,
    hash: HashKey,
    table: RwLock<Table>,
}

impl MappingFile {
    pub(crate) async fn load(
        path: PathBuf,
        normalization: Normalization,
        hash: HashKey,
        destinations: &Destinations,
    ) -> Result<Self, FileError> {
        let file = Self {
            path,
            normalization,
            hash,
            table: RwLock::new(Table::default()),
        };
        let table = file.read(destinations).await?;
        file.replace(table);
        Ok(file)
    }

    pub(crate) fn get(&self, keys: Keys) -> Option<DestinationName> {
        let table = self.table.read();
        let named = table
            .get(keys.own)
            .or_else(|| keys.domain.and_then(|domain| table.get(domain)));
        named.map(|name| DestinationName::clone(name))
    }

    /// What the file says now.
    pub(crate) async fn read(&self, destinations: &Destinations) -> Result<Table, FileError> {
        let path = self.path.clone();
        let bytes = off_the_runtime(move || Snapshot::read(&path)).await?.bytes;
        let parsed = mapping_file::parse(&bytes, &self.normalization);
        self.check(&parsed, destinations)?;
        for problem in &parsed.problems {
            tracing::warn!(file = %self.path.display(), line = problem.line, "in the mapping file: {}", in_words(&problem.mistake));
        }
        let mut table = Table::default();
        for entry in &parsed.entries {
            let key = self.hash.key_of(entry.identifier.as_str());
            table
                .insert(key, &entry.destination, entry.identifier.is_domain_entry())
                .map_err(|_too_many| self.wrong(entry.line, WrongLine::TooMany))?;
        }
        Ok(table)
    }

    /// Puts a table in the place of the one before, and says whose mapping is another one now.
    pub(crate) fn replace(&self, table: Table) -> Changed {
        let mut current = self.table.write();
        let changed = current.differs_from(&table);
        *current = table;
        changed
    }

    pub(crate) async fn put(
        &self,
        identifier: &Identifier,
        destination: &Arc<DestinationName>,
        destinations: &Destinations,
    ) -> Result<(), ChangeError> {
        edit::can_hold(identifier, destination).map_err(ChangeError::CannotHold)?;
        self.change(identifier, Edit::Put(destination.as_str()), destinations)
            .await?;
        let key = self.hash.key_of(identifier.as_str());
        let inserted = self
            .table
            .write()
            .insert(key, destination, identifier.is_domain_entry());
        inserted.map_err(|_too_many| ChangeError::File(self.wrong(0, WrongLine::TooMany)))
    }

    pub(crate) async fn delete(
        &self,
        identifier: &Identifier,
        destinations: &Destinations,
    ) -> Result<Existed, ChangeError> {
        let on_disk = self.change(identifier, Edit::Remove, destinations).await?;
        let in_memory = self.table.write().remove(self.hash.key_of(identifier.as_str()));
        // What an editor has removed already, and no reload has told us, is removed now.
        Ok(if in_memory == Existed::Yes {
            Existed::Yes
        } else {
            on_disk
        })
    }

    /// Applies one change to what is on the disk now.
    async fn change(
        &self,
        identifier: &Identifier,
        edit: Edit<'_>,
        destinations: &Destinations,
    ) -> Result<Existed, ChangeError> {
        for _ in 0..TRIES {
            let path = self.path.clone();
            let before = off_the_runtime(move || Snapshot::read(&path))
                .await
                .map_err(ChangeError::File)?;
            let parsed = mapping_file::parse(&before.bytes, &self.normalization);
            self.check(&parsed, destinations).map_err(ChangeError::Unusable)?;
            let edited = edit::apply(&before.bytes, &parsed, identifier, edit);
            let Some(bytes) = edited else {
                return Ok(Existed::No);
            };
            let written = off_the_runtime(move || before.replace_by(&bytes)).await;
            match written {
                Ok(replace::Outcome::Replaced) => return Ok(Existed::Yes),
                // An editor was faster: its content is what the change applies to.
                Ok(replace::Outcome::ChangedMeanwhile) => {}
                Err(error) => return Err(ChangeError::File(error)),
            }
        }
        Err(ChangeError::File(FileError::Restless {
            path: self.path.clone(),
        }))
    }

    fn check(&self, parsed: &Parsed, destinations: &Destinations) -> Result<(), FileError> {
        if let Some(problem) = parsed.problems.iter().find(|problem| problem.mistake.is_fatal()) {
            return Err(self.wrong(problem.line, WrongLine::Mistake(problem.mistake)));
        }
        for entry in &parsed.entries {
            let name = &entry.destination;
            if destinations.declared(name).is_none() {
                let undeclared = WrongLine::Undeclared {
                    name: name.to_string(),
                    declared: destinations.names(),
                };
                return Err(self.wrong(entry.line, undeclared));
            }
            if let Some(lacks) = destinations.lacks(name) {
                return Err(self.wrong(entry.line, WrongLine::Uncovered(lacks.clone())));
            }
        }
        Ok(())
    }

    fn wrong(&self, line: u32, wrong: WrongLine) -> FileError {
        FileError::Line {
            path: self.path.clone(),
            line,
            wrong,
        }
    }
}

/// Files are read and written where nobody waits for them but who asked.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The runtime ends, or it panicked.
        Err(error) => Err(FileError::Read {
            path: Path::new("").to_owned(),
            source: std::io::Error::other(error),
        }),
    }
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
