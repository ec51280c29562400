//! Epochs: a number per identifier that changes whenever its mapping may have changed (behaviour 9.2, 10).
//!
//! The order that everything rests on: a lookup reads the epoch, *then* the store; a change writes the store, *then*
//! bumps the epoch. So an answer whose epoch is still the current one has seen every change before it, and one whose
//! epoch is not is never used again, wherever it was kept.

use std::sync::atomic::{AtomicU64, Ordering};

use mailswitch_proto::identifier::Key;

/// Identifiers share slots: that costs a lookup now and then, and keeps the memory bounded.
const SLOTS: usize = 4096;

/// The epochs of all identifiers.
#[derive(Debug)]
pub(crate) struct Epochs {
    all: AtomicU64,
    of: Box<[AtomicU64]>,
}

/// The epoch of one identifier at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Epoch {
    all: u64,
    own: u64,
}

impl Epochs {
    pub(crate) fn new() -> Self {
        Self {
            all: AtomicU64::new(0),
            of: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Now.
    pub(crate) fn of(&self, key: Key) -> Epoch {
        Epoch {
            all: self.all.load(Ordering::SeqCst),
            own: self.slot(key).load(Ordering::SeqCst),
        }
    }

    /// What was answered for this identifier no longer counts.
    pub(crate) fn bump(&self, key: Key) -> Epoch {
        self.slot(key).fetch_add(1, Ordering::SeqCst);
        self.of(key)
    }

    /// What was answered for anybody no longer counts.
    pub(crate) fn bump_all(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
    }

    fn slot(&self, key: Key) -> &AtomicU64 {
        // The key is a keyed hash: its low bits are as good as any.
        &self.of[key.to_bytes()[15] as usize | (key.to_bytes()[14] as usize & 0x0f) << 8]
    }
}
