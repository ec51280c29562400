//! The mappings of a node that runs alone, as sessions and the management API see them: a source, and the cache before it.
//!
//! A login asks `route` for its destination, and `still` at each later look of its own (promise A1). A change (`put`,
//! `delete`, `reload`, `invalidate`, `adopt`) writes the source first and bumps the epoch then, so that when it has
//! returned, no look anywhere passes with what was answered before it. The caller collects sessions after that (A2).
//!
//! A source that fails chooses nobody's destination as long as an earlier answer is remembered; without one it is the
//! default destination, as the reference says (A4).

mod current;
mod error;
mod found;
mod reload;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use mailswitch_config::DestinationName;
use mailswitch_proto::identifier::{HashKey, Identifier};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::Instrument as _;

use self::current::{Current, FromCache};
use crate::cache::{Answer, Cache, Entry, Lives};
use crate::epochs::{Epoch, Epochs};
use crate::flights::Flights;
use crate::health::Health;
use crate::store::{ChangeError, Existed, Keys};

pub use self::current::Setup;
pub use self::error::{OpenError, WriteError};
pub use self::found::{Counted, Found, Origin, Removal, Seen, Stats, What};
pub use self::reload::Prepared;

/// How often a lookup that a change overtook is made anew, before its answer is given as one that no longer counts: the
/// next look of its session then asks again.
const TRIES: usize = 3;

/// Mappings, open.
#[derive(Debug)]
pub struct Mappings {
    /// Only has to be unknown to clients; nobody else has this table.
    hash: HashKey,
    epochs: Epochs,
    cache: Arc<Cache>,
    flights: Arc<Flights>,
    health: Arc<Health>,
    current: ArcSwap<Current>,
    /// One change at a time: of two writes of one identifier, the later one is what is remembered.
    changing: Arc<Mutex<()>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Mappings {
    /// Opens the source. A source that cannot be reached is an error: nobody is served with guesses.
    ///
    /// # Errors
    /// Why not.
    pub async fn open(setup: Setup<'_>) -> Result<Arc<Self>, OpenError> {
        let hash = HashKey(rand::random());
        let current = Current::open(setup, hash).await?;
        let lives = Lives {
            positive: setup.mapping.positive_ttl,
            negative: setup.mapping.negative_ttl,
        };
        Ok(Arc::new(Self {
            hash,
            epochs: Epochs::new(),
            cache: Arc::new(Cache::new(setup.mapping.cache_max_entries, lives)),
            flights: Arc::default(),
            health: Arc::default(),
            current: ArcSwap::from_pointee(current),
            changing: Arc::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }))
    }

    /// Where a login goes. Ends within `lookup_timeout`, and a moment more where changes overtake it.
    pub async fn route(&self, identifier: &Identifier, counted: Counted) -> Found {
        let keys = self.keys(identifier);
        let mut tries = TRIES;
        loop {
            // In this order: a change writes first, and bumps then.
            let epoch = self.epochs.of(keys.own);
            let current = self.current.load_full();
            let cached = self
                .cache
                .fresh(keys.own, epoch, Instant::now())
                .filter(|entry| !current.has_lost(entry));
            if tries == TRIES && counted == Counted::Login {
                let count = if cached.is_some() {
                    &self.hits
                } else {
                    &self.misses
                };
                count.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(entry) = cached {
                return current.found(&entry, FromCache::Yes);
            }
            let entry = self.look_up(identifier, keys, epoch, &current).await;
            tries -= 1;
            if tries == 0 || self.epochs.of(keys.own) == epoch {
                return current.found(&entry, FromCache::No);
            }
        }
    }

    /// A later look of a login that was answered `before`: the same as long as nothing happened, else a new answer.
    pub async fn still(&self, identifier: &Identifier, before: &Found) -> Found {
        let unchanged = before.seen.epoch == self.epochs.of(self.keys(identifier).own)
            && before.seen.generation == self.current.load().generation;
        if unchanged {
            return before.clone();
        }
        self.route(identifier, Counted::No).await
    }

    /// Where a login would go now, for an operator. Reads through the cache, and counts nothing.
    pub async fn get(&self, identifier: &Identifier) -> Found {
        self.route(identifier, Counted::No).await
    }

    /// Writes a mapping: the store, then the cache. When it returns, no look passes with what was before.
    ///
    /// # Errors
    /// Why it was not written; then nothing changes. A write whose answer did not come in time may have been made
    /// all the same: the next login reads what stands there.
    pub async fn put(
        &self,
        identifier: &Identifier,
        destination: &DestinationName,
    ) -> Result<(), WriteError> {
        let _one_at_a_time = self.changing.lock().await;
        let current = self.current.load_full();
        current.may_be_written()?;
        let Some(declared) = current.destinations.declared(destination) else {
            return Err(WriteError::Undeclared {
                name: destination.as_str().to_owned(),
                declared: current.destinations.names(),
            });
        };
        if let Some(lacks) = current.destinations.lacks(destination) {
            return Err(lacks.clone().into());
        }
        let written = current
            .store
            .put(
                identifier,
                &current.destinations,
                declared,
                current.lookup_timeout,
            )
            .await;
        self.after_change(identifier, written, |()| Answer::Named(Arc::clone(declared)))
    }

    /// Removes a mapping, as `put`.
    ///
    /// # Errors
    /// As `put`.
    pub async fn delete(&self, identifier: &Identifier) -> Result<Removal, WriteError> {
        let _one_at_a_time = self.changing.lock().await;
        let current = self.current.load_full();
        current.may_be_written()?;
        let removed = current
            .store
            .delete(identifier, &current.destinations, current.lookup_timeout)
            .await;
        let existed = self.after_change(identifier, removed, |_| Answer::Nothing)?;
        Ok(match existed {
            Existed::Yes => Removal::Removed,
            Existed::No => Removal::Absent,
        })
    }

    /// Drops what was answered.
    pub fn invalidate(&self, what: What<'_>) {
        match what {
            What::One(identifier) if identifier.is_domain_entry() => self.drop_all(),
            What::One(identifier) => {
                let key = self.keys(identifier).own;
                self.epochs.bump(key);
                self.cache.forget(key);
            }
            What::All => self.drop_all(),
        }
    }

    /// Hits, misses, entries.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries: self.cache.len(),
        }
    }

