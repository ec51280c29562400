//! The mappings of a node that runs alone, as sessions and the management API see them: a source, and the cache before it.
//!
//! A login asks `route` for its destination, and `still` at each later look of its own (promise A1). A change (`put`,
//! `delete`, `reload`, `invalidate`, `adopt`) writes the source first and bumps the epoch then, so that when it has
//! returned, no look anywhere passes with what was answered before it. The caller collects sessions after that (A2).
//!
//! A source that fails chooses nobody's destination as long as an earlier answer is remembered; without one it is the
//! default destination, as the reference says (A4).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use mailswitch_config::table::listener::Listener;
use mailswitch_config::table::mapping::{Mapping, MappingStore};
use mailswitch_config::{DestinationName, FleetConfig};
use mailswitch_proto::identifier::{HashKey, Identifier, Rules};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::cache::{Age, Answer, Cache, Entry, Kind, Lives};
use crate::destinations::{Destinations, Served, Uncovered};
use crate::epochs::{Epoch, Epochs};
use crate::file::{Changed, FileError, MappingFile, Table};
use crate::flights::Flights;
use crate::health::Health;
use crate::redis::Redis;
use crate::sql::Sql;
use crate::store::{ChangeError, Existed, Keys, Store, StoreError};

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

/// What a reload of the configuration replaces.
#[derive(Debug)]
struct Current {
    store: Arc<Store>,
    /// What the store was opened with.
    opened: Opened,
    lookup_timeout: Duration,
    destinations: Arc<Destinations>,
    /// Counts the configurations.
    generation: u64,
}

/// What makes two stores the same: answers of one count for the other (configuration 4, reload).
#[derive(Debug, PartialEq, Eq)]
struct Opened {
    store: MappingStore,
    rules: Rules,
}

/// What mappings are opened with.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// `[mapping]`.
    pub mapping: &'a Mapping,
    /// What destinations there are.
    pub fleet: &'a FleetConfig,
    /// Those that are served: a mapping must lead to where their protocols are (V18).
    pub listeners: &'a [Listener],
}

/// A configuration that mappings can follow: it was checked, and its store answers. `Mappings::adopt` takes it; until then,
/// or until this is dropped, no mapping is changed.
#[derive(Debug)]
#[must_use = "nothing changes before `Mappings::adopt`"]
pub struct Prepared {
    current: Current,
    store: PreparedStore,
    _no_change_meanwhile: OwnedMutexGuard<()>,
}

#[derive(Debug)]
enum PreparedStore {
    /// Another one: nothing that was answered counts.
    Another,
    /// The same.
    TheSame,
    /// The same file, read anew.
    File(Table),
}

/// Where a login goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its destination; none: there is no default.
    pub destination: Option<DestinationName>,
    /// What chose it.
    pub origin: Origin,
    /// Whether an answer that counted was there before it was asked for.
    pub cached: bool,
    /// What has to stay for this to count.
    pub seen: Seen,
}

/// What chose a destination: `source` of `GET /mappings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A mapping.
    Mapping,
    /// A mapping that was read earlier: the store fails now.
    RememberedMapping,
    /// Nothing stands in the store, or a destination that is not declared.
    Default,
    /// As `Default`, read earlier: the store fails now.
    RememberedDefault,
    /// The store fails, and nothing is remembered: the default destination.
    Error,
}

impl Origin {
    /// `mapping`, `default` or `error`, as the management API says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mapping | Self::RememberedMapping => "mapping",
            Self::Default | Self::RememberedDefault => "default",
            Self::Error => "error",
        }
    }

    /// The store fails now.
    #[must_use]
    pub const fn is_of_a_failing_store(self) -> bool {
        matches!(
            self,
            Self::RememberedMapping | Self::RememberedDefault | Self::Error
        )
    }
}

/// The moment of a look: as long as nothing that could change the answer has happened, it is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    epoch: Epoch,
    generation: u64,
}

/// Whether a look counts as a hit or a miss: those of real logins do, once each (behaviour 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The first look of a login.
    Login,
    /// A later look of it, or an operator's question.
    No,
}

