//! The cache: what a store answered, and for how long that counts (behaviour 10).
//!
//! An entry has two lives. Until `fresh_until` it is the answer. After that, as long as nothing has invalidated it, it
//! is what is *remembered*: used when the store fails, because sending a moved account back to its old server splits
//! its mailbox. An entry of another epoch than the current one is nothing at all: it is never used, whether or not it
//! was removed yet.
//!
//! It takes the time as an argument, and never asks a store.

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::DestinationName;
use mailswitch_proto::identifier::Key;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Entries;
use tokio::time::Instant;

use crate::epochs::Epoch;

/// An answer that came of an error is asked for again after this, if not sooner (behaviour 10).
const ERROR_TTL: Duration = Duration::from_secs(5);

/// What a store said of an identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This name stands there. Whether it is declared is decided when it is used.
    Named(Arc<DestinationName>),
    /// Nothing stands there: the default destination, whichever that is when it is used.
    Nothing,
    /// The store failed, and nothing was remembered.
    Failed,
}

/// One answer, with what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) answer: Answer,
    pub(crate) epoch: Epoch,
    pub(crate) age: Age,
    pub(crate) kind: Kind,
    fresh_until: Instant,
}

/// Whether the store said it when it was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// It did.
    Current,
    /// It failed; this is what it had said before.
    Remembered,
}

/// How long answers count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lives {
    pub(crate) positive: Duration,
    pub(crate) negative: Duration,
}

/// What the destination of an answer is, for its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A declared destination.
    Positive,
    /// The default: nothing stands there, or a name that is not declared.
    Negative,
}

#[derive(Debug)]
pub(crate) struct Cache {
    entries: Entries<Key, Entry>,
    lives: Lives,
}

impl Cache {
    /// `most`: entries; the least recently used goes first, and a new one is always taken.
    pub(crate) fn new(most: u64, lives: Lives) -> Self {
        let entries = Entries::builder()
            .max_capacity(most)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { entries, lives }
    }

    /// The answer that counts now. A hit does not make it live longer.
    pub(crate) fn fresh(&self, key: Key, epoch: Epoch, now: Instant) -> Option<Entry> {
        self.entries
            .get(&key)
            .filter(|entry| entry.epoch == epoch && now < entry.fresh_until)
    }

    /// The store answered. `epoch`: read before it was asked; `asked_at`: life runs from the reading of the store.
    pub(crate) fn learn(
        &self,
        key: Key,
        epoch: Epoch,
        answer: Answer,
        kind: Kind,
        asked_at: Instant,
    ) -> Entry {
        let life = match kind {
            Kind::Positive => self.lives.positive,
            Kind::Negative => self.lives.negative,
        };
        let entry = Entry {
            answer,
            epoch,
            age: Age::Current,
            kind,
            fresh_until: later(asked_at, life),
        };
        self.entries.insert(key, entry.clone());
        entry
    }

    /// The store failed: what it said before counts for a moment, else that it failed.
    pub(crate) fn learn_failure(&self, key: Key, epoch: Epoch, now: Instant) -> Entry {
        let before = self.entries.get(&key).filter(|entry| entry.epoch == epoch);
        let (answer, kind) = before.map_or((Answer::Failed, Kind::Negative), |entry| {
            (entry.answer, entry.kind)
        });
        let age = match answer {
            Answer::Failed => Age::Current,
            Answer::Named(_) | Answer::Nothing => Age::Remembered,
        };
        let entry = Entry {
            answer,
            epoch,
            age,
            kind,
            fresh_until: later(now, ERROR_TTL.min(self.lives.negative)),
        };
        self.entries.insert(key, entry.clone());
        entry
    }

    /// We wrote it: not cached, so that the next login reads it, and remembered in case that the store cannot be read then.
    pub(crate) fn remember(&self, key: Key, epoch: Epoch, answer: Answer, now: Instant) {
        let entry = Entry {
            answer,
            epoch,
            age: Age::Current,
            // Nothing but its life depends on it, and it has none.
            kind: Kind::Negative,
            fresh_until: now,
        };
        self.entries.insert(key, entry);
    }

    /// Nobody knows what stands there now (a write whose answer did not come): it is read again, and what was known
    /// stays for when that fails.
    pub(crate) fn doubt(&self, key: Key, before: Epoch, epoch: Epoch, now: Instant) {
        match self.entries.get(&key).filter(|entry| entry.epoch == before) {
            Some(known) => self.remember(key, epoch, known.answer, now),
            None => self.forget(key),
        }
    }

    /// Frees the memory; that it is no longer used is the epoch's doing.
    pub(crate) fn forget(&self, key: Key) {
        self.entries.invalidate(&key);
    }

