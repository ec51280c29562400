//! The proof that a backend leg is over (Q2). It can be made only by following a leg to its end, and nothing leaves
//! the registry without it once it has dialled.

/// A leg is over.
#[derive(Debug)]
#[must_use]
pub struct LegIsOver {
    how: End,
}

/// How a leg ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The backend's own end was read after ours was sent.
    BackendClosed,
    /// By order, or because it had not closed for long and no hold waited for it: linger 0.
    Reset,
    /// HTTP: the answer is complete, and the connection went on to another request of the same account, which was
    /// registered before this one left.
    HandedOn,
    /// The dial was given up before credentials were sent, or failed.
    NeverStood,
}

impl LegIsOver {
    pub(super) const fn by(how: End) -> Self {
        Self { how }
    }

    /// No leg stood: there was no dial, it failed, or it was given up before credentials.
    pub(crate) const fn never_stood() -> Self {
        Self::by(End::NeverStood)
    }

    /// The leg is another session's now. That one has to be registered for the same accounts.
    pub(crate) const fn handed_on() -> Self {
        Self::by(End::HandedOn)
    }

    /// How it ended.
    #[must_use]
    pub fn how(&self) -> End {
        self.how
    }
}
