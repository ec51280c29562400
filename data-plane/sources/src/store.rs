//! The stores, seen alike: read one mapping, write one, remove one.

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::DestinationName;
use mailswitch_proto::identifier::{Identifier, Key};

use crate::destinations::Destinations;
use crate::file::{FileError, MappingFile};
use crate::redis::Redis;
use crate::sql::Sql;

/// A store that is open.
#[derive(Debug)]
pub(crate) enum Store {
    File(MappingFile),
    Redis(Redis),
    Sql(Sql),
}

/// Why a store gave no answer, or did not take a change. Shows no password, and no login.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not answer in time.
    #[error("the mapping store did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// It is not there, or does not let us in.
    #[error("the mapping store cannot be reached: {0}")]
    Unreachable(String),
    /// It answered with an error.
    #[error("the mapping store refused: {0}")]
    Refused(String),
    /// What it answered is not the name of a destination.
    #[error("the mapping store answered what is no name of a destination: {0}")]
    Answer(String),
}

/// Why a change was not made.
#[derive(Debug)]
pub(crate) enum ChangeError {
    /// A line could not be read back.
    CannotHold(&'static str),
    /// The file was edited, and cannot be used.
    Unusable(FileError),
    /// It could not be read or written; nothing changed.
    File(FileError),
    /// The store failed: the change may have been made all the same.
    Store(StoreError),
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Whether a mapping was there to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existed {
    Yes,
    No,
}

/// The keys under which a table holds what routes an identifier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    pub(crate) own: Key,
    /// Of the mapping of its domain.
    pub(crate) domain: Option<Key>,
}

// The futures of drivers are boxed: they are large, and they would be part of every session's.
impl Store {
    /// What stands there. Bounded by `within`.
    pub(crate) async fn read(
        &self,
        identifier: &Identifier,
        keys: Keys,
        within: Duration,
    ) -> Result<Option<DestinationName>, StoreError> {
        match self {
            Self::File(file) => Ok(file.get(keys)),
            Self::Redis(redis) => Box::pin(redis.get(identifier, within)).await,
            Self::Sql(sql) => Box::pin(sql.get(identifier, within)).await,
        }
    }

    pub(crate) async fn put(
        &self,
        identifier: &Identifier,
        destinations: &Destinations,
        destination: &Arc<DestinationName>,
        within: Duration,
    ) -> Result<(), ChangeError> {
        match self {
            Self::File(file) => file.put(identifier, destination, destinations).await,
            Self::Redis(redis) => Ok(Box::pin(redis.put(identifier, destination, within)).await?),
            Self::Sql(sql) => Ok(Box::pin(sql.put(identifier, destination, within)).await?),
        }
    }

    pub(crate) async fn delete(
        &self,
        identifier: &Identifier,
        destinations: &Destinations,
        within: Duration,
    ) -> Result<Existed, ChangeError> {
        match self {
            Self::File(file) => file.delete(identifier, destinations).await,
            Self::Redis(redis) => Ok(Box::pin(redis.delete(identifier, within)).await?),
            Self::Sql(sql) => Ok(Box::pin(sql.delete(identifier, within)).await?),
        }
    }

    /// Nothing can be written to it.
    pub(crate) fn is_read_only(&self) -> bool {
        match self {
            Self::File(_) | Self::Redis(_) => false,
            Self::Sql(sql) => sql.is_read_only(),
        }
    }
}