    fn keys(&self, identifier: &Identifier) -> Keys {
        Keys {
            own: self.hash.key_of(identifier.as_str()),
            domain: identifier.domain_entry().map(|domain| self.hash.key_of(domain)),
        }
    }

    async fn look_up(
        &self,
        identifier: &Identifier,
        keys: Keys,
        epoch: Epoch,
        current: &Arc<Current>,
    ) -> Entry {
        let (cache, health) = (Arc::clone(&self.cache), Arc::clone(&self.health));
        let lookup = {
            let (current, identifier) = (Arc::clone(current), identifier.clone());
            async move {
                let asked_at = Instant::now();
                let answer = current
                    .store
                    .read(&identifier, keys, current.lookup_timeout)
                    .await;
                let (answer, kind) = match answer {
                    Ok(named) => current.judge(named),
                    Err(error) => {
                        health.failed(&error);
                        return cache.learn_failure(keys.own, epoch, Instant::now());
                    }
                };
                health.answered();
                cache.learn(keys.own, epoch, answer, kind, asked_at)
            }
        };
        let span = tracing::Span::current();
        let flown = self
            .flights
            .join(keys.own, epoch, || lookup.instrument(span).boxed())
            .await;
        // Its task is gone only when the process ends, or when it panicked: that is a failure like any other.
        flown.unwrap_or_else(|| self.cache.learn_failure(keys.own, epoch, Instant::now()))
    }

    /// The store was written, or not; or nobody knows.
    fn after_change<T>(
        &self,
        identifier: &Identifier,
        change: Result<T, ChangeError>,
        stands_there: impl FnOnce(&T) -> Answer,
    ) -> Result<T, WriteError> {
        let key = self.keys(identifier).own;
        let before = self.epochs.of(key);
        let now = Instant::now();
        match change {
            Ok(done) => {
                if identifier.is_domain_entry() {
                    self.drop_all();
                } else {
                    let epoch = self.epochs.bump(key);
                    self.cache.remember(key, epoch, stands_there(&done), now);
                }
                Ok(done)
            }
            Err(ChangeError::Store(error)) => {
                let epoch = self.epochs.bump(key);
                self.cache.doubt(key, before, epoch, now);
                Err(error.into())
            }
            Err(ChangeError::CannotHold(why)) => Err(WriteError::CannotHold(why)),
            Err(ChangeError::Unusable(error)) => Err(WriteError::Conflict(error)),
            Err(ChangeError::File(error)) => Err(WriteError::File(error)),
        }
    }

    fn drop_all(&self) {
        self.epochs.bump_all();
        self.cache.forget_all();
    }
}
