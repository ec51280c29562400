//! What a driver counts on its own clock: the deadline of its hold, the leases since it saw that hold, the moment that nodes have
//! for an arming, and the commands that `mailswitchctl` runs. One that takes over counts anew (promise L3).

use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;

use super::HOOK_LEASE;
use super::clock::BootTime;
use super::operation::{HookKind, Operation, Step};
use super::proof::{Leases, leases_after, wait_of};

/// How often an operation is looked at although nothing woke its driver.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// How long connected nodes are waited for when an account was armed: some milliseconds are usual. One that does not say so
/// in time costs no more than that its lapse cannot be counted (promise L4).
const ARMING: Duration = Duration::from_secs(1);

/// What is counted on this process's own clock.
#[derive(Default)]
pub(super) struct Clock {
    deadline: Option<Instant>,
    /// When the arming was first seen here.
    armed: Option<Instant>,
    /// When the hold was first seen committed, on the clock that leases run on: by this driver, so that one that takes over
    /// waits anew (promise L3).
    held: Option<BootTime>,
    lease: Duration,
    hook: Option<(HookKind, u64, Instant)>,
}

impl Clock {
    /// The hold was committed just now, by this driver.
    pub(super) fn begin_hold(&mut self, operation: &Operation) {
        self.deadline = Some(Instant::now() + Duration::from_millis(operation.max_hold_ms));
        self.held = BootTime::now().ok();
    }

    /// After a takeover, the time that is left is what the record says, and never more than the whole; and leases are waited
    /// for from now on.
    pub(super) fn follow(&mut self, operation: &Operation) {
        if operation.step == Step::Arming {
            self.armed.get_or_insert_with(Instant::now);
        }
        if operation.hold.is_some() && self.held.is_none() {
            self.held = BootTime::now().ok();
        }
        if operation.lease_ms > 0 {
            self.lease = Duration::from_millis(operation.lease_ms);
        }
        if let (None, Some(deadline)) = (self.deadline, operation.deadline) {
            let left = (deadline - Utc::now()).to_std().unwrap_or(Duration::ZERO);
            self.deadline = Some(Instant::now() + left.min(Duration::from_millis(operation.max_hold_ms)));
        }
    }

    pub(super) fn arming_is_over(&self) -> bool {
        self.armed.is_some_and(|since| since.elapsed() >= ARMING)
    }

    /// Since this driver saw the hold committed.
    pub(super) fn waited(&self) -> Duration {
        self.held.map_or(Duration::ZERO, BootTime::elapsed)
    }

    pub(super) fn leases(&self, operation: &Operation) -> Leases {
        leases_after(self.waited(), Duration::from_millis(operation.lease_ms))
    }

    /// The next thing that time brings about: the deadline, the end of the leases, the end of the moment for armings.
    pub(super) fn until_something(&self) -> Duration {
        let deadline = self
            .deadline
            .map(|at| at.saturating_duration_since(Instant::now()));
        let leases = self
            .held
            .map(|_| wait_of(self.lease).saturating_sub(self.waited()));
        let arming = match self.held {
            Some(_) => None,
            None => self.armed.map(|since| ARMING.saturating_sub(since.elapsed())),
        };
        let times = [deadline, leases, arming].into_iter().flatten();
        // What is over already has been looked at.
        times.filter(|time| !time.is_zero()).min().unwrap_or(LOOK)
    }

    pub(super) fn deadline_is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Counted from when this process saw the last renewal, with a margin of a quarter.
    pub(super) fn hook_lapsed(&mut self, kind: HookKind, renewals: u64) -> bool {
        match self.hook {
            Some((known, count, since)) if known == kind && count == renewals => {
                since.elapsed() > HOOK_LEASE * 5 / 4
            }
            _ => {
                self.hook = Some((kind, renewals, Instant::now()));
                false
            }
        }
    }
}
