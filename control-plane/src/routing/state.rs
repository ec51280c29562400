//! The whole routing state of the fleet at one revision: mappings, armings, holds, and the tables of the configuration.
//!
//! It is what the change sets of the log add up to: `apply` is the one function that changes it, for the load at
//! the start as for each delta after it. A kind of change that this replica does not know parks its keys, and a
//! snapshot built from here passes them on without a kind, so that nodes hold them (promise N7).

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use mailswitch_config::{Resource, ResourceKey};
use mailswitch_proto::fleet::v1::{self as wire, change::Kind};
use mailswitch_proto::id::{ArmingId, HoldId, InvalidId};
use mailswitch_proto::identifier::{HashKey, InvalidKeys, Key, unpack};
use mailswitch_proto::revision::{Position, Revision};

use super::table::{Table, TooManyDestinations};

/// Mappings, holds and resources at one revision.
#[derive(Debug, Clone)]
pub struct State {
    position: Position,
    hash_key: HashKey,
    table: Table,
    holds: HashMap<HoldId, HeldKeys>,
    held: HashMap<Key, HoldId>,
    armings: HashMap<ArmingId, ArmedKeys>,
    parked: HashSet<Key>,
    resources: BTreeMap<ResourceKey, String>,
    changed: HashMap<String, Revision>,
}

/// One hold in force: what the log said of it, and whom it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldKeys {
    /// Packed.
    pub keys: Bytes,
    /// As it stands in the log.
    pub held: wire::Held,
}

/// One arming in force: what the log said of it, and whom it arms.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmedKeys {
    /// Packed.
    pub keys: Bytes,
    /// As it stands in the log.
    pub armed: wire::Armed,
}

/// A change set of the log that cannot be what a writer wrote.
#[derive(Debug, thiserror::Error)]
pub enum InvalidChange {
    /// The payload is no `ChangeSet`.
    #[error("the change set of revision {revision} cannot be decoded")]
    Payload {
        /// Where.
        revision: u64,
        /// Why.
        #[source]
        source: prost::DecodeError,
    },
    /// A column of keys is cut short.
    #[error(transparent)]
    Keys(#[from] InvalidKeys),
    /// A hold, or an arming, without an id.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The table is full of names.
    #[error(transparent)]
    Destinations(#[from] TooManyDestinations),
}

impl State {
    /// A fleet to which nothing was said yet, or the start of a load.
    #[must_use]
    pub fn empty(hash_key: HashKey) -> Self {
        Self {
            position: Position::NONE,
            hash_key,
            table: Table::default(),
            holds: HashMap::new(),
            held: HashMap::new(),
            armings: HashMap::new(),
            parked: HashSet::new(),
            resources: BTreeMap::new(),
            changed: HashMap::new(),
        }
    }

    /// What is to be at `position`: `changes` start from nothing.
    ///
    /// # Errors
    /// When one of them is damaged.
    pub fn load<'a>(
        position: Position,
        hash_key: HashKey,
        changes: impl IntoIterator<Item = &'a wire::Change>,
    ) -> Result<Self, InvalidChange> {
        Self::empty(hash_key).loaded(position, changes)
    }

    /// The same, on top of what a load has put in already.
    pub(super) fn loaded<'a>(
        mut self,
        position: Position,
        changes: impl IntoIterator<Item = &'a wire::Change>,
    ) -> Result<Self, InvalidChange> {
        for change in changes {
            self.apply_one(change)?;
        }
        self.position = position;
        Ok(self)
    }

    /// Applies one revision.
    ///
    /// # Errors
    /// When a change is damaged; the state is then no longer to be used.
    pub fn apply(&mut self, position: Position, set: &wire::ChangeSet) -> Result<(), InvalidChange> {
        for change in &set.changes {
            self.apply_one(change)?;
            if let Some(key) = resource_of(change) {
                self.changed.insert(key.to_string(), position.revision);
            }
        }
        self.position = position;
        Ok(())
    }

    /// While loading: these keys go there.
    ///
    /// # Errors
    /// When the table is full of names.
    pub(super) fn map(
        &mut self,
        keys: impl IntoIterator<Item = Key>,
        destination: &str,
    ) -> Result<(), TooManyDestinations> {
        self.table.map(keys, destination)
    }

    /// Where this state stands in the log.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The key of the table hash.
    #[must_use]
    pub const fn hash_key(&self) -> HashKey {
        self.hash_key
    }

