//! The boot-time clock, which goes on while a machine sleeps, and jumps between it and real time.
//!
//! A machine that was frozen by its host, and a clock that somebody set, look alike from here: real time is elsewhere
//! than the boot-time clock says. Whichever of them is wrong, no lease is trusted over that (promise L1).

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A moment on the boot-time clock, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Boot(pub(crate) u64);

impl Boot {
    /// No moment is later.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Now. A clock that cannot be read says that everything is over.
    pub(crate) fn now() -> Self {
        read(ClockId::CLOCK_BOOTTIME)
            .and_then(|nanos| u64::try_from(nanos).ok())
            .map_or(Self::NEVER, Self)
    }

    pub(crate) fn after(self, time: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// Nothing when it is the later one.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// How far real time is from the boot-time clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset(i128);

impl Offset {
    /// Steps smaller than this are what time daemons do; the margin of a lease is larger.
    const STEP: Duration = Duration::from_millis(100);
    /// Two clocks are not read in one instant: a pair between which this much went by says nothing.
    const CLOSE: Duration = Duration::from_millis(5);

    /// None: this thread was stopped between two readings, or there is no clock.
    pub(super) fn now() -> Option<Self> {
        let before = read(ClockId::CLOCK_BOOTTIME)?;
        let real = read(ClockId::CLOCK_REALTIME)?;
        let after = read(ClockId::CLOCK_BOOTTIME)?;
        let close = after - before < i128::try_from(Self::CLOSE.as_nanos()).unwrap_or(i128::MAX);
        close.then_some(Self(real - before))
    }

    /// By how much one clock jumped against the other since `before`.
    pub(super) fn jump_since(self, before: Self) -> Option<Duration> {
        let by = self.0.abs_diff(before.0);
        let by = Duration::from_nanos(u64::try_from(by).unwrap_or(u64::MAX));
        (by >= Self::STEP).then_some(by)
    }
}

fn read(clock: ClockId) -> Option<i128> {
    let time = clock_gettime(clock).ok()?;
    Some(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_a_jump_and_one_that_is_slewed_is_not() {
        let at = Offset(1_700_000_000_000_000_000);
        let slewed = Offset(at.0 + 500_000);
        assert_eq!(slewed.jump_since(at), None);
        for by in [-3_600_000_000_000, 250_000_000] {
            let jumped = Offset(at.0 + by).jump_since(at);
            assert_eq!(jumped, Some(Duration::from_nanos(by.unsigned_abs() as u64)));
        }
    }

    #[test]
    fn the_boot_time_clock_goes_forward() {
        let before = Boot::now();
        assert!(before < Boot::NEVER && Boot::now() >= before);
        assert_eq!(Boot(5).since(Boot(7)), Duration::ZERO);
        assert_eq!(Boot::NEVER.after(Duration::from_secs(1)), Boot::NEVER);
    }
}
