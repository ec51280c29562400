//! How long ago a node of a fleet last knew all that its control plane knew: what it says of itself while it is cut off
//! (design section 7). For operators only: nothing decides by it.

use std::time::{Duration, Instant};

use super::FeedState;

#[derive(Debug)]
pub(super) struct SyncAge {
    state: FeedState,
    /// None: not since the process started. Its state file may be of any time.
    last: Option<Instant>,
}

impl Default for SyncAge {
    fn default() -> Self {
        Self {
            state: FeedState::Away,
            last: None,
        }
    }
}

impl SyncAge {
    pub(super) fn becomes(&mut self, state: FeedState, now: Instant) {
        if self.state == FeedState::Connected {
            self.last = Some(now);
        }
        self.state = state;
    }

    pub(super) fn at(&self, now: Instant) -> Option<Duration> {
        match self.state {
            FeedState::Connected => Some(Duration::ZERO),
            FeedState::Diverged | FeedState::Away => {
                self.last.map(|last| now.saturating_duration_since(last))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_unknown_then_nothing_then_grows_from_when_the_feed_was_lost() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut age = SyncAge::default();
        age.becomes(FeedState::Away, start);
        assert_eq!(age.at(at(9)), None);
        age.becomes(FeedState::Connected, at(10));
        assert_eq!(age.at(at(500)), Some(Duration::ZERO));
        age.becomes(FeedState::Away, at(500));
        // Each failed try says so again.
        age.becomes(FeedState::Away, at(520));
        assert_eq!(age.at(at(530)), Some(Duration::from_secs(30)));
        // A control plane that knows less is nobody to be in sync with.
        age.becomes(FeedState::Diverged, at(540));
        assert_eq!(age.at(at(550)), Some(Duration::from_secs(50)));
        age.becomes(FeedState::Connected, at(560));
        assert_eq!(age.at(at(570)), Some(Duration::ZERO));
    }
}
