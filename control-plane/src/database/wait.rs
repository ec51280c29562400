//! Waiting for a given database at the start: a control plane that comes up before its database, or with a password that
//! is put right later, starts when it can, and says until then what it waits for: on `/readyz`, and in the log. Never with the
//! password.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between tries: short at first (a database that is just being started), then kind to one that is down for long.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);

/// The log says so again although nothing changed.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What a start waits for, and what ends the wait.
#[derive(Debug, Clone, Default)]
pub struct Waiting {
    awaited: Arc<Mutex<Option<String>>>,
    /// The process is told to stop.
    pub stop: CancellationToken,
}

impl Waiting {
    /// What is waited for now, in a sentence.
    #[must_use]
    pub fn awaited(&self) -> Option<String> {
        self.awaited.lock().clone()
    }

    /// Nothing any more.
    pub(crate) fn over(&self) {
        *self.awaited.lock() = None;
    }
}

/// One start's tries.
pub(crate) struct Tries<'a> {
    waiting: &'a Waiting,
    pause: Duration,
    said: Option<Instant>,
}

/// Whether another try is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It is.
    Try,
    /// The process was told to stop.
    Stop,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(waiting: &'a Waiting) -> Self {
        Self {
            waiting,
            pause: FIRST,
            said: None,
        }
    }

    /// A try failed: says why, and waits for the next one.
    pub(crate) async fn failed(&mut self, why: &str) -> Again {
        let sentence = format!("waiting for the database: {why}");
        let news = self.waiting.awaited.lock().replace(sentence.clone()) != Some(sentence.clone());
        if news || self.said.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            tracing::warn!("{sentence}");
            self.said = Some(Instant::now());
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        tokio::select! {
            () = self.waiting.stop.cancelled() => Again::Stop,
            () = tokio::time::sleep(pause) => Again::Try,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_says_what_it_waits_for_and_a_stop_ends_the_wait() {
        let waiting = Waiting::default();
        let mut tries = Tries::new(&waiting);
        assert_eq!(tries.failed("it is down").await, Again::Try);
        assert_eq!(
            waiting.awaited().as_deref(),
            Some("waiting for the database: it is down")
        );
        waiting.stop.cancel();
        assert_eq!(tries.failed("it is down").await, Again::Stop);
        waiting.over();
        assert_eq!(waiting.awaited(), None);
    }
}
