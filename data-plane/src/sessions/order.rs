//! What a session is told by others. A level, not an edge: whoever asks gets the order in force, and a drain is taken
//! back when its hold ends before the session did.

use std::time::Instant;

use mailswitch_proto::id::HoldId;

/// The order in force. Ordered by force: a stronger one replaces a weaker one, never the other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Go on.
    Stay,
    /// A login in progress that was kicked: drop its leg and look again. The client has heard nothing, and is signed in
    /// where its account is now.
    Recall,
    /// End at a quiet moment (Q3), at `deadline` anyway.
    Drain {
        /// Why.
        cause: DrainCause,
        /// When it is ended without a quiet moment.
        deadline: Instant,
    },
    /// End now, with the protocol's goodbye where there is a place for it; the leg is followed to its end (Q2).
    Kick,
    /// The process goes away: as a kick.
    Shutdown,
    /// Reset the leg at once.
    Reset,
}

/// Who asks for a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainCause {
    /// The account is held.
    Hold(HoldId),
    /// The node is drained.
    Node,
}

impl Order {
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Stay => 0,
            Self::Recall => 1,
            Self::Drain { .. } => 2,
            Self::Kick => 3,
            Self::Shutdown => 4,
            Self::Reset => 5,
        }
    }

    /// The stronger of two; of two drains the earlier.
    pub(crate) fn strongest(self, other: Self) -> Self {
        match (self, other) {
            (Self::Drain { deadline: a, .. }, Self::Drain { deadline: b, .. }) => {
                if b < a {
                    other
                } else {
                    self
                }
            }
            _ if other.rank() > self.rank() => other,
            _ => self,
        }
    }
}
