//! Applying a committed change (promise N7, F2). Wire to table happens here, once; what cannot be understood bars its
//! keys and is reported, and never changes where they go.

use std::collections::HashSet;
use std::time::Duration;

use mailswitch_config::{DestinationName, Resource, ResourceKey};
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::change::Kind as WireKind;
use mailswitch_proto::id::{ArmingId, HoldId};
use mailswitch_proto::identifier::{Key, unpack};
use mailswitch_proto::revision::Position;

use super::Table;
use super::armings::Arming;
use super::holds::{Kind, Record};

/// Sessions of accounts that are barred for no hold's sake end after this time at the latest: `[cutover]
/// drain_timeout`'s default.
const OWN_DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// The one that bars keys of changes that this version does not know. Never on the wire: ids there are random.
const UNKNOWN_CHANGE: [u8; 16] = [0; 16];

/// What sessions and configuration have to follow. In the order of the changes.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// These keys are held.
    Held {
        /// By this.
        hold: HoldId,
        /// All keys of it, also those of an earlier change.
        keys: Vec<Key>,
        /// From now.
        drain_timeout: Duration,
    },
    /// What barred these keys ended.
    Ended {
        /// This one.
        hold: HoldId,
        /// Its keys.
        keys: Vec<Key>,
        /// Where they go now, when that was written.
        to: Option<DestinationName>,
    },
    /// These keys are armed (promise L1).
    Armed {
        /// By this.
        arming: ArmingId,
        /// All keys of it, also those of an earlier change.
        keys: Vec<Key>,
    },
    /// They are no longer.
    Disarmed {
        /// By this.
        arming: ArmingId,
        /// Its keys.
        keys: Vec<Key>,
    },
    /// The fleet's configuration changed.
    ResourcesChanged,
    /// Something could not be applied as it was meant.
    Rejected(Rejection),
}

/// What could not be applied as it was meant: told to the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// `destination.legacy`, `change`, …
    pub resource: String,
    /// Why, and what became of it.
    pub reason: String,
}

impl Table {
    /// Applies a change set that leads to `at`. The caller has checked that it follows (N7).
    pub fn apply(&mut self, set: &wire::ChangeSet, at: Position) -> Vec<Effect> {
        let mut effects = Vec::new();
        for change in &set.changes {
            self.apply_one(change, at, &mut effects);
        }
        self.position = at;
        effects
    }

    pub(super) fn apply_one(&mut self, change: &wire::Change, at: Position, effects: &mut Vec<Effect>) {
        let keys: Vec<Key> = match unpack(&change.keys) {
            Ok(keys) => keys.collect(),
            Err(invalid) => {
                // Not one of its keys can be trusted. Nothing is skipped in silence, and nothing is guessed.
                self.serving = super::Serving::NotSynced;
                effects.push(rejected(
                    "change",
                    format!("{invalid}; nobody is admitted until a snapshot follows"),
                ));
                return;
            }
        };
        match &change.kind {
            Some(WireKind::Mapped(mapped)) => self.set(&keys, &mapped.destination, at, effects),
            Some(WireKind::Unmapped(_)) => keys.iter().for_each(|key| self.entries.remove(*key)),
            Some(WireKind::Held(held)) => match HoldId::try_from(held.hold.as_slice()) {
                Ok(hold) => self.hold(hold, Kind::Hold, Some(held), keys, at, effects),
                Err(invalid) => self.bar_unknown(keys, at, &invalid.to_string(), effects),
            },
            Some(WireKind::Flipped(flipped)) => {
                self.end(&flipped.hold, &flipped.destination, &keys, at, effects);
            }
            Some(WireKind::Released(released)) => {
                self.end(&released.hold, &released.destination, &keys, at, effects);
            }
            Some(WireKind::Armed(armed)) => match ArmingId::try_from(armed.arming.as_slice()) {
                Ok(arming) => self.arm(arming, armed, keys, at, effects),
                Err(invalid) => self.bar_unknown(keys, at, &invalid.to_string(), effects),
            },
            Some(WireKind::Disarmed(disarmed)) => match ArmingId::try_from(disarmed.arming.as_slice()) {
                Ok(arming) => {
                    let keys = self.armings.take_back(arming);
                    effects.push(Effect::Disarmed { arming, keys });
                }
                Err(invalid) => self.bar_unknown(keys, at, &invalid.to_string(), effects),
            },
            Some(WireKind::ResourceSet(set)) => {
                let key = resource_key(&set.kind, &set.name, &set.site);
                let body = set.body.clone();
                self.resources.insert(key.clone(), Resource { key, body });
                effects.push(Effect::ResourcesChanged);
            }
            Some(WireKind::ResourceRemoved(removed)) => {
                self.resources
                    .remove(&resource_key(&removed.kind, &removed.name, &removed.site));
                effects.push(Effect::ResourcesChanged);
            }
            None => self.bar_unknown(
                keys,
                at,
                "a kind of change that this version does not know",
                effects,
            ),
        }
    }

    fn set(&mut self, keys: &[Key], destination: &str, at: Position, effects: &mut Vec<Effect>) {
        match self.names.slot(&DestinationName::from(destination)) {
            Ok(slot) => keys.iter().for_each(|key| self.entries.insert(*key, slot)),
            Err(too_many) => self.bar_unknown(keys.to_vec(), at, &too_many.to_string(), effects),
        }
    }

