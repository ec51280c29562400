//! What bars accounts: holds of operations (Q1), and changes of a kind that this node does not know (N7). Both mean the
//! same for a login: it waits.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::id::HoldId;
use mailswitch_proto::identifier::Key;
use mailswitch_proto::revision::Position;

/// Why keys are barred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A hold of an operation.
    Hold,
    /// A change that this version does not know.
    UnknownChange,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// As it came, so that the operation can be rebuilt from here (Q1). Empty for the other kind.
    pub held: wire::Held,
    /// The keys that it was put on, and that it still bars.
    pub keys: Vec<Key>,
    /// Where this node applied it.
    pub applied: Position,
    /// After this time its sessions are ended without a quiet moment.
    pub drain_timeout: Duration,
}

/// All of them, by id and by key. A key may be barred by several: an account that is held, and something is not understood.
#[derive(Debug, Default)]
pub(super) struct Bars {
    records: HashMap<HoldId, Record>,
    by_key: HashMap<Key, Vec<HoldId>>,
}

impl Bars {
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The last that was put on the key.
    pub(super) fn on(&self, key: Key) -> Option<HoldId> {
        self.by_key.get(&key).and_then(|holds| holds.last()).copied()
    }

    pub(super) fn all_on(&self, key: Key) -> &[HoldId] {
        self.by_key.get(&key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn record(&self, id: HoldId) -> Option<&Record> {
        self.records.get(&id)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (&HoldId, &Record)> {
        self.records.iter()
    }

    /// Puts one on keys; said again, it bars what it barred and these.
    pub(super) fn put(&mut self, id: HoldId, record: Record) {
        for key in &record.keys {
            let holds = self.by_key.entry(*key).or_default();
            if !holds.contains(&id) {
                holds.push(id);
            }
        }
        match self.records.get_mut(&id) {
            Some(known) => {
                let there: HashSet<Key> = known.keys.iter().copied().collect();
                known
                    .keys
                    .extend(record.keys.into_iter().filter(|key| !there.contains(key)));
                known.applied = record.applied;
            }
            None => {
                self.records.insert(id, record);
            }
        }
    }

    /// Ends one, wherever it bars, and gives its keys.
    pub(super) fn lift(&mut self, id: HoldId) -> Vec<Key> {
        let Some(record) = self.records.remove(&id) else {
            return Vec::new();
        };
        for key in &record.keys {
            if let Some(holds) = self.by_key.get_mut(key) {
                holds.retain(|other| *other != id);
                if holds.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
        record.keys
    }

    /// Takes one off single keys.
    pub(super) fn lift_from(&mut self, id: HoldId, keys: &[Key]) {
        let Some(record) = self.records.get_mut(&id) else {
            return;
        };
        let gone: HashSet<Key> = keys.iter().copied().collect();
        record.keys.retain(|key| !gone.contains(key));
        if record.keys.is_empty() {
            self.records.remove(&id);
        }
        for key in keys {
            if let Some(holds) = self.by_key.get_mut(key) {
                holds.retain(|other| *other != id);
                if holds.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
    }
}
