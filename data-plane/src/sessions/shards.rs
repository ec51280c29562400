//! Where registered sessions stand: by key, in shards, so that logins of different accounts do not meet on one lock.

use std::collections::HashMap;
use std::sync::Arc;

use mailswitch_proto::identifier::Key;
use parking_lot::{Mutex, MutexGuard};

use super::entry::{Entry, Filed};

const SHARDS: usize = 64;

#[derive(Debug)]
pub(crate) struct Shards(Box<[Mutex<Shard>]>);

#[derive(Debug, Default)]
pub(crate) struct Shard {
    by_key: HashMap<Key, Vec<Arc<Entry>>>,
    /// How many sessions have an identifier in this domain: a hold that names a domain's key looks at all sessions,
    /// and only then.
    domains: HashMap<Key, usize>,
    /// Sessions without an identifier, by serial.
    unkeyed: HashMap<u64, Arc<Entry>>,
    waiting: HashMap<Key, usize>,
}

impl Shards {
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    pub(crate) fn insert(&self, entry: &Arc<Entry>, filed: &Filed) {
        for key in &filed.keys {
            self.of(*key).by_key.entry(*key).or_default().push(entry.clone());
        }
        for domain in &filed.domains {
            *self.of(*domain).domains.entry(*domain).or_default() += 1;
        }
        if filed.keys.is_empty() {
            self.at(entry.serial).unkeyed.insert(entry.serial, entry.clone());
        }
    }

    pub(crate) fn remove(&self, entry: &Entry, filed: &Filed) {
        for key in &filed.keys {
            let mut shard = self.of(*key);
            if let Some(entries) = shard.by_key.get_mut(key) {
                entries.retain(|other| other.serial != entry.serial);
                if entries.is_empty() {
                    shard.by_key.remove(key);
                }
            }
        }
        for domain in &filed.domains {
            let mut shard = self.of(*domain);
            if let Some(count) = shard.domains.get_mut(domain) {
                *count -= 1;
                if *count == 0 {
                    shard.domains.remove(domain);
                }
            }
        }
        if filed.keys.is_empty() {
            self.at(entry.serial).unkeyed.remove(&entry.serial);
        }
    }

    pub(crate) fn under(&self, key: Key) -> Vec<Arc<Entry>> {
        self.of(key).by_key.get(&key).cloned().unwrap_or_default()
    }

    pub(crate) fn is_domain_in_use(&self, key: Key) -> bool {
        self.of(key).domains.contains_key(&key)
    }

    /// Every session, once each.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all = Vec::new();
        for shard in &self.0 {
            let shard = shard.lock();
            all.extend(shard.unkeyed.values().cloned());
            for (key, entries) in &shard.by_key {
                all.extend(
                    entries
                        .iter()
                        .filter(|entry| entry.first_key() == Some(*key))
                        .cloned(),
                );
            }
        }
        all
    }

    pub(crate) fn clear(&self) {
        for shard in &self.0 {
            let mut shard = shard.lock();
            shard.by_key.clear();
            shard.domains.clear();
            shard.unkeyed.clear();
        }
    }

    /// One more login waits under a key, if fewer than `most` do.
    pub(crate) fn start_waiting(&self, key: Key, most: usize) -> bool {
        let mut shard = self.of(key);
        let waiting = shard.waiting.entry(key).or_default();
        if *waiting >= most {
            return false;
        }
        *waiting += 1;
        true
    }

    pub(crate) fn stop_waiting(&self, key: Key) {
        let mut shard = self.of(key);
        if let Some(waiting) = shard.waiting.get_mut(&key) {
            *waiting -= 1;
            if *waiting == 0 {
                shard.waiting.remove(&key);
            }
        }
    }

    fn of(&self, key: Key) -> MutexGuard<'_, Shard> {
        // Keys are a keyed hash: any bits of them are as good as others.
        self.0[key.0 as usize % SHARDS].lock()
    }

    fn at(&self, serial: u64) -> MutexGuard<'_, Shard> {
        self.0[serial as usize % SHARDS].lock()
    }
}
