//! When to try again: exponential, with full jitter, so that a fleet that lost its control plane does not come back
//! as one.

use std::time::Duration;

use rand::{Rng, RngExt as _};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// The pauses between attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    up_to: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { up_to: FIRST }
    }
}

impl Backoff {
    /// The next pause: anything up to a bound that doubles.
    pub(super) fn pause(&mut self, random: &mut impl Rng) -> Duration {
        let up_to = self.up_to;
        self.up_to = (up_to * 2).min(LONGEST);
        random.random_range(Duration::ZERO..=up_to)
    }

    /// A stream stands.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds_and_are_spread() {
        let mut backoff = Backoff::default();
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let pauses: Vec<_> = (0..200).map(|_| backoff.pause(&mut random)).collect();
        assert!(pauses[0] <= FIRST);
        let late = &pauses[8..];
        assert!(late.iter().all(|pause| *pause <= LONGEST));
        assert!(late.iter().any(|pause| *pause > LONGEST / 2));
        assert!(late.iter().any(|pause| *pause < LONGEST / 2));
        backoff.reset();
        assert!(backoff.pause(&mut random) <= FIRST);
    }
}
