//! The entries: a 128-bit key and the number of a destination, in flat columns (18 bytes an entry).
//!
//! Keys are a keyed hash already, so the place of an entry is its key, scaled to the segment's size: linear probing
//! from there, deleting by shifting back. Sixty-four segments grow one at a time, so growing never needs room for a
//! second table. Ten million entries take under 300 MB (design section 10).

use mailswitch_proto::identifier::Key;

const SEGMENTS: usize = 64;
/// A segment grows when more than this many of eight places are taken. Linear probing is quick up to there.
const FULL_EIGHTHS: usize = 7;
const SMALLEST: usize = 8;

/// The number of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(u16);

impl Slot {
    /// One number stands for an empty place.
    pub(super) const MAX_DESTINATIONS: usize = u16::MAX as usize;

    pub(super) fn new(index: usize) -> Option<Self> {
        u16::try_from(index)
            .ok()
            .filter(|number| *number != EMPTY)
            .map(Self)
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

const EMPTY: u16 = u16::MAX;

/// The entries.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    segments: Box<[Segment]>,
    len: usize,
}

impl Default for Packed {
    fn default() -> Self {
        Self {
            segments: (0..SEGMENTS).map(|_| Segment::default()).collect(),
            len: 0,
        }
    }
}

impl Packed {
    /// Room for this many entries.
    pub(super) fn with_room_for(entries: usize) -> Self {
        // Segments do not get exactly equal shares; an eighth more saves most of them from growing once.
        let places = entries.div_ceil(SEGMENTS) * 9 / 8 * 8 / FULL_EIGHTHS + 1;
        Self {
            segments: (0..SEGMENTS).map(|_| Segment::with_places(places)).collect(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: Key) -> Option<Slot> {
        self.segments[segment_of(key)].get(key.0).map(Slot)
    }

    pub(super) fn insert(&mut self, key: Key, slot: Slot) {
        if self.segments[segment_of(key)].insert(key.0, slot.0) {
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, key: Key) {
        if self.segments[segment_of(key)].remove(key.0) {
            self.len -= 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Slot)> {
        self.segments.iter().flat_map(|segment| {
            segment
                .keys
                .iter()
                .zip(&segment.slots)
                .filter(|(_, slot)| **slot != EMPTY)
                .map(|(key, slot)| (Key(*key), Slot(*slot)))
        })
    }

    /// Bytes of its columns.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.segments
            .iter()
            .map(|segment| segment.keys.capacity() * 16 + segment.slots.capacity() * 2)
            .sum()
    }
}

fn segment_of(key: Key) -> usize {
    (key.0 >> 122) as usize
}

#[derive(Debug, Clone, Default)]
struct Segment {
    keys: Vec<u128>,
    slots: Vec<u16>,
    len: usize,
}

impl Segment {
    fn with_places(places: usize) -> Self {
        Self {
            keys: vec![0; places],
            slots: vec![EMPTY; places],
            len: 0,
        }
    }

    /// Where a key belongs: the bits below the segment's number, scaled to the number of places.
    fn home(&self, key: u128) -> usize {
        let bits = (key >> 58) as u64;
        ((u128::from(bits) * self.keys.len() as u128) >> 64) as usize
    }

    /// The place of the key, or the empty place where it would go. There is always an empty one.
    fn find(&self, key: u128) -> usize {
        let mut place = self.home(key);
        while self.slots[place] != EMPTY && self.keys[place] != key {
            place += 1;
            if place == self.keys.len() {
                place = 0;
            }
        }
        place
    }

    fn get(&self, key: u128) -> Option<u16> {
        if self.keys.is_empty() {
            return None;
        }
        Some(self.slots[self.find(key)]).filter(|slot| *slot != EMPTY)
    }

    /// True when the key is new.
    fn insert(&mut self, key: u128, slot: u16) -> bool {
        if (self.len + 1) * 8 > self.keys.len() * FULL_EIGHTHS {
            self.grow();
        }
        let place = self.find(key);
        let is_new = self.slots[place] == EMPTY;
        self.keys[place] = key;
        self.slots[place] = slot;
        self.len += usize::from(is_new);
        is_new
    }

    /// True when the key was there. What stands behind it moves up, so that no search stops too early.
    fn remove(&mut self, key: u128) -> bool {
        if self.keys.is_empty() {
            return false;
        }
        let mut hole = self.find(key);
        if self.slots[hole] == EMPTY {
            return false;
        }
        let places = self.keys.len();
        let mut next = hole;
        loop {
            next = if next + 1 == places { 0 } else { next + 1 };
            if self.slots[next] == EMPTY {
                break;
            }
            let from_home = |place: usize| {
                let home = self.home(self.keys[next]);
                if place >= home {
                    place - home
                } else {
                    place + places - home
                }
            };
            if from_home(hole) <= from_home(next) {
                self.keys[hole] = self.keys[next];
                self.slots[hole] = self.slots[next];
                hole = next;
            }
        }
        self.slots[hole] = EMPTY;
        self.len -= 1;
        true
    }

    fn grow(&mut self) {
        let places = (self.keys.len() + self.keys.len() / 4).max(SMALLEST);
        let old = std::mem::replace(self, Self::with_places(places));
        for (key, slot) in old.keys.iter().zip(&old.slots) {
            if *slot != EMPTY {
                let place = self.find(*key);
                self.keys[place] = *key;
                self.slots[place] = *slot;
            }
        }
        self.len = old.len;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(n: u64) -> Key {
        mailswitch_proto::identifier::HashKey([7; 16]).key_of(&n.to_string())
    }

    #[derive(Debug, Clone)]
    enum Op {
        Insert(Key, u16),
        Remove(Key),
    }

    /// Few homes, so that runs collide, wrap round and shift back.
    fn crowded() -> impl Strategy<Value = Key> {
        (0..4u128, 0..4u128, 0..12u128)
            .prop_map(|(segment, high, low)| Key(segment << 126 | high << 118 | low))
    }

    proptest! {
        #[test]
        fn it_answers_as_a_plain_map_does(ops in prop::collection::vec(
            prop_oneof![
                (crowded(), 0..9u16).prop_map(|(key, slot)| Op::Insert(key, slot)),
                crowded().prop_map(Op::Remove),
            ],
            0..400,
        )) {
            let mut packed = Packed::default();
            let mut plain = HashMap::new();
            for op in ops {
                match op {
                    Op::Insert(key, slot) => {
                        packed.insert(key, Slot(slot));
                        plain.insert(key, slot);
                    }
                    Op::Remove(key) => {
                        packed.remove(key);
                        plain.remove(&key);
                    }
                }
                prop_assert_eq!(packed.len(), plain.len());
            }
            for (key, slot) in &plain {
                prop_assert_eq!(packed.get(*key), Some(Slot(*slot)));
            }
            prop_assert_eq!(packed.iter().map(|(key, slot)| (key, slot.0)).collect::<HashMap<_, _>>(), plain);
        }
    }

    #[test]
    fn a_million_entries_take_under_thirty_bytes_each() {
        const N: u64 = 1_000_000;
        let mut grown = Packed::default();
        let mut sized = Packed::with_room_for(N as usize);
        for n in 0..N {
            grown.insert(key(n), Slot((n % 3) as u16));
            sized.insert(key(n), Slot((n % 3) as u16));
        }
        for packed in [grown, sized] {
            let each = packed.bytes() / packed.len();
            assert!(
                each < 30,
                "{each} bytes an entry: ten million would take over 300 MB"
            );
            assert_eq!(packed.get(key(5)), Some(Slot(2)));
            assert_eq!(packed.get(key(N)), None);
        }
    }
}
