//! What a configuration makes of mappings: the store that is open, what destinations there are. A reload replaces it as one.

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::table::listener::Listener;
use mailswitch_config::table::mapping::{Mapping, MappingStore};
use mailswitch_config::{DestinationName, FleetConfig};
use mailswitch_proto::identifier::{HashKey, Rules};

use super::error::{OpenError, WriteError};
use super::found::{Found, Origin, Seen};
use crate::cache::{Age, Answer, Entry, Kind};
use crate::destinations::{Destinations, Served};
use crate::file::MappingFile;
use crate::redis::Redis;
use crate::sql::Sql;
use crate::store::Store;

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

/// What a reload of the configuration replaces.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) store: Arc<Store>,
    /// What the store was opened with.
    pub(super) opened: Opened,
    pub(super) lookup_timeout: Duration,
    pub(super) destinations: Arc<Destinations>,
    /// Counts the configurations.
    pub(super) generation: u64,
}

/// What makes two stores the same: answers of one count for the other (configuration 4, reload).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    store: MappingStore,
    rules: Rules,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FromCache {
    Yes,
    No,
}

impl Opened {
    pub(super) fn by(setup: Setup<'_>) -> Self {
        Self {
            store: setup.mapping.store.clone(),
            rules: setup.fleet.identifier_rules(),
        }
    }
}

impl Current {
    pub(super) async fn open(setup: Setup<'_>, hash: HashKey) -> Result<Self, OpenError> {
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

    pub(super) fn may_be_written(&self) -> Result<(), WriteError> {
        match self.store.is_read_only() {
            true => Err(WriteError::ReadOnly),
            false => Ok(()),
        }
    }

    /// How long an answer counts depends on whether its destination is declared.
    pub(super) fn judge(&self, named: Option<DestinationName>) -> (Answer, Kind) {
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
    pub(super) fn has_lost(&self, entry: &Entry) -> bool {
        entry.kind == Kind::Positive
            && matches!(&entry.answer, Answer::Named(name) if self.destinations.declared(name).is_none())
    }

    pub(super) fn found(&self, entry: &Entry, from: FromCache) -> Found {
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
