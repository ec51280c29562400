//! What can happen to a login.

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event<D> {
    /// The answer to `Action::Look`, made now: never one that was remembered.
    Looked(View<D>),
    /// The leg stands, up to the point where credentials could be sent.
    Dialled,
    /// There is no leg.
    DialFailed,
    /// The backend answered the credentials.
    BackendAnswered(Answer),
    /// A hold on one of its identifiers was applied, or the node drains: the session counts until its leg is over.
    Recalled,
    /// The lease under which its armed account was admitted lapsed (L1), or the node is fenced (N3): its leg is reset.
    Lapsed,
    /// It has been going back to resolve for as long as a login may be kept from its bridge by that.
    Unsettled,
    /// The hold that it waits on ended, or may have.
    HoldEnded,
    /// It waited for `hold_login_timeout`, or there is no room to wait (A5).
    WaitedTooLong,
    /// Kicked, or the process goes away.
    Cancelled,
    /// The client hung up before it was told anything.
    ClientGone,
    /// The bridge stopped: one side closed, it was idle too long, or it ended at a quiet moment.
    BridgeEnded,
    /// The backend's own end of the leg was read, or the leg was reset where a reset is enough (Q2).
    LegOver,
    /// The backend did not close within its time (Q2).
    LegStuck,
}

/// What a look at the mapping shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View<D> {
    /// The account is admissible there.
    Route(D),
    /// The account is held.
    Held,
    /// No destination: policy, a node that has not synced, a node that drains. Never a reason to choose one (A4).
    Refused,
    /// An armed account (promise L1): admissible there while the node's lease is live, held once it has lapsed.
    Armed(D, Lease),
}

impl<D: PartialEq> View<D> {
    /// The check of A1: the mapping is the one that was resolved, and the lease of an armed account is live.
    pub(crate) fn admits(&self, resolved: &D) -> bool {
        match self {
            Self::Route(to) | Self::Armed(to, Lease::Live) => to == resolved,
            Self::Held | Self::Refused | Self::Armed(_, Lease::Lapsed) => false,
        }
    }

    /// A leg that stands has lost the lease that it stands under.
    pub(crate) fn is_lapsed(&self) -> bool {
        matches!(self, Self::Armed(_, Lease::Lapsed))
    }
}

/// The node's lease, seen from an armed account (L1, L3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lease {
    /// It runs.
    Live,
    /// It lapsed, or was never granted.
    Lapsed,
}

/// What the backend made of the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It let the client in.
    Accepted,
    /// It did not.
    Refused,
    /// It fell silent, closed, or sent what is no answer.
    Unusable,
}
