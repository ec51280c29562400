//! The fleet's routing state in this replica's memory: what nodes are sent comes from here, never from the
//! database.
//!
//! - `log`: the last revisions as stored, from which deltas are sent.
//! - `state`, `table`: what all revisions add up to.
//! - `snapshot`: the state as messages, built once for all who need it.
//! - `resolve`: where a login would go, by the same rules as on a node.
//! - `load`: all of it from the database, once, at the start.
//! - `follow`: reads the change log past the last revision; a notification only wakes it.
//!
//! A revision enters the log's tail first and the state after it, so that a hold leaves at once also while a
//! snapshot is being built from the state.

pub mod follow;
pub mod load;
pub mod log;
pub mod resolve;
pub mod snapshot;
pub mod state;
pub mod table;

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use bytes::Bytes;
use mailswitch_config::{FleetConfig, SiteName};
use mailswitch_proto::fleet::v1::{self as wire, change::Kind};
use mailswitch_proto::id::FleetId;
use mailswitch_proto::revision::{Position, Revision};
use parking_lot::RwLock;
use prost::Message as _;
use tokio::sync::{RwLock as AsyncRwLock, watch};

pub use self::load::Loaded;
use self::log::{BrokenChain, Following, Standing, Tail};
use self::snapshot::Snapshot;
use self::state::{InvalidChange, State};

/// Counts the loads of the state: a subscriber of an earlier one must start over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epoch(u64);

/// Shared by the feed, the API and the task that follows the log.
#[derive(Debug)]
pub struct Routing {
    state: Arc<AsyncRwLock<State>>,
    fleet: RwLock<FleetId>,
    tail: RwLock<Tail>,
    config: ArcSwap<FleetConfig>,
    latest: tokio::sync::Mutex<Weak<Snapshot>>,
    logged: watch::Sender<(Epoch, Position)>,
    applied: watch::Sender<(Epoch, Position)>,
}

/// A revision that cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    /// It does not continue ours.
    #[error(transparent)]
    Chain(#[from] BrokenChain),
    /// It is damaged.
    #[error(transparent)]
    Change(#[from] InvalidChange),
}

impl Routing {
    /// From the state read at the start, and the tail of the log that leads to it.
    #[must_use]
    pub fn new(Loaded { fleet, state, tail }: Loaded) -> Self {
        let position = state.position();
        Self {
            fleet: RwLock::new(fleet),
            tail: RwLock::new(tail),
            config: ArcSwap::from_pointee(config_of(&state)),
            state: Arc::new(AsyncRwLock::new(state)),
            latest: tokio::sync::Mutex::new(Weak::new()),
            logged: watch::Sender::new((Epoch::default(), position)),
            applied: watch::Sender::new((Epoch::default(), position)),
        }
    }

    /// Whose state it is. Only a restored backup changes it.
    #[must_use]
    pub fn fleet(&self) -> FleetId {
        *self.fleet.read()
    }

    /// The newest revision that nodes can be sent.
    #[must_use]
    pub fn position(&self) -> Position {
        self.logged.borrow().1
    }

    /// Counts the loads of the state.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.logged.borrow().0
    }

    /// Wakes at every new revision, and when the state was loaded anew.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<(Epoch, Position)> {
        self.logged.subscribe()
    }

    /// What follows a revision, as far as it is in memory.
    #[must_use]
    pub fn following(&self, revision: Revision) -> Following {
        self.tail.read().following(revision)
    }

    /// How a node's position compares with the log in memory.
    #[must_use]
    pub fn standing(&self, reader: Position) -> Standing {
        self.tail.read().standing(reader)
    }

    /// Waits until this replica has everything up to `revision`.
    pub async fn reached(&self, revision: Revision) {
        // The sender lives as long as `self`: the wait cannot fail.
        let _ = self
            .logged
            .subscribe()
            .wait_for(|(_, position)| position.revision >= revision)
            .await;
    }

    /// A snapshot at `at_least` or later, shared with whoever else needs one now. None when the state was loaded anew
    /// since `epoch`: who was compared with the one before must not be sent this one (promise D3).
    pub async fn snapshot(&self, epoch: Epoch, at_least: Revision) -> Option<Arc<Snapshot>> {
        let ours = |(now, position): &(Epoch, Position)| *now != epoch || position.revision >= at_least;
        // The sender lives as long as `self`: the wait cannot fail.
        let _ = self.applied.subscribe().wait_for(ours).await;
        // Held to the end: one builds it, the others share it. `replace` takes it first, too.
        let mut latest = self.latest.lock().await;
        if self.applied.borrow().0 != epoch {
            return None;
        }
        let usable = latest.upgrade().filter(|snapshot| {
            snapshot.position.revision >= at_least && self.standing(snapshot.position) == Standing::OnChain
        });
        if usable.is_some() {
            return usable;
        }
        let state = Arc::clone(&self.state).read_owned().await;
        let built = tokio::task::spawn_blocking(move || Snapshot::of(&state)).await;
        let snapshot = Arc::new(built.expect("building a snapshot does not panic, and is never aborted"));
        *latest = Arc::downgrade(&snapshot);
        Some(snapshot)
    }

    /// Reads the state: never hold it across anything that waits for the network.
    pub async fn state(&self) -> tokio::sync::RwLockReadGuard<'_, State> {
        self.state.read().await
    }

    /// The fleet's configuration, as a site that nothing was written for sees it.
    #[must_use]
    pub fn config(&self) -> Arc<FleetConfig> {
        self.config.load_full()
    }

    /// Takes in what follows in the log.
    ///
    /// # Errors
    /// When it does not follow, or is damaged. What came before it stays.
    pub async fn advance(
        &self,
        logged: impl IntoIterator<Item = (Position, Bytes)>,
    ) -> Result<(), AdvanceError> {
        for (position, payload) in logged {
            let set = wire::ChangeSet::decode(payload.clone()).map_err(|source| InvalidChange::Payload {
                revision: position.revision.0,
                source,
            })?;
            self.tail.write().push(position, payload)?;
            self.logged.send_modify(|(_, logged)| *logged = position);
            let mut state = self.state.write().await;
            state.apply(position, &set)?;
            if set.changes.iter().any(is_of_configuration) {
                self.config.store(Arc::new(config_of(&state)));
            }
            drop(state);
            self.applied.send_modify(|(_, applied)| *applied = position);
        }
        Ok(())
    }

    /// Replaces everything: the database was restored. Subscribers start over.
    pub async fn replace(&self, Loaded { fleet, state, tail }: Loaded) {
        let position = state.position();
        let mut latest = self.latest.lock().await;
        let mut current = self.state.write().await;
        *self.fleet.write() = fleet;
        *self.tail.write() = tail;
        self.config.store(Arc::new(config_of(&state)));
        *current = state;
        *latest = Weak::new();
        let anew = |(epoch, at): &mut (Epoch, Position)| (*epoch, *at) = (Epoch(epoch.0 + 1), position);
        self.applied.send_modify(anew);
        self.logged.send_modify(anew);
    }
}

fn is_of_configuration(change: &wire::Change) -> bool {
    matches!(change.kind, Some(Kind::ResourceSet(_) | Kind::ResourceRemoved(_)))
}

/// What a validator of a later version let through and ours refuses is left out here, as it is on a node.
fn config_of(state: &State) -> FleetConfig {
    FleetConfig::from_resources(
        &state.resource_list(),
        &SiteName::from(""),
        mailswitch_config::fleet::Files::Elsewhere,
    )
    .config
}

#[cfg(test)]
mod tests;
