//! The mapping table of a node: complete, in memory, and answering without any network (design section 4).
//!
//! It holds keys (a keyed hash), never identifiers. It is a plain value: no lock, no clock; whoever owns it decides
//! when it changes. Applying the same changes in the same order gives the same table on every node.
//!
//! - `packed`: the entries, 18 bytes each and the room that a hash table needs.
//! - `holds`: what bars an account.
//! - `armings`: what makes an account need the node's lease.
//! - `apply`: a committed change becomes a new state, and the effects that sessions have to follow.
//! - `snapshot`: the table as a list of changes that starts from nothing, and back.

mod apply;
mod armings;
mod holds;
mod packed;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use mailswitch_config::table::routing::{OnUnknown, Routing};
use mailswitch_config::{DestinationName, Resource, ResourceKey};
use mailswitch_proto::id::{ArmingId, FleetId, HoldId};
use mailswitch_proto::identifier::{HashKey, Identifier, Key};
use mailswitch_proto::revision::{Position, Revision};

pub use apply::{Effect, Rejection};
pub use armings::Arming;
pub use holds::{Kind, Record};
pub use snapshot::{Builder, InvalidSnapshot};

use crate::route::{Look, Refusal, Route, Rule};
use crate::sessions::ActingFor;
use armings::Armings;
use holds::Bars;
use packed::{Packed, Slot};

/// The table.
#[derive(Debug)]
pub struct Table {
    hash_key: HashKey,
    fleet: Option<FleetId>,
    position: Position,
    names: Names,
    entries: Packed,
    bars: Bars,
    armings: Armings,
    resources: BTreeMap<ResourceKey, Resource>,
    policy: Policy,
    serving: Serving,
    mappings: WhereMappingsAre,
}

/// Who says where an identifier goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhereMappingsAre {
    /// This table: it is complete.
    Here,
    /// The source of a node that runs alone.
    InASource,
}

/// What becomes of logins that no mapping names: `[routing]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// `default_destination`.
    pub default_destination: Option<DestinationName>,
    /// `unidentified`.
    pub unidentified: OnUnknown,
    /// `unknown`.
    pub unknown: OnUnknown,
}

impl From<&Routing> for Policy {
    fn from(routing: &Routing) -> Self {
        Self {
            default_destination: routing.default_destination.clone(),
            unidentified: routing.unidentified,
            unknown: routing.unknown,
        }
    }
}

/// Whether the table may be used to admit anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// Nothing is known (N5).
    NotSynced,
    /// Only at or after this revision: the node was registered there (N4).
    From(Revision),
    /// As it is.
    Yes,
}

impl Table {
    /// A table that knows nothing and serves nobody.
    #[must_use]
    pub fn empty(hash_key: HashKey) -> Self {
        Self {
            hash_key,
            fleet: None,
            position: Position::NONE,
            names: Names::default(),
            entries: Packed::default(),
            bars: Bars::default(),
            armings: Armings::default(),
            resources: BTreeMap::new(),
            policy: Policy::from(&Routing::default()),
            serving: Serving::NotSynced,
            mappings: WhereMappingsAre::Here,
        }
    }

    /// The table of a node that runs alone: it knows no mappings, its source does.
    #[must_use]
    pub fn of_a_lone_node(hash_key: HashKey, policy: Policy) -> Self {
        Self {
            policy,
            serving: Serving::Yes,
            mappings: WhereMappingsAre::InASource,
            ..Self::empty(hash_key)
        }
    }

    /// Whether anybody is served from it at all.
    ///
    /// # Errors
    /// Why not.
    pub fn serves(&self) -> Result<(), Refusal> {
        match self.serving {
            Serving::NotSynced => Err(Refusal::NotSynced),
            Serving::From(revision) if self.position.revision < revision => Err(Refusal::NotRegistered),
            Serving::From(_) | Serving::Yes => Ok(()),
        }
    }

    /// What one session may do now: for all identifiers that it acts for at once. The first one routes it.
    #[must_use]
    pub fn look(&self, acting_for: &ActingFor) -> Look {
        if let Err(refusal) = self.serves() {
            return Look::Refused(refusal);
        }
        if acting_for
            .identifiers()
            .iter()
            .any(|identifier| self.hold_on(identifier).is_some())
        {
            return Look::Held;
        }
        if let Some(destination) = acting_for.destination() {
            return Look::Route(Route {
                destination: destination.clone(),
                rule: Rule::Route,
            });
        }
        match acting_for.routed_by() {
            Some(identifier) => self.route(identifier),
            None if self.policy.unidentified == OnUnknown::Refuse => Look::Refused(Refusal::Unidentified),
            None => self.default_route(),
        }
    }

    /// What bars this identifier: a hold of its own, or of its domain's mapping when it follows that.
    #[must_use]
    pub fn hold_on(&self, identifier: &Identifier) -> Option<HoldId> {
        if self.bars.is_empty() {
            return None;
        }
        let key = self.key_of(identifier);
        if let Some(hold) = self.bars.on(key) {
            return Some(hold);
        }
        if self.entries.get(key).is_some() {
            return None;
        }
        self.bars.on(self.hash_key.key_of(identifier.domain_entry()?))
    }

    /// All that bars somebody, as `hold_on` finds it.
    pub(crate) fn holds_on(&self, acting_for: &ActingFor) -> Vec<HoldId> {
        if self.bars.is_empty() {
            return Vec::new();
        }
        self.keys_that_count(acting_for, |key| !self.bars.all_on(key).is_empty())
            .flat_map(|key| self.bars.all_on(key))
            .copied()
            .collect()
    }

