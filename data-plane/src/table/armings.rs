//! What arms accounts (promise L1). An arming stands on keys beside their mapping, through holds, releases and flips, until
//! it is taken back. It bars nobody by itself: whether an armed account is admissible is for the lease to say.

use std::collections::{HashMap, HashSet};

use mailswitch_proto::id::ArmingId;
use mailswitch_proto::identifier::Key;
use mailswitch_proto::revision::Position;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arming {
    /// The cutover that it ends with; empty: it was made ahead.
    pub operation: Vec<u8>,
    /// The keys that it arms.
    pub keys: Vec<Key>,
    /// Where this node applied it.
    pub applied: Position,
}

/// All of them, by id and by key. An account may be armed ahead, and once more for a cutover.
#[derive(Debug, Default)]
pub(super) struct Armings {
    records: HashMap<ArmingId, Arming>,
    by_key: HashMap<Key, Vec<ArmingId>>,
}

impl Armings {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn on(&self, key: Key) -> &[ArmingId] {
        self.by_key.get(&key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn record(&self, id: ArmingId) -> Option<&Arming> {
        self.records.get(&id)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (&ArmingId, &Arming)> {
        self.records.iter()
    }

    /// Puts one on keys; said again, it arms what it armed and these.
    pub(super) fn put(&mut self, id: ArmingId, arming: Arming) {
        for key in &arming.keys {
            let armings = self.by_key.entry(*key).or_default();
            if !armings.contains(&id) {
                armings.push(id);
            }
        }
        match self.records.get_mut(&id) {
            Some(known) => {
                let there: HashSet<Key> = known.keys.iter().copied().collect();
                known
                    .keys
                    .extend(arming.keys.into_iter().filter(|key| !there.contains(key)));
                known.applied = arming.applied;
            }
            None => {
                self.records.insert(id, arming);
            }
        }
    }

    /// Takes one back, wherever it stands, and gives its keys.
    pub(super) fn take_back(&mut self, id: ArmingId) -> Vec<Key> {
        let Some(arming) = self.records.remove(&id) else {
            return Vec::new();
        };
        for key in &arming.keys {
            if let Some(armings) = self.by_key.get_mut(key) {
                armings.retain(|other| *other != id);
                if armings.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
        arming.keys
    }

    /// The same arming was applied here before: a snapshot says where it was made, not when we learnt of it.
    pub(super) fn applied_as_in(&mut self, before: &Self) {
        for (id, arming) in &mut self.records {
            if let Some(known) = before.records.get(id)
                && known.keys.len() == arming.keys.len()
            {
                arming.applied = known.applied;
            }
        }
    }
}