    /// As `forget`, of all.
    pub(crate) fn forget_all(&self) {
        self.entries.invalidate_all();
    }

    /// How many, those that are only remembered included.
    pub(crate) fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }
}

/// A life of centuries is for ever.
fn later(from: Instant, life: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(10 * 365 * 86_400);
    from + life.min(LONG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epochs::Epochs;

    const LIVES: Lives = Lives {
        positive: Duration::from_secs(600),
        negative: Duration::from_secs(30),
    };
    const KEY: Key = Key(7);

    fn named(name: &str) -> Answer {
        Answer::Named(Arc::new(DestinationName::from(name)))
    }

    /// A cache, an epoch, and a moment.
    fn begin(lives: Lives) -> (Cache, Epoch, Instant) {
        (Cache::new(100, lives), Epochs::new().of(KEY), Instant::now())
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[tokio::test]
    async fn an_answer_lives_from_the_reading_of_the_store_and_no_hit_makes_it_live_longer() {
        let (cache, epoch, start) = begin(LIVES);
        for (answer, kind, life) in [
            (named("new"), Kind::Positive, 600),
            (Answer::Nothing, Kind::Negative, 30),
            (named("nowhere"), Kind::Negative, 30),
        ] {
            cache.learn(KEY, epoch, answer.clone(), kind, start);
            for passed in (0..life).step_by(7) {
                let found = cache
                    .fresh(KEY, epoch, start + secs(passed))
                    .expect("it is a hit");
                assert_eq!(found.answer, answer);
            }
            assert!(cache.fresh(KEY, epoch, start + secs(life)).is_none());
        }
    }

    #[tokio::test]
    async fn a_life_of_zero_is_not_cached_and_one_of_centuries_is() {
        let lives = Lives {
            positive: Duration::ZERO,
            negative: Duration::MAX,
        };
        let (cache, epoch, start) = begin(lives);
        cache.learn(KEY, epoch, named("new"), Kind::Positive, start);
        assert!(cache.fresh(KEY, epoch, start).is_none());
        cache.learn(KEY, epoch, Answer::Nothing, Kind::Negative, start);
        assert!(cache.fresh(KEY, epoch, start + secs(86_400)).is_some());
    }

    #[tokio::test]
    async fn an_error_counts_for_five_seconds_or_for_the_negative_life_when_that_is_shorter() {
        for (negative, counts) in [(30, 5), (2, 2), (0, 0)] {
            let lives = Lives {
                negative: secs(negative),
                ..LIVES
            };
            let (cache, epoch, start) = begin(lives);
            let entry = cache.learn_failure(KEY, epoch, start);
            assert_eq!((entry.answer, entry.age), (Answer::Failed, Age::Current));
            if counts > 0 {
                assert!(
                    cache
                        .fresh(KEY, epoch, start + secs(counts) - Duration::from_millis(1))
                        .is_some()
                );
            }
            assert!(cache.fresh(KEY, epoch, start + secs(counts)).is_none());
        }
    }

    #[tokio::test]
    async fn mdb_an_answer_past_its_life_is_remembered_when_the_store_fails() {
        let (cache, epoch, start) = begin(LIVES);
        cache.learn(KEY, epoch, named("new"), Kind::Positive, start);
        let late = start + secs(100_000);
        for failure in 0..3 {
            let now = late + secs(failure * 10);
            assert!(cache.fresh(KEY, epoch, now).is_none(), "the store is asked again");
            let entry = cache.learn_failure(KEY, epoch, now);
            assert_eq!((entry.answer, entry.age), (named("new"), Age::Remembered));
            assert!(
                cache.fresh(KEY, epoch, now + secs(4)).is_some(),
                "not by every login"
            );
        }
        let entry = cache.learn(KEY, epoch, Answer::Nothing, Kind::Negative, late);
        assert_eq!(entry.age, Age::Current);
    }

    #[tokio::test]
    async fn an_entry_of_another_epoch_is_nothing_even_if_it_comes_late() {
        let epochs = Epochs::new();
        let cache = Cache::new(100, LIVES);
        let (before, start) = (epochs.of(KEY), Instant::now());
        cache.learn(KEY, before, named("old"), Kind::Positive, start);
        let after = epochs.bump(KEY);
        cache.forget(KEY);
        // A lookup that began before.
        cache.learn(KEY, before, named("old"), Kind::Positive, start);
        assert!(cache.fresh(KEY, after, start).is_none());
        assert_eq!(cache.learn_failure(KEY, after, start).answer, Answer::Failed);
        epochs.bump_all();
        assert!(cache.fresh(KEY, epochs.of(KEY), start).is_none());
    }
}
