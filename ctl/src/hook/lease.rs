//! When a command is renewed for, and when it must be gone (promise F6). Pure: the time is an argument.
//!
//! A lease counts from when it was *asked* for, on the boot-time clock: a laptop that was suspended finds its lease
//! over. The margins stand before the end, so that the group is dead, not dying, when the control plane stops
//! waiting.

use std::time::Duration;

/// Time since this machine was booted, suspends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(pub Duration);

impl BootTime {
    /// Of this moment.
    #[must_use]
    pub fn now() -> Self {
        match nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME) {
            Ok(time) => Self(time.into()),
            // Linux has had this clock since 2.6.39. Without it every lease is over.
            Err(_) => Self(Duration::MAX),
        }
    }
}

/// The longest that a command gets between SIGTERM and SIGKILL, and between SIGKILL and the lease's end.
const LONGEST_MARGIN: Duration = Duration::from_secs(2);

/// A lease that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    asked: BootTime,
    length: Duration,
    margin: Duration,
}

/// What has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Ask for more.
    Renew,
    /// Ask the command to end, and take no more.
    Terminate,
    /// End it.
    Kill,
}

impl Lease {
    /// From a grant: neither longer than the lease nor than what is left of the hold.
    #[must_use]
    pub fn granted(asked: BootTime, lease: Duration, until_deadline: Duration) -> Self {
        let length = lease.min(until_deadline);
        Self {
            asked,
            length,
            margin: (length / 8).min(LONGEST_MARGIN),
        }
    }

    /// The grant that follows this one. The margins never shrink: near the deadline each grant is shorter than the
    /// one before, and margins that shrank with them would end at the deadline itself.
    #[must_use]
    pub fn renewed(&self, next: Self) -> Self {
        Self {
            margin: self.margin.max(next.margin),
            ..next
        }
    }

    /// At this moment.
    #[must_use]
    pub fn due(&self, now: BootTime) -> Due {
        let spent = now.0.saturating_sub(self.asked.0);
        let margin = self.margin;
        if spent + margin >= self.length {
            Due::Kill
        } else if spent + margin * 2 >= self.length {
            Due::Terminate
        } else if spent * 3 >= self.length {
            Due::Renew
        } else {
            Due::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootTime {
        BootTime(Duration::from_millis(millis))
    }

    fn lease(asked: u64, lease: u64, until_deadline: u64) -> Lease {
        Lease::granted(
            at(asked),
            Duration::from_millis(lease),
            Duration::from_millis(until_deadline),
        )
    }

    #[test]
    fn a_lease_is_renewed_early_and_the_command_is_dead_before_its_end() {
        let lease = lease(1_000, 8_000, 60_000);
        let dues = [1_000, 3_600, 3_700, 6_900, 7_000, 7_900, 8_000, 9_000].map(|now| lease.due(at(now)));
        use Due::*;
        assert_eq!(
            dues,
            [Nothing, Nothing, Renew, Renew, Terminate, Terminate, Kill, Kill]
        );
    }

    #[test]
    fn the_deadline_ends_a_longer_lease() {
        assert_eq!(lease(0, 8_000, 1_000).due(at(900)), Due::Kill);
        assert_eq!(lease(0, 8_000, 0).due(at(0)), Due::Kill);
    }

    #[test]
    fn renewals_near_the_deadline_do_not_eat_the_margins() {
        let mut held = lease(0, 8_000, 8_000);
        for now in (0..8_000).step_by(100) {
            held = held.renewed(lease(now, 8_000, 8_000 - now));
            let due = match now {
                ..6_000 => Due::Nothing,
                6_000..7_000 => Due::Terminate,
                _ => Due::Kill,
            };
            assert_eq!(held.due(at(now)), due, "{now}");
        }
    }

    #[test]
    fn after_a_suspend_the_lease_is_over() {
        assert_eq!(lease(0, 8_000, 60_000).due(at(3_600_000)), Due::Kill);
    }
}
