//! What a mapping file says, in memory: keyed hashes and numbers of destinations, 32 bytes a line.

use std::collections::HashMap;
use std::sync::Arc;

use mailswitch_config::DestinationName;
use mailswitch_proto::identifier::Key;

use crate::store::Existed;

#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: HashMap<Key, Line>,
    names: Vec<Arc<DestinationName>>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    destination: u16,
    of: Of,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    One,
    WholeDomain,
}

/// More different destinations than a line can tell apart.
#[derive(Debug)]
pub(crate) struct TooMany;

/// Whose mapping a reload changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Theirs.
    Keys(Vec<Key>),
    /// Of whole domains: nobody knows whose.
    Perhaps,
}

impl Table {
    pub(crate) fn get(&self, key: Key) -> Option<&Arc<DestinationName>> {
        self.entries
            .get(&key)
            .map(|line| &self.names[usize::from(line.destination)])
    }

    /// The later line of one identifier wins.
    pub(crate) fn insert(
        &mut self,
        key: Key,
        destination: &DestinationName,
        is_domain: bool,
    ) -> Result<(), TooMany> {
        let destination = match self.names.iter().position(|name| **name == *destination) {
            Some(known) => known,
            None => {
                self.names.push(Arc::new(destination.clone()));
                self.names.len() - 1
            }
        };
        let line = Line {
            destination: u16::try_from(destination).map_err(|_| TooMany)?,
            of: if is_domain { Of::WholeDomain } else { Of::One },
        };
        self.entries.insert(key, line);
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: Key) -> Existed {
        match self.entries.remove(&key) {
            Some(_) => Existed::Yes,
            None => Existed::No,
        }
    }

    pub(crate) fn differs_from(&self, other: &Self) -> Changed {
        let differs = |this: &Self, that: &Self| -> Vec<(Key, Of)> {
            this.entries
                .iter()
                .filter(|(key, _)| this.get(**key) != that.get(**key))
                .map(|(key, line)| (*key, line.of))
                .collect()
        };
        let (here, there) = (differs(self, other), differs(other, self));
        let all = || here.iter().chain(&there);
        if all().any(|(_, of)| *of == Of::WholeDomain) {
            return Changed::Perhaps;
        }
        let mut keys: Vec<Key> = all().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        Changed::Keys(keys)
    }
}
