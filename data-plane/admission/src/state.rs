//! Where a login stands. A value, not an object: `step` consumes one and returns the next.

/// A login's state. `D` names a destination and is compared, never interpreted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State<D> {
    /// The stage.
    pub stage: Stage<D>,
    /// Whether it may still go back to resolve.
    pub patience: Patience,
    /// Which check is the last one.
    pub last_check: LastCheck,
}

/// How a login takes it that its account moves under it. By time, not by count: each time back costs somebody a change (a
/// kick, a mapping, a hold), so that a loop of passwords is no faster than those, and fifty moves in a row fail nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Patience {
    /// It goes back as often as it has to.
    Left,
    /// It has gone back for as long as a login may: the next check that fails is the last.
    Over,
}

/// Until when what was sent can be taken back without anybody noticing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LastCheck {
    /// A login: the client hears of it only after the backend's OK, so there is a check between the two (A1).
    BeforeTelling,
    /// An HTTP request: the credential is part of what it asks for, and a backend may have done that before it answers.
    /// Once it has left its answer is relayed (A3).
    BeforeCredentials,
}

/// The stages, in the order of A1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Stage<D> {
    /// Registered under every identifier; a look is due. No leg.
    Registered,
    /// Its account is held. No leg, so it does not count for the hold (Q4).
    Waiting,
    /// The leg is being connected, secured, greeted, and told who the client is.
    Dialling {
        /// Where to.
        to: D,
    },
    /// The handshake is done; the check before credentials is due.
    Ready {
        /// Where to.
        to: D,
    },
    /// Credentials have left.
    Authenticating {
        /// Where to.
        to: D,
    },
    /// The backend said OK, the client does not know; the check before telling it is due.
    Accepted {
        /// Where to.
        to: D,
    },
    /// The client knows. Bytes move.
    Bridged {
        /// Where to.
        to: D,
    },
    /// The leg was half-closed and is read until the backend's own end.
    Ending {
        /// What follows.
        then: Then,
    },
    /// Unregistered.
    Ended,
}

impl<D> Stage<D> {
    /// Whether a backend leg exists, or is being made.
    #[must_use]
    pub fn has_leg(&self) -> bool {
        !matches!(self, Self::Registered | Self::Waiting | Self::Ended)
    }
}

/// What follows the end of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Then {
    /// Resolve again: the client has heard nothing yet.
    LookAgain,
    /// Leave: the client has its answer, or is gone.
    Unregister,
}
