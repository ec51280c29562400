//! The boot-time clock of this machine: it runs on while the machine is suspended (promise L3). Nothing else may decide
//! when a lease is over.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A moment on the boot-time clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// Now.
    ///
    /// # Errors
    /// The kernel's: it has had this clock since 2.6.39.
    pub fn now() -> Result<Self, nix::Error> {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
        Ok(Self(now.into()))
    }

    /// How long ago it is. Nothing when the clock cannot be read: then nobody has waited.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().map_or(Duration::ZERO, |now| now.0.saturating_sub(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_go_back() {
        let before = BootTime::now().unwrap();
        assert!(BootTime::now().unwrap() >= before);
    }
}
