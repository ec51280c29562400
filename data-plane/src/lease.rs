//! The node's lease (promise L1): how long it may admit armed accounts without hearing from the control plane.
//!
//! One for all that is armed here. It runs on the boot-time clock from when the node *asked*, and ends by itself: nothing
//! has to be told, written or reached for that. Whoever looks, looks at the clock, so a process that was stopped for
//! longer than its lease finds it over before it moves another byte.
//!
//! - `clock`: the boot-time clock, and jumps between it and real time.
//! - `alarm`: the thread that ends what has lapsed, on a timer of that clock. No runtime, no disk, no feed.
//! - `asking`: when to ask, and which answers count. Pure.

mod alarm;
pub(crate) mod asking;
mod clock;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mailswitch_proto::revision::Revision;

pub(crate) use alarm::{Alarm, Lapse, watch};
pub(crate) use clock::Boot;

/// What a request was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    /// When it was asked for, and the lease has run since.
    pub(crate) asked: Boot,
    /// When it lapses.
    pub(crate) until: Boot,
    /// What the node had applied when it asked.
    pub(crate) revision: Revision,
}

/// The lease.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    /// Zero: none.
    until: AtomicU64,
    revision: AtomicU64,
    /// When the last one was asked for; zero: never.
    asked: AtomicU64,
    /// None in a node that runs alone: nothing is armed there.
    alarm: OnceLock<Alarm>,
}

impl Lease {
    /// Looks at the clock.
    pub(crate) fn is_live(&self) -> bool {
        Boot::now() < self.until()
    }

    /// When it lapses, or lapsed.
    pub(crate) fn until(&self) -> Boot {
        Boot(self.until.load(Ordering::Acquire))
    }

    /// An arming that was applied here at this revision rests on it (promise L4): it was asked for behind that.
    pub(crate) fn was_asked_behind(&self, applied: Revision) -> bool {
        self.revision.load(Ordering::Acquire) >= applied.0
    }

    /// The newest grant is the lease.
    pub(crate) fn grant(&self, grant: Grant) {
        self.revision.store(grant.revision.0, Ordering::Release);
        self.asked.store(grant.asked.0, Ordering::Release);
        self.until.store(grant.until.0, Ordering::Release);
        if let Some(alarm) = self.alarm.get() {
            alarm.lease_ends(grant.until);
        }
    }

    /// It is over, whatever was granted.
    pub(crate) fn end(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// How long ago the one was asked for that was granted last.
    pub(crate) fn age(&self) -> Option<Duration> {
        match self.asked.load(Ordering::Acquire) {
            0 => None,
            asked => Some(Boot::now().since(Boot(asked))),
        }
    }

    /// Something ends then that is not the lease.
    pub(crate) fn look_at(&self, at: Boot) {
        if let Some(alarm) = self.alarm.get() {
            alarm.also_at(at);
        }
    }
}
