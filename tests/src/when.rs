//! Waiting for conditions, and the clock that the backends' logs use (local time, microseconds).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

/// Microseconds since the Unix epoch, as in the logs of the backends (which are told to write in UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    #[must_use]
    pub fn plus(self, more: Duration) -> Self {
        Self(self.0 + u64::try_from(more.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Calls `look` until it has something, for at most `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if begun.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same for a condition.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    eventually(what, limit, || holds().then_some(()))
}