    /// What arms somebody (promise L1): an arming of its own, or of its domain's mapping when it follows that.
    pub(crate) fn armings_on(&self, acting_for: &ActingFor) -> Vec<ArmingId> {
        if self.armings.is_empty() {
            return Vec::new();
        }
        self.keys_that_count(acting_for, |key| !self.armings.on(key).is_empty())
            .flat_map(|key| self.armings.on(key))
            .copied()
            .collect()
    }

    /// Of each identifier its own key, where something is said of that or it has a mapping; else its domain's.
    fn keys_that_count(
        &self,
        acting_for: &ActingFor,
        is_said_of: impl Fn(Key) -> bool,
    ) -> impl Iterator<Item = Key> {
        acting_for.identifiers().iter().filter_map(move |identifier| {
            let key = self.key_of(identifier);
            if is_said_of(key) || self.entries.get(key).is_some() {
                return Some(key);
            }
            Some(self.hash_key.key_of(identifier.domain_entry()?))
        })
    }

    /// Nobody is armed.
    #[must_use]
    pub fn arms_nobody(&self) -> bool {
        self.armings.is_empty()
    }

    /// The armings in force.
    pub fn armings(&self) -> impl Iterator<Item = (&ArmingId, &Arming)> {
        self.armings.records()
    }

    /// One of them.
    #[must_use]
    pub fn arming(&self, arming: ArmingId) -> Option<&Arming> {
        self.armings.record(arming)
    }

    /// The armings on a key itself.
    pub(crate) fn armings_of_key(&self, key: Key) -> &[ArmingId] {
        self.armings.on(key)
    }

    /// A hold of an operation stands on the key itself.
    pub(crate) fn is_held(&self, key: Key) -> bool {
        self.bars
            .all_on(key)
            .iter()
            .any(|hold| self.is_hold_of_an_operation(*hold))
    }

    /// The key of an identifier in this table.
    #[must_use]
    pub fn key_of(&self, identifier: &Identifier) -> Key {
        self.hash_key.key_of(identifier.as_str())
    }

    /// The key of the table's hash.
    #[must_use]
    pub fn hash_key(&self) -> HashKey {
        self.hash_key
    }

    /// The fleet that it belongs to.
    #[must_use]
    pub fn fleet(&self) -> Option<FleetId> {
        self.fleet
    }

    /// The last change that it has.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether it serves.
    #[must_use]
    pub fn serving(&self) -> Serving {
        self.serving
    }

    /// Sets whether it serves.
    pub fn serve(&mut self, serving: Serving) {
        self.serving = serving;
    }

    /// Sets what becomes of logins that no mapping names.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The fleet's configuration, as it was applied.
    #[must_use]
    pub fn resources(&self) -> &BTreeMap<ResourceKey, Resource> {
        &self.resources
    }

    /// How many keys have a mapping.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No key has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// The holds in force, those that the node makes for reasons of its own included.
    pub fn holds(&self) -> impl Iterator<Item = (&HoldId, &Record)> {
        self.bars.records()
    }

    /// The hold is an operation's: its quiescence is somebody's business.
    #[must_use]
    pub fn is_hold_of_an_operation(&self, hold: HoldId) -> bool {
        self.bars
            .record(hold)
            .is_some_and(|record| record.kind == Kind::Hold)
    }

    fn route(&self, identifier: &Identifier) -> Look {
        let named = |slot: Slot, rule| {
            Look::Route(Route {
                destination: self.names.of(slot).clone(),
                rule,
            })
        };
        if let Some(slot) = self.entries.get(self.key_of(identifier)) {
            return named(slot, Rule::Mapping);
        }
        if let Some(slot) = identifier
            .domain_entry()
            .and_then(|domain| self.entries.get(self.hash_key.key_of(domain)))
        {
            return named(slot, Rule::Domain);
        }
        if self.mappings == WhereMappingsAre::InASource {
            return Look::AskSource;
        }
        match self.policy.unknown {
            OnUnknown::Refuse => Look::Refused(Refusal::Unknown),
            OnUnknown::Default => self.default_route(),
        }
    }

    fn default_route(&self) -> Look {
        match &self.policy.default_destination {
            Some(destination) => Look::Route(Route {
                destination: destination.clone(),
                rule: Rule::Default,
            }),
            None => Look::Refused(Refusal::NoDefault),
        }
    }
}

/// More different destinations than an entry can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {} destinations are named by mappings", Slot::MAX_DESTINATIONS)]
pub struct TooManyDestinations;

/// The destinations that entries name, by number. A number is never used again while the table lives.
#[derive(Debug, Default)]
struct Names {
    by_slot: Vec<DestinationName>,
    slots: HashMap<DestinationName, Slot>,
}

impl Names {
    fn slot(&mut self, name: &DestinationName) -> Result<Slot, TooManyDestinations> {
        if let Some(slot) = self.slots.get(name) {
            return Ok(*slot);
        }
        let slot = Slot::new(self.by_slot.len()).ok_or(TooManyDestinations)?;
        self.by_slot.push(name.clone());
        self.slots.insert(name.clone(), slot);
        Ok(slot)
    }

    fn of(&self, slot: Slot) -> &DestinationName {
        &self.by_slot[slot.index()]
    }
}