    /// The mappings.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The holds in force.
    pub fn holds(&self) -> impl Iterator<Item = (&HoldId, &HeldKeys)> {
        self.holds.iter()
    }

    /// The hold that holds this key.
    #[must_use]
    pub fn hold_of(&self, key: Key) -> Option<HoldId> {
        self.held.get(&key).copied()
    }

    /// The armings in force.
    pub fn armings(&self) -> impl Iterator<Item = (&ArmingId, &ArmedKeys)> {
        self.armings.iter()
    }

    /// True when a change that this replica does not understand touched the key.
    #[must_use]
    pub fn is_parked(&self, key: Key) -> bool {
        self.parked.contains(&key)
    }

    /// The keys touched by changes that this replica does not understand.
    pub fn parked(&self) -> impl Iterator<Item = &Key> {
        self.parked.iter()
    }

    /// The tables of the fleet's configuration, as JSON.
    #[must_use]
    pub const fn resources(&self) -> &BTreeMap<ResourceKey, String> {
        &self.resources
    }

    /// The same, as the configuration is made of them.
    #[must_use]
    pub fn resource_list(&self) -> Vec<Resource> {
        let all = self.resources.iter();
        all.map(|(key, body)| Resource {
            key: key.clone(),
            body: body.clone(),
        })
        .collect()
    }

    /// At which revision a resource (`destination.legacy`) was last set or removed, as far as it was seen here.
    #[must_use]
    pub fn resource_changed(&self, name: &str) -> Option<Revision> {
        self.changed.get(name).copied()
    }

    fn apply_one(&mut self, change: &wire::Change) -> Result<(), InvalidChange> {
        let keys = unpack(&change.keys)?;
        match &change.kind {
            Some(Kind::Mapped(mapped)) => self.table.map(keys, &mapped.destination)?,
            Some(Kind::Unmapped(wire::Unmapped {})) => self.table.unmap(keys),
            Some(Kind::Held(held)) => self.hold(keys, &change.keys, held)?,
            Some(Kind::Flipped(wire::Flipped {
                hold, destination, ..
            }))
            | Some(Kind::Released(wire::Released {
                hold, destination, ..
            })) => {
                self.end_hold(HoldId::try_from(hold.as_slice())?);
                self.table.map(keys, destination)?;
            }
            Some(Kind::ResourceSet(set)) => {
                let key = resource_key(&set.kind, &set.name, &set.site);
                self.resources.insert(key, set.body.clone());
            }
            Some(Kind::ResourceRemoved(removed)) => {
                let key = resource_key(&removed.kind, &removed.name, &removed.site);
                self.resources.remove(&key);
            }
            Some(Kind::Armed(armed)) => {
                let armed_keys = ArmedKeys {
                    keys: change.keys.clone(),
                    armed: armed.clone(),
                };
                self.armings
                    .insert(ArmingId::try_from(armed.arming.as_slice())?, armed_keys);
            }
            Some(Kind::Disarmed(wire::Disarmed { arming })) => {
                self.armings.remove(&ArmingId::try_from(arming.as_slice())?);
            }
            None => self.parked.extend(keys),
        }
        Ok(())
    }

    fn hold(
        &mut self,
        keys: impl Iterator<Item = Key>,
        packed: &Bytes,
        held: &wire::Held,
    ) -> Result<(), InvalidChange> {
        let id = HoldId::try_from(held.hold.as_slice())?;
        self.held.extend(keys.map(|key| (key, id)));
        let hold = HeldKeys {
            keys: packed.clone(),
            held: held.clone(),
        };
        self.holds.insert(id, hold);
        Ok(())
    }

    fn end_hold(&mut self, id: HoldId) {
        let Some(ended) = self.holds.remove(&id) else {
            return;
        };
        for key in unpack(&ended.keys).into_iter().flatten() {
            if self.held.get(&key) == Some(&id) {
                self.held.remove(&key);
            }
        }
    }
}

fn resource_of(change: &wire::Change) -> Option<ResourceKey> {
    match &change.kind {
        Some(Kind::ResourceSet(set)) => Some(resource_key(&set.kind, &set.name, &set.site)),
        Some(Kind::ResourceRemoved(removed)) => {
            Some(resource_key(&removed.kind, &removed.name, &removed.site))
        }
        _ => None,
    }
}

fn resource_key(kind: &str, name: &str, site: &str) -> ResourceKey {
    ResourceKey {
        kind: kind.to_owned(),
        name: name.to_owned(),
        site: site.to_owned(),
    }
}

#[cfg(test)]
mod tests;
