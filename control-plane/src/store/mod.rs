//! All SQL of the control plane, by noun: `mapping_get`, `operation_open_list`.
//!
//! Functions take a connection, so that a caller can put several into one transaction; none of them begins or
//! commits one. Nothing here decides: what is allowed is decided in `change` and `cutover`. Functions that write
//! what routes are only called with the connection of a `change::Draft` (style 12).

// Rows are tuples that are taken apart where they are read; a name for each would say nothing more.
#![allow(clippy::type_complexity)]

pub mod account;
pub mod arming;
pub mod audit;
pub mod change;
pub mod doubt;
pub mod fence;
pub mod fleet;
pub mod hold;
pub mod idempotency;
pub mod lease;
pub mod mapping;
pub mod node;
pub mod operation;
pub mod replica;
pub mod resource;
pub mod snapshot;

/// What a function here fails with: the database, or bytes in it that no version of ours has written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A row that cannot be read.
    #[error("the database holds {what} that cannot be read: {why}")]
    Corrupt {
        /// Which row.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    pub(crate) fn corrupt(what: &'static str, why: impl ToString) -> Self {
        Self::Corrupt {
            what,
            why: why.to_string(),
        }
    }

    /// The five letters with which PostgreSQL says what went wrong.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
            _ => None,
        }
    }

    /// Whether the server was not there to answer, so that asking again may help.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_)) => true,
            // Shutdown, crash recovery, start-up, a connection ended by a timeout of ours.
            Self::Database(sqlx::Error::Database(_)) => self
                .code()
                .is_some_and(|code| code.starts_with("57P") || code.starts_with("08") || code == "25P03"),
            _ => false,
        }
    }
}

/// Sixteen bytes of a column.
pub(crate) fn key(what: &'static str, bytes: &[u8]) -> Result<mailswitch_proto::identifier::Key, Error> {
    <[u8; 16]>::try_from(bytes)
        .map(mailswitch_proto::identifier::Key::from_bytes)
        .map_err(|_| Error::corrupt(what, "a key is not 16 bytes long"))
}

/// The keys of a packed column.
pub(crate) fn keys(
    what: &'static str,
    bytes: &[u8],
) -> Result<Vec<mailswitch_proto::identifier::Key>, Error> {
    mailswitch_proto::identifier::unpack(bytes)
        .map(Iterator::collect)
        .map_err(|error| Error::corrupt(what, error))
}
