//! How one attempt of a change failed, and so whether another one is worth it.

use super::Error;
use crate::store;

/// How one attempt failed.
pub(super) enum Attempt {
    /// Another change was committed first: again.
    Overtaken,
    /// The database.
    Failed(store::Error),
    /// The connection broke at the commit of a change that has no row in the log.
    Unanswered(store::Error),
    /// There is no point in another one.
    Ended(Error),
}

impl Attempt {
    /// The commit of a change that has no row in the log.
    pub(super) fn at_the_commit(error: sqlx::Error) -> Self {
        let error = store::Error::from(error);
        match error.is_unavailable() {
            true => Self::Unanswered(error),
            false => error.into(),
        }
    }
}

impl From<store::Error> for Attempt {
    fn from(error: store::Error) -> Self {
        match error.code().as_deref() {
            // Our own "another change came first"; serialization failure, deadlock, lock timeout; and a unique violation:
            // what was looked up before is there now.
            Some("MS001" | "40001" | "40P01" | "55P03" | "23505") => Self::Overtaken,
            _ => Self::Failed(error),
        }
    }
}

impl From<sqlx::Error> for Attempt {
    fn from(error: sqlx::Error) -> Self {
        store::Error::from(error).into()
    }
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            other => Self::Ended(other),
        }
    }
}
