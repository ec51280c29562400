//! What resolving a login gives: the destination, and the rule that chose it.

use mailswitch_admission::Lease;
use mailswitch_config::DestinationName;
use mailswitch_sources::{Found, Origin};

/// Where a login goes now, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination's name. Its endpoints are configuration: look them up when dialling.
    pub destination: DestinationName,
    /// What chose it.
    pub rule: Rule,
}

/// What chose a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A mapping of the identifier's own.
    Mapping,
    /// The mapping of its domain.
    Domain,
    /// The default destination.
    Default,
    /// A mapping, or the default, as the store of a lone node had said before it failed.
    Remembered,
    /// The default destination, because the store of a lone node fails and nothing is remembered (behaviour 10).
    StoreFailed,
    /// An HTTP route that is pinned, or its fallback.
    Route,
}

/// The answer to one look at the mapping, made for all identifiers of a session at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Admissible, there.
    Route(Route),
    /// One of its identifiers is armed (promise L1): admissible there while the lease is live, else the login waits.
    Armed(Route, Lease),
    /// One of its identifiers is held: the login waits.
    Held,
    /// Admissible, and this node runs alone: its source says where to.
    AskSource,
    /// The temporary failure, and why.
    Refused(Refusal),
}

impl Look {
    /// Where it would go, whether or not a lease admits it now.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        match self {
            Self::Route(route) | Self::Armed(route, _) => Some(route),
            Self::Held | Self::AskSource | Self::Refused(_) => None,
        }
    }

    /// What the source of a lone node said. None: the node has no source, and nothing is known.
    #[must_use]
    pub fn of(found: Option<&Found>) -> Self {
        let Some(found) = found else {
            return Self::Refused(Refusal::NotSynced);
        };
        let Some(destination) = found.destination.clone() else {
            return Self::Refused(Refusal::NoDefault);
        };
        let rule = match found.origin {
            Origin::Mapping => Rule::Mapping,
            Origin::Default => Rule::Default,
            Origin::RememberedMapping | Origin::RememberedDefault => Rule::Remembered,
            Origin::Error => Rule::StoreFailed,
        };
        Self::Route(Route { destination, rule })
    }
}

/// Why a login has no destination. Never a reason to choose one (promise A4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No table yet: no state file, a corrupt one, or none of this fleet (promise N5).
    #[error("this node has not synced with the control plane yet")]
    NotSynced,
    /// Registered anew, and not yet at that revision (promise N4).
    #[error("this node was registered anew and has not reached its registration yet")]
    NotRegistered,
    /// An operator drains the node.
    #[error("this node is drained")]
    Draining,
    /// The node said goodbye, or was about to (promise N2).
    #[error("this node has left the fleet")]
    Left,
    /// `[routing] unidentified = "refuse"`.
    #[error("the login carries no identifier, and [routing] unidentified is \"refuse\"")]
    Unidentified,
    /// `[routing] unknown = "refuse"`.
    #[error("no mapping names this identifier or its domain, and [routing] unknown is \"refuse\"")]
    Unknown,
    /// Nothing says where the rest goes.
    #[error("[routing] default_destination is not set")]
    NoDefault,
}
