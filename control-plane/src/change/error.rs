//! Why a change was not made.

use mailswitch_proto::id::OperationId;
use mailswitch_proto::revision::Position;

use super::doubt;
use crate::store;
use crate::store::doubt::Doubt;

/// What `Writer::commit` fails with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It may not be done; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database, before anything was committed.
    #[error("the database: {0}; nothing was changed")]
    Store(#[from] store::Error),
    /// Other changes came first, again and again; nothing changed.
    #[error("other changes were committed first {0} times; nothing was changed: try again")]
    Busy(u32),
    /// The connection broke at the commit, and how it ended was not found out: why not.
    #[error("the database went away at the commit, and it is not known whether the change was made: {0}")]
    OutcomeUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is in the database is not what this replica has seen there (promise D3).
    #[error(
        "the database has gone back in time: this replica has seen revision {} ({}), and the database is at {} ({}): \
         no routing write is made",
        .seen.revision, .seen.digest, .found.revision, .found.digest
    )]
    WentBack {
        /// The highest that this replica has seen.
        seen: Position,
        /// What the database says.
        found: Position,
    },
    /// Processes know, or may know, more than the database (promise D3).
    #[error("{}", doubt::sentence(.0).unwrap_or_default())]
    Doubted(Vec<Doubt>),
    /// Another process drives the operation, or it is no longer where its driver thought (promise F1).
    #[error("operation {0} is driven by another process, or has moved on")]
    NotOurs(OperationId),
    /// An answer that was kept under an idempotency key cannot be read.
    #[error("the answer kept under the idempotency key cannot be read: {0}")]
    Kept(#[source] serde_json::Error),
}

impl Error {
    /// What came after a commit failed: that nothing was changed cannot be said any more (promise F3).
    #[must_use]
    pub fn after_the_commit(self) -> Self {
        match self {
            Self::OutcomeUnknown(_) => self,
            // Without its "nothing was changed".
            Self::Store(error) => Self::OutcomeUnknown(Box::new(error)),
            other => Self::OutcomeUnknown(Box::new(other)),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A change that may not be made. It is an answer, not a fault: it is not logged as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct Refusal {
    /// From which the exit code follows.
    pub kind: RefusalKind,
    /// What is in the way, of what.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// The nodes that it names.
    pub nodes: Vec<String>,
    /// What is wrong with each part of what was asked: the first of them.
    pub details: Vec<Detail>,
    /// How many there are.
    pub details_total: u64,
}

/// What is wrong with one row of what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// Which row, counted from 1.
    pub row: u64,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// Why, for the exit code of `mailswitchctl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// What was asked makes no sense: exit 1.
    Invalid,
    /// Something is in the way: exit 3.
    Precondition,
    /// Nodes cannot be asked: exit 7.
    Unproven,
}

impl Refusal {
    /// What was asked makes no sense.
    #[must_use]
    pub fn invalid(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, what, remedy)
    }

    /// Something is in the way.
    #[must_use]
    pub fn precondition(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(RefusalKind::Precondition, what, remedy)
    }

    /// Nodes did not say what has to be known.
    #[must_use]
    pub fn unproven(what: impl Into<String>, remedy: impl Into<String>, nodes: Vec<String>) -> Self {
        Self {
            nodes,
            ..Self::new(RefusalKind::Unproven, what, remedy)
        }
    }

    /// With what is wrong with each part of what was asked, and how many there are.
    #[must_use]
    pub fn with_details(self, details: Vec<Detail>, total: u64) -> Self {
        Self {
            details,
            details_total: total,
            ..self
        }
    }

    fn new(kind: RefusalKind, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            remedy: remedy.into(),
            nodes: Vec::new(),
            details: Vec::new(),
            details_total: 0,
        }
    }
}
