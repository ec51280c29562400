//! What mappings answer: where a login goes and why, what a change came to, what was counted.

use mailswitch_config::DestinationName;
use mailswitch_proto::identifier::Identifier;

use crate::epochs::Epoch;

/// Where a login goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its destination; none: there is no default.
    pub destination: Option<DestinationName>,
    /// What chose it.
    pub origin: Origin,
    /// Whether an answer that counted was there before it was asked for.
    pub cached: bool,
    /// What has to stay for this to count.
    pub seen: Seen,
}

/// What chose a destination: `source` of `GET /mappings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A mapping.
    Mapping,
    /// A mapping that was read earlier: the store fails now.
    RememberedMapping,
    /// Nothing stands in the store, or a destination that is not declared.
    Default,
    /// As `Default`, read earlier: the store fails now.
    RememberedDefault,
    /// The store fails, and nothing is remembered: the default destination.
    Error,
}

impl Origin {
    /// `mapping`, `default` or `error`, as the management API says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mapping | Self::RememberedMapping => "mapping",
            Self::Default | Self::RememberedDefault => "default",
            Self::Error => "error",
        }
    }
}

/// The moment of a look: as long as nothing that could change the answer has happened, it is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub(super) epoch: Epoch,
    pub(super) generation: u64,
}

/// Whether a look counts as a hit or a miss: those of real logins do, once each (behaviour 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The first look of a login.
    Login,
    /// A later look of it, or an operator's question.
    No,
}

/// Of whom answers are dropped.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// Of this identifier.
    One(&'a Identifier),
    /// Of everybody.
    All,
}

/// Whether there was a mapping to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// There was.
    Removed,
    /// There was none; nothing was written.
    Absent,
}

/// Since the start of the process; reloads do not reset them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Logins whose answer was in the cache.
    pub hits: u64,
    /// Logins for which the source was asked.
    pub misses: u64,
    /// Entries now, those that are only remembered for a failing store included.
    pub entries: u64,
}

impl Stats {
    /// 100 · hits / (hits + misses); 0 when there were none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a percentage of counts")]
    pub fn hit_rate_pct(&self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            all => 100.0 * self.hits as f64 / all as f64,
        }
    }
}
