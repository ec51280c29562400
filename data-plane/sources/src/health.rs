//! A store that fails is said when it begins, every so often while it lasts, and when it is over; not once per login.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::store::StoreError;

/// Between two lines while a store fails.
const SAY_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Health {
    failing: Mutex<Option<Failing>>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    said_at: Instant,
    lookups: u64,
}

impl Health {
    pub(crate) fn failed(&self, error: &StoreError) {
        let now = Instant::now();
        let mut failing = self.failing.lock();
        match failing.as_mut() {
            None => {
                *failing = Some(Failing {
                    since: now,
                    said_at: now,
                    lookups: 1,
                });
                tracing::warn!(
                    error = said(error),
                    "the mapping store failed: who was looked up before goes where that said, everybody else to the default destination"
                );
            }
            Some(known) => {
                known.lookups += 1;
                if now.duration_since(known.said_at) < SAY_AGAIN {
                    tracing::debug!(error = said(error), "the mapping store failed again");
                    return;
                }
                known.said_at = now;
                tracing::warn!(
                    error = said(error),
                    lookups = known.lookups,
                    secs = now.duration_since(known.since).as_secs(),
                    "the mapping store still fails"
                );
            }
        }
    }

    pub(crate) fn answered(&self) {
        if let Some(failing) = self.failing.lock().take() {
            tracing::info!(
                lookups = failing.lookups,
                secs = failing.since.elapsed().as_secs(),
                "the mapping store answers again"
            );
        }
    }
}

/// With its causes.
fn said(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