    fn arm(
        &mut self,
        arming: ArmingId,
        armed: &wire::Armed,
        keys: Vec<Key>,
        at: Position,
        effects: &mut Vec<Effect>,
    ) {
        let record = Arming {
            operation: armed.operation.clone(),
            keys,
            applied: at,
        };
        self.armings.put(arming, record);
        let keys = self.armings.record(arming).map(|known| known.keys.clone());
        effects.push(Effect::Armed {
            arming,
            keys: keys.unwrap_or_default(),
        });
    }

    fn hold(
        &mut self,
        hold: HoldId,
        kind: Kind,
        held: Option<&wire::Held>,
        keys: Vec<Key>,
        at: Position,
        effects: &mut Vec<Effect>,
    ) {
        let drain_timeout = held.map_or(OWN_DRAIN_TIMEOUT, |held| {
            Duration::from_millis(held.drain_timeout_millis)
        });
        let record = Record {
            kind,
            held: held.cloned().unwrap_or_default(),
            keys,
            applied: at,
            drain_timeout,
        };
        self.bars.put(hold, record);
        let keys = self
            .bars
            .record(hold)
            .map(|record| record.keys.clone())
            .unwrap_or_default();
        effects.push(Effect::Held {
            hold,
            keys,
            drain_timeout,
        });
    }

    /// A hold ended, and says where its keys go. What named another hold than the one in force still says where they
    /// go, and ends nothing else (Q4).
    fn end(&mut self, hold: &[u8], destination: &str, keys: &[Key], at: Position, effects: &mut Vec<Effect>) {
        let hold = match HoldId::try_from(hold) {
            Ok(hold) => hold,
            Err(invalid) => return self.bar_unknown(keys.to_vec(), at, &invalid.to_string(), effects),
        };
        self.set(keys, destination, at, effects);
        // An operation's end is known again, whatever stood between: what was not understood there is over, too.
        let unknown = HoldId::from(UNKNOWN_CHANGE);
        if self
            .bars
            .record(unknown)
            .is_some_and(|record| record.keys.iter().any(|key| keys.contains(key)))
        {
            self.bars.lift_from(unknown, keys);
            effects.push(Effect::Ended {
                hold: unknown,
                keys: keys.to_vec(),
                to: None,
            });
        }
        let to = DestinationName::from(destination);
        let mut lifted = self.bars.lift(hold);
        let there: HashSet<Key> = lifted.iter().copied().collect();
        lifted.extend(keys.iter().filter(|key| !there.contains(*key)));
        effects.push(Effect::Ended {
            hold,
            keys: lifted,
            to: Some(to),
        });
    }

    /// N7: what this version does not understand is held, and reported.
    fn bar_unknown(&mut self, keys: Vec<Key>, at: Position, why: &str, effects: &mut Vec<Effect>) {
        effects.push(rejected(
            "change",
            format!("{why}: its {} keys are held on this node", keys.len()),
        ));
        self.hold(
            HoldId::from(UNKNOWN_CHANGE),
            Kind::UnknownChange,
            None,
            keys,
            at,
            effects,
        );
    }

    /// What bars here and does not there: for a table that takes the place of another.
    pub(crate) fn holds_that_others_lack(&self, other: &Self, effects: &mut Vec<Effect>) {
        for (hold, record) in self.holds() {
            if other
                .bars
                .record(*hold)
                .is_none_or(|known| known.keys.len() != record.keys.len())
            {
                effects.push(Effect::Held {
                    hold: *hold,
                    keys: record.keys.clone(),
                    drain_timeout: record.drain_timeout,
                });
            }
        }
    }

    /// What arms here and does not there: for a table that takes the place of another. What arms in both stands where
    /// it was applied first.
    pub(crate) fn armings_that_others_lack(&mut self, other: &Self, effects: &mut Vec<Effect>) {
        self.armings.applied_as_in(&other.armings);
        for (arming, record) in self.armings() {
            if other
                .arming(*arming)
                .is_none_or(|known| known.keys.len() != record.keys.len())
            {
                effects.push(Effect::Armed {
                    arming: *arming,
                    keys: record.keys.clone(),
                });
            }
        }
    }

    /// What arms here and no longer there.
    pub(crate) fn armings_that_others_lack_ended(&self, other: &Self, effects: &mut Vec<Effect>) {
        for (arming, record) in self.armings() {
            if other.arming(*arming).is_none() {
                effects.push(Effect::Disarmed {
                    arming: *arming,
                    keys: record.keys.clone(),
                });
            }
        }
    }

    /// What bars here and no longer there.
    pub(crate) fn holds_that_others_lack_ended(&self, other: &Self, effects: &mut Vec<Effect>) {
        for (hold, record) in self.holds() {
            if other.bars.record(*hold).is_none() {
                effects.push(Effect::Ended {
                    hold: *hold,
                    keys: record.keys.clone(),
                    to: None,
                });
            }
        }
    }
}

fn resource_key(kind: &str, name: &str, site: &str) -> ResourceKey {
    ResourceKey {
        kind: kind.to_owned(),
        name: name.to_owned(),
        site: site.to_owned(),
    }
}

fn rejected(resource: &str, reason: String) -> Effect {
    Effect::Rejected(Rejection {
        resource: resource.to_owned(),
        reason,
    })
}
