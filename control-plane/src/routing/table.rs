//! The mapping table in compact form: keyed hash of an identifier to a destination, about 20 bytes an entry.
//!
//! It holds no addresses: who needs the text of an identifier asks the store. Keys are hashes already (keyed, so
//! nobody outside can choose them), hence the map's own hash is their first eight bytes. Destination names are
//! kept once; an entry is an index to them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use mailswitch_proto::identifier::Key;

/// Bytes, so that an entry has no padding: a `u128` would cost 32 bytes for 18.
type Packed = [u8; 16];

/// The index of a destination's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot([u8; 2]);

/// Key to destination, complete.
#[derive(Debug, Default, Clone)]
pub struct Table {
    entries: HashMap<Packed, Slot, BuildHasherDefault<KeyHash>>,
    names: Vec<Arc<str>>,
}

/// More destinations than an entry can number: a fleet with 65,536 backends, or a loop that makes names up.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there are more than 65536 destination names; {0:?} cannot be numbered")]
pub struct TooManyDestinations(String);

impl Table {
    /// Makes room before a load.
    pub fn reserve(&mut self, keys: usize) {
        self.entries.reserve(keys);
    }

    /// The keys go to `destination`.
    ///
    /// # Errors
    /// When the destination's name cannot be numbered any more.
    pub fn map(
        &mut self,
        keys: impl IntoIterator<Item = Key>,
        destination: &str,
    ) -> Result<(), TooManyDestinations> {
        let slot = self.slot_of(destination)?;
        self.entries
            .extend(keys.into_iter().map(|key| (key.to_bytes(), slot)));
        Ok(())
    }

    /// The keys have no mapping of their own.
    pub fn unmap(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            self.entries.remove(&key.to_bytes());
        }
    }

    /// Where the key goes by a mapping of its own.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&str> {
        let slot = self.entries.get(&key.to_bytes())?;
        Some(self.name(*slot))
    }

    /// How many keys have a mapping.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every entry, in no order, as packed key and destination.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8; 16], &Arc<str>)> {
        self.entries
            .iter()
            .map(|(key, slot)| (key, &self.names[usize::from(u16::from_ne_bytes(slot.0))]))
    }

    fn name(&self, slot: Slot) -> &str {
        &self.names[usize::from(u16::from_ne_bytes(slot.0))]
    }

    /// Destinations are few and this runs once a change, not once a key: a scan does.
    fn slot_of(&mut self, destination: &str) -> Result<Slot, TooManyDestinations> {
        let known = self.names.iter().position(|name| &**name == destination);
        let index = known.unwrap_or_else(|| {
            self.names.push(destination.into());
            self.names.len() - 1
        });
        u16::try_from(index)
            .map(|index| Slot(index.to_ne_bytes()))
            .map_err(|_| TooManyDestinations(destination.to_owned()))
    }
}

/// The first eight bytes of a key that is a keyed hash already.
#[derive(Debug, Default, Clone, Copy)]
pub struct KeyHash(u64);

impl Hasher for KeyHash {
    fn write(&mut self, bytes: &[u8]) {
        // A key is written as its length (by the slice's own implementation) and its sixteen bytes.
        if let Some(head) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_ne_bytes(*head);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    /// Mixed once, so that also keys which are no hashes (in tests) spread over the low bits that choose a bucket.
    fn finish(&self) -> u64 {
        let folded = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        folded ^ (folded >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_where_it_was_last_mapped_and_nowhere_once_unmapped() {
        let mut table = Table::default();
        table.map([Key(1), Key(2)], "legacy").unwrap();
        table.map([Key(2)], "new").unwrap();
        assert_eq!(table.get(Key(1)), Some("legacy"));
        assert_eq!(table.get(Key(2)), Some("new"));
        table.unmap([Key(1)]);
        assert_eq!(table.get(Key(1)), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn an_entry_takes_no_padding() {
        assert_eq!(std::mem::size_of::<(Packed, Slot)>(), 18);
    }

    #[test]
    fn keys_spread_over_the_map_by_their_own_bytes() {
        use std::hash::Hash as _;
        let hash = |key: u128| {
            let mut state = KeyHash::default();
            Key(key).to_bytes().hash(&mut state);
            state.finish()
        };
        assert_ne!(hash(1 << 120), hash(2 << 120));
    }
}
