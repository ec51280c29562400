//! Why mappings are not opened, and why a change is not made: each with what the management API answers.

use crate::destinations::Uncovered;
use crate::file::FileError;
use crate::store::StoreError;

/// Mappings that cannot be opened, or not anew. What was there before stays.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Their file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Their store.
    #[error("mapping.{section}: {source}")]
    Store {
        /// `redis` or `sql`.
        section: &'static str,
        /// Why.
        source: StoreError,
    },
}

/// A change that was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// 501: there are no statements to write with.
    #[error("this store is read-only: mapping.sql has no upsert_query and delete_query")]
    ReadOnly,
    /// 400: no destination of this name.
    #[error("destination {name:?} is not declared; declared are: {declared}")]
    Undeclared {
        /// As given.
        name: String,
        /// What there is.
        declared: String,
    },
    /// 400: clients of a protocol would get nowhere.
    #[error(transparent)]
    Uncovered(#[from] Uncovered),
    /// 400: a line of the file could not be read back.
    #[error("the mapping file cannot hold this: {0}")]
    CannotHold(&'static str),
    /// 409: the file was edited, and cannot be used as it is now.
    #[error("the mapping file was edited and cannot be used, so nothing was written: {0}")]
    Conflict(#[source] FileError),
    /// 500: the file could not be read or written.
    #[error(transparent)]
    File(FileError),
    /// 500: the store.
    #[error(transparent)]
    Store(#[from] StoreError),
}
