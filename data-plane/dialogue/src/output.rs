//! What a dialogue has said and the driver has not written yet. It may hold a credential: wiped as it is written.

use std::fmt;

use zeroize::{Zeroize as _, Zeroizing};

use crate::limits::OUTPUT_ENOUGH;
use crate::secret;

/// Bytes to write to the peer.
#[derive(Default)]
pub struct Output {
    bytes: Zeroizing<Vec<u8>>,
    written: usize,
}

impl Output {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is still to be written.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// The first `count` of them are written.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn written(&mut self, count: usize) {
        assert!(
            count <= self.bytes.len() - self.written,
            "more bytes than there were"
        );
        self.written += count;
        if self.written == self.bytes.len() {
            self.bytes.zeroize();
            self.written = 0;
            if self.bytes.capacity() > OUTPUT_ENOUGH {
                self.bytes = Zeroizing::default();
            }
        }
    }

    /// True when nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unwritten().is_empty()
    }

    /// Memory held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds bytes; the driver adds what the session says itself, such as a `farewell`.
    pub fn put(&mut self, bytes: &[u8]) {
        secret::append(&mut self.bytes, bytes);
    }

    /// Adds the parts of one line, and its end.
    pub(crate) fn line(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.put(part);
        }
        self.put(b"\r\n");
    }

    /// The driver should write before more is said.
    pub(crate) fn is_enough(&self) -> bool {
        self.unwritten().len() >= OUTPUT_ENOUGH
    }
}

impl fmt::Debug for Output {
    /// Its length only: it may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({} bytes)", self.unwritten().len())
    }
}
