//! Mappings follow a new configuration, or a mapping file that was edited. Checked first, adopted as one.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::current::{Current, Opened, Setup};
use super::{Mappings, OpenError};
use crate::destinations::{Destinations, Served};
use crate::file::{Changed, Table};
use crate::store::Store;

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

impl Mappings {
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
}
