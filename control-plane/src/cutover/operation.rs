//! What is recorded of a cutover: its step, what it waits for, and how it ended. Plain values; `steps` moves them.

use chrono::{DateTime, Utc};
use mailswitch_proto::id::{AccountId, ArmingId, HoldId, InstanceId, OperationId};
use mailswitch_proto::identifier::Key;
use mailswitch_proto::revision::Revision;

use crate::store::Error;

/// One cutover or rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Which way it goes.
    pub kind: Kind,
    /// Whom it moves.
    pub subject: Subject,
    /// `--from`, as given.
    pub from_any: Vec<String>,
    /// Where the account is, and goes back to (promise F2).
    pub source: String,
    /// Where it is to go.
    pub target: String,
    /// Where it stands.
    pub step: Step,
    /// How it ended; none while it goes on.
    pub outcome: Option<Outcome>,
    /// The arming that its hold follows (promise L4), from the step `arming` on: its own, or one that was made ahead.
    pub arming: Option<ArmingId>,
    /// How long a lease is: it does not change while an operation goes on. 0 in a record of before there were leases.
    pub lease_ms: u64,
    /// What is taken as so of nodes that are fenced.
    pub fenced: FencedIs,
    /// Nodes that its flip counted by a lapse (promise L3, L4).
    pub lapsed: Vec<String>,
    /// Nodes that its flip counted by the operator's word (promise N3).
    pub taken_as_off: Vec<String>,
    /// Its hold, from the step `holding` on.
    pub hold: Option<HoldId>,
    /// At which the hold was committed.
    pub hold_revision: Option<Revision>,
    /// Of the flip or the release.
    pub end_revision: Option<Revision>,
    /// The copy under the hold.
    pub copy: Hook,
    /// The verification under the hold.
    pub verify: Hook,
    /// How long sessions may look for a quiet moment.
    pub drain_timeout_ms: u64,
    /// How long the account may be held.
    pub max_hold_ms: u64,
    /// When the hold is released, come what may. For whoever takes over: a running driver counts by its own clock.
    pub deadline: Option<DateTime<Utc>>,
    /// Who asked for its abort, in words.
    pub abort_asked: Option<String>,
    /// Of a release, in words.
    pub cause: String,
    /// Nodes without a proof.
    pub missing: Vec<String>,
    /// W3C trace context of what started it.
    pub traceparent: String,
    /// Why, for the audit log.
    pub reason: String,
    /// By whom.
    pub started_by: String,
    /// From which address.
    pub started_from: String,
    /// When it was recorded.
    pub started_at: DateTime<Utc>,
    /// When its hold was committed.
    pub held_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Who drives it.
    pub fence: Fence,
}

/// Whom an operation moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The account; none for a single identifier.
    pub account: Option<AccountId>,
    /// Its first identifier.
    pub name: String,
    /// All of them, in normal form.
    pub identifiers: Vec<String>,
    /// Their keys, in the same order.
    pub keys: Vec<Key>,
}

/// Which way an operation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Forth.
    Cutover,
    /// Back, undoing that operation.
    Rollback(OperationId),
}

/// Who drives an operation: each write checks both (promise F1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// Goes up with each takeover.
    pub term: i64,
    /// The driving replica's process: terms can come back after a failover of the database, this cannot.
    pub holder: InstanceId,
}

/// Where an operation stands (design section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Recorded; nothing is held.
    Planned,
    /// The account is armed; nodes are acknowledging it.
    Arming,
    /// The hold is committed.
    Holding,
    /// Nodes have begun to answer for it.
    Draining,
    /// Every node is quiet; the copy runs.
    Copying,
    /// The verification runs.
    Verifying,
    /// The flip is being committed.
    Flipping,
    /// On the target.
    Done,
    /// The release to the source is being committed.
    Releasing,
    /// On the source.
    Aborted,
}

/// What an operator says of nodes that are fenced (promise N3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FencedIs {
    /// Nothing: one that has not proven anything may still serve.
    #[default]
    Unsaid,
    /// `--fenced-is-off`: their machines are off.
    Off,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// On the target, proven.
    Done,
    /// On the source.
    Released,
    /// On the source, because `missing` did not prove that they are quiet.
    Unproven,
}

/// A command that runs under the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// There is none.
    None,
    /// It has to pass before the flip.
    Wanted,
    /// It has passed, for this hold.
    Passed,
}

/// Which command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookKind {
    /// `--copy`.
    Copy,
    /// `--verify`.
    Verify,
}

impl Step {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Planned, "planned"),
        (Self::Arming, "arming"),
        (Self::Holding, "holding"),
        (Self::Draining, "draining"),
        (Self::Copying, "copying"),
        (Self::Verifying, "verifying"),
        (Self::Flipping, "flipping"),
        (Self::Done, "done"),
        (Self::Releasing, "releasing"),
        (Self::Aborted, "aborted"),
    ];

    /// Its word in the database and in logs.
    #[must_use]
    pub fn text(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(step, _)| *step == self)
            .map_or("", |(_, text)| text)
    }

    /// Whether nothing follows it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Aborted)
    }

    pub(crate) fn from_text(text: &str) -> Result<Self, Error> {
        Self::ALL
            .iter()
            .find(|(_, word)| *word == text)
            .map(|(step, _)| *step)
            .ok_or_else(|| Error::corrupt("an operation's step", text))
    }
}

impl Outcome {
    /// Its word in the database and in logs.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Released => "released",
            Self::Unproven => "unproven",
        }
    }

    pub(crate) fn from_text(text: &str) -> Result<Self, Error> {
        match text {
            "done" => Ok(Self::Done),
            "released" => Ok(Self::Released),
            "unproven" => Ok(Self::Unproven),
            other => Err(Error::corrupt("an operation's outcome", other)),
        }
    }
}

impl Hook {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Wanted => "wanted",
            Self::Passed => "passed",
        }
    }

    pub(crate) fn from_text(text: &str) -> Result<Self, Error> {
        match text {
            "none" => Ok(Self::None),
            "wanted" => Ok(Self::Wanted),
            "passed" => Ok(Self::Passed),
            other => Err(Error::corrupt("an operation's command", other)),
        }
    }
}

impl HookKind {
    /// Its word on the wire and in the database.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Verify => "verify",
        }
    }

    /// From its word.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "copy" => Some(Self::Copy),
            "verify" => Some(Self::Verify),
            _ => None,
        }
    }
}
