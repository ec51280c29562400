//! What a peer has sent and the dialogue has not used yet: bounded, wiped as it is used.
//!
//! The driver fills it, the dialogue consumes from its front, and what is left when the dialogue ends goes to
//! the bridge. A proof that nothing is left (`TlsBoundary`) can be made only here: the one function that
//! upgrades to TLS takes it, so that bytes from before TLS are never read as if they came from inside it.

use std::fmt;

use zeroize::{Zeroize as _, Zeroizing};

use crate::limits::{LINE_LIMIT, READ_SIZE};

const CAPACITY: usize = LINE_LIMIT + READ_SIZE;

/// Received bytes, at most `LINE_LIMIT` and one read. Holds no memory until the first read.
#[derive(Default)]
pub struct Input {
    storage: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
    /// Bytes from `start` that are known to hold no line end: a line that comes byte by byte is looked at once.
    scanned: usize,
}

impl Input {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the driver reads into. Never empty while the dialogue keeps its contract.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.storage.len() - self.end < READ_SIZE / 4 {
            self.make_room();
        }
        &mut self.storage[self.end..]
    }

    /// Takes over the first `count` bytes of the last `spare()`.
    ///
    /// # Panics
    /// When `count` is more than that.
    pub fn filled(&mut self, count: usize) {
        assert!(
            count <= self.storage.len() - self.end,
            "more bytes than there was room for"
        );
        self.end += count;
    }

    /// Copies in as much as there is room for, and says how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let room = self.spare();
            if room.is_empty() {
                break;
            }
            let count = room.len().min(bytes.len() - taken);
            room[..count].copy_from_slice(&bytes[taken..taken + count]);
            self.filled(count);
            taken += count;
        }
        taken
    }

    /// Received and not used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// True when everything received is used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Memory held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.storage.capacity()
    }

    /// What the peer sent behind the end of the dialogue: the bridge forwards it, first and once.
    #[must_use]
    pub fn into_rest(self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.unread().to_vec())
    }

    /// The proof that TLS may start here.
    ///
    /// # Errors
    /// When bytes have been received that a TLS engine would never have seen: STARTTLS injection, or a peer
    /// that speaks out of turn.
    pub fn tls_boundary(&self) -> Result<TlsBoundary, PlaintextBehind> {
        if self.is_empty() {
            Ok(TlsBoundary(()))
        } else {
            Err(PlaintextBehind { bytes: self.len() })
        }
    }

    /// Throws away what a client pipelined behind its STARTTLS: it is never interpreted (behaviour §6).
    pub(crate) fn discard(&mut self) -> TlsBoundary {
        self.consume(self.len());
        TlsBoundary(())
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    /// Wipes and gives up the first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        let used = self.start..self.start + count;
        self.storage[used].zeroize();
        self.start += count;
        self.scanned = 0;
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            if self.storage.len() > READ_SIZE {
                self.storage = Zeroizing::default();
            }
        } else if self.storage.len() > READ_SIZE && self.len() <= READ_SIZE / 2 {
            // What is left behind a long line does not keep the room that the line had.
            let mut small = Zeroizing::new(vec![0; READ_SIZE]);
            let left = self.len();
            small[..left].copy_from_slice(self.unread());
            self.storage = small;
            self.start = 0;
            self.end = left;
        }
    }

    /// The place of the next line feed. Looks at each byte once, however the bytes come.
    pub(crate) fn find_line_feed(&mut self) -> Option<usize> {
        let found = self.unread()[self.scanned..]
            .iter()
            .position(|byte| *byte == b'\n');
        match found {
            Some(offset) => Some(self.scanned + offset),
            None => {
                self.scanned = self.len();
                None
            }
        }
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.storage.copy_within(self.start..self.end, 0);
            let left = self.len();
            self.storage[left..self.end].zeroize();
            self.start = 0;
            self.end = left;
        }
        if self.storage.len() - self.end < READ_SIZE / 4 && self.storage.len() < CAPACITY {
            // Small, doubling, and the last time to the full size: old and new stand side by side for a moment.
            let doubled = (self.storage.len() * 2).max(READ_SIZE);
            let size = if doubled > CAPACITY / 2 { CAPACITY } else { doubled };
            let mut grown = Zeroizing::new(vec![0; size]);
            grown[..self.end].copy_from_slice(&self.storage[..self.end]);
            self.storage = grown;
        }
    }
}

impl fmt::Debug for Input {
    /// Its length only: it holds passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({} bytes)", self.len())
    }
}

/// Proof that no byte from before TLS is left. The function that starts TLS takes it by value.
///
/// It cannot be made elsewhere:
/// ```compile_fail,E0423
/// let injected = mailswitch_dialogue::TlsBoundary(());
/// ```
/// nor used twice:
/// ```compile_fail,E0382
/// let boundary = mailswitch_dialogue::Input::new().tls_boundary().expect("it is empty");
/// let first = boundary.established();
/// let second = boundary.established();
/// ```
#[derive(Debug)]
#[must_use = "the dialogue waits for TLS"]
pub struct TlsBoundary(());

impl TlsBoundary {
    /// To be called by the one function that does TLS handshakes, once one has succeeded behind this boundary.
    #[must_use]
    pub fn established(self) -> TlsEstablished {
        TlsEstablished(())
    }
}

/// Proof that a leg is encrypted: what the credential guard asks for.
#[derive(Debug)]
pub struct TlsEstablished(());

/// Bytes were received in clear behind the point where TLS starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes were received in clear behind the start of TLS")]
pub struct PlaintextBehind {
    /// How many.
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_comes_out_once_and_in_order_and_the_memory_is_bounded() {
        let mut input = Input::new();
        let mut sent = 0u32;
        let mut received = 0u32;
        for round in 1..2000usize {
            let bytes: Vec<u8> = (0..round * 37 % 9000).map(|n| (sent + n as u32) as u8).collect();
            sent += input.push(&bytes) as u32;
            let take = input.len().min(round * 53 % 9000);
            for byte in &input.unread()[..take] {
                assert_eq!(*byte, received as u8);
                received += 1;
            }
            input.consume(take);
            assert!(input.capacity() <= CAPACITY);
        }
        assert!(received > 1_000_000);
    }

    #[test]
    fn a_full_line_always_leaves_room_for_its_end() {
        let mut input = Input::new();
        assert_eq!(input.push(&vec![b'a'; LINE_LIMIT]), LINE_LIMIT);
        assert!(input.spare().len() >= 2);
    }

    #[test]
    fn a_boundary_exists_only_when_nothing_is_left() {
        let mut input = Input::new();
        assert!(input.tls_boundary().is_ok());
        assert_eq!(input.push(b"a NOOP\r\n"), 8);
        assert_eq!(input.tls_boundary().unwrap_err(), PlaintextBehind { bytes: 8 });
        let _ = input.discard();
        assert!(input.is_empty());
    }

    #[test]
    fn used_bytes_are_wiped() {
        let mut input = Input::new();
        input.push(b"secret\r\nrest");
        input.consume(8);
        assert_eq!(&input.storage[..8], &[0; 8]);
        assert_eq!(input.unread(), b"rest");
    }
}