/// Of whom answers are dropped.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// Of this identifier.
    One(&'a Identifier),
    /// Of everybody.
    All,
}

/// Whether there was a mapping to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// There was.
    Removed,
    /// There was none; nothing was written.
    Absent,
}

/// Since the start of the process; reloads do not reset them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Logins whose answer was in the cache.
    pub hits: u64,
    /// Logins for which the source was asked.
    pub misses: u64,
    /// Entries now, those that are only remembered for a failing store included.
    pub entries: u64,
}

impl Stats {
    /// 100 · hits / (hits + misses); 0 when there were none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a percentage of counts")]
    pub fn hit_rate_pct(&self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            all => 100.0 * self.hits as f64 / all as f64,
        }
    }
}

/// Mappings that cannot be opened, or not anew. What was there before stays.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Their file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Their store.
    #[error("mapping.{section}: {source}")]
    Store {
        /// `redis` or `sql`.
        section: &'static str,
        /// Why.
        source: StoreError,
    },
}

/// A change that was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// 501: there are no statements to write with.
    #[error("this store is read-only: mapping.sql has no upsert_query and delete_query")]
    ReadOnly,
    /// 400: no destination of this name.
    #[error("destination {name:?} is not declared; declared are: {declared}")]
    Undeclared {
        /// As given.
        name: String,
        /// What there is.
        declared: String,
    },
    /// 400: clients of a protocol would get nowhere.
    #[error(transparent)]
    Uncovered(#[from] Uncovered),
    /// 400: a line of the file could not be read back.
    #[error("the mapping file cannot hold this: {0}")]
    CannotHold(&'static str),
    /// 409: the file was edited, and cannot be used as it is now.
    #[error("the mapping file was edited and cannot be used, so nothing was written: {0}")]
    Conflict(#[source] FileError),
    /// 500: the file could not be read or written.
    #[error(transparent)]
    File(FileError),
    /// 500: the store.
    #[error(transparent)]
    Store(#[from] StoreError),
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

    /// Reads the mapping file anew; of the other sources there is nothing to read. Answers whose mapping changed are
    /// dropped, all others stay.
    ///
    /// # Errors
    /// The file cannot be used; what was loaded before stays.
    pub async fn reload(&self) -> Result<(), OpenError> {
        let _one_at_a_time = self.changing.lock().await;
        let current = self.current.load_full();
        match &*current.store {
            Store::File(file) => {
                let table = file.read(&current.destinations).await?;
                self.drop_answers(&file.replace(table));
                Ok(())
            }
            Store::Redis(_) | Store::Sql(_) => Ok(()),
        }
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

    /// Checks a new configuration, and opens its store where that is another one. Nothing changes yet.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn prepare(&self, setup: Setup<'_>) -> Result<Prepared, OpenError> {
        let guard = Arc::clone(&self.changing).lock_owned().await;
        let before = self.current.load_full();
        if before.opened != Opened::by(setup) {
            return Ok(Prepared {
                current: Current::open(setup, self.hash).await?,
                store: PreparedStore::Another,
                _no_change_meanwhile: guard,
            });
        }
        let destinations = Destinations::of(setup.fleet, &Served::by(setup.listeners));
        let store = match &*before.store {
            Store::File(file) => PreparedStore::File(file.read(&destinations).await?),
            Store::Redis(_) | Store::Sql(_) => PreparedStore::TheSame,
        };
        let current = Current {
            store: Arc::clone(&before.store),
            opened: Opened::by(setup),
            lookup_timeout: setup.mapping.lookup_timeout,
            destinations: Arc::new(destinations),
            generation: 0,
        };
        Ok(Prepared {
            current,
            store,
            _no_change_meanwhile: guard,
        })
    }

    /// Follows a new configuration. Logins that are under way look again; answers stay, unless the store is another one.
    /// How long answers live, and how many, stays as it was at the start.
    pub fn adopt(&self, prepared: Prepared) {
        let generation = self.current.load().generation + 1;
        let store = Arc::clone(&prepared.current.store);
        self.current.store(Arc::new(Current {
            generation,
            ..prepared.current
        }));
        match (prepared.store, &*store) {
            (PreparedStore::Another, _) => self.drop_all(),
            (PreparedStore::File(table), Store::File(file)) => self.drop_answers(&file.replace(table)),
            (PreparedStore::TheSame | PreparedStore::File(_), _) => {}
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

    fn drop_answers(&self, changed: &Changed) {
        match changed {
            Changed::Keys(keys) => {
                for key in keys {
                    self.epochs.bump(*key);
                    self.cache.forget(*key);
                }
            }
            Changed::Perhaps => self.drop_all(),
        }
    }

    fn drop_all(&self) {
        self.epochs.bump_all();
        self.cache.forget_all();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FromCache {
    Yes,
    No,
}

impl Opened {
    fn by(setup: Setup<'_>) -> Self {
        Self {
            store: setup.mapping.store.clone(),
            rules: setup.fleet.identifier_rules(),
        }
    }
}

impl Current {
    async fn open(setup: Setup<'_>, hash: HashKey) -> Result<Self, OpenError> {
        let destinations = Destinations::of(setup.fleet, &Served::by(setup.listeners));
        let store = match &setup.mapping.store {
            MappingStore::File { path } => Store::File(
                MappingFile::load(
                    path.clone(),
                    setup.fleet.normalization.clone(),
                    hash,
                    &destinations,
                )
                .await?,
            ),
            MappingStore::Redis(settings) => {
                let opened = Redis::open(settings, setup.mapping.lookup_timeout).await;
                Store::Redis(opened.map_err(|source| OpenError::Store {
                    section: "redis",
                    source,
                })?)
            }
            MappingStore::Sql(settings) => {
                let opened = Sql::open(settings, setup.mapping.lookup_timeout).await;
                Store::Sql(opened.map_err(|source| OpenError::Store {
                    section: "sql",
                    source,
                })?)
            }
        };
        Ok(Self {
            store: Arc::new(store),
            opened: Opened::by(setup),
            lookup_timeout: setup.mapping.lookup_timeout,
            destinations: Arc::new(destinations),
            generation: 0,
        })
    }

    fn may_be_written(&self) -> Result<(), WriteError> {
        match self.store.is_read_only() {
            true => Err(WriteError::ReadOnly),
            false => Ok(()),
        }
    }

    /// How long an answer counts depends on whether its destination is declared.
    fn judge(&self, named: Option<DestinationName>) -> (Answer, Kind) {
        let Some(name) = named.filter(|name| !name.as_str().is_empty()) else {
            return (Answer::Nothing, Kind::Negative);
        };
        match self.destinations.declared(&name) {
            Some(declared) => (Answer::Named(Arc::clone(declared)), Kind::Positive),
            None => {
                tracing::warn!(
                    destination = %name,
                    "the mapping store names a destination that is not declared: the default destination is used"
                );
                (Answer::Named(Arc::new(name)), Kind::Negative)
            }
        }
    }

    /// Its destination was declared when it was read, and is not any more.
    fn has_lost(&self, entry: &Entry) -> bool {
        entry.kind == Kind::Positive
            && matches!(&entry.answer, Answer::Named(name) if self.destinations.declared(name).is_none())
    }

    fn found(&self, entry: &Entry, from: FromCache) -> Found {
        let named = match &entry.answer {
            Answer::Named(name) => self.destinations.declared(name),
            Answer::Nothing | Answer::Failed => None,
        };
        let origin = match (named, entry.age, &entry.answer) {
            (_, _, Answer::Failed) => Origin::Error,
            (Some(_), Age::Current, _) => Origin::Mapping,
            (Some(_), Age::Remembered, _) => Origin::RememberedMapping,
            (None, Age::Current, _) => Origin::Default,
            (None, Age::Remembered, _) => Origin::RememberedDefault,
        };
        Found {
            destination: named
                .map(|name| DestinationName::clone(name))
                .or_else(|| self.destinations.default.clone()),
            origin,
            cached: from == FromCache::Yes,
            seen: Seen {
                epoch: entry.epoch,
                generation: self.generation,
            },
        }
    }
}
