//! The number of a committed change, and the digest chain (promise D2, N7).
//!
//! The chain is computed once, by the writer, over the stored bytes; everyone else only compares and echoes.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The number of a committed change: gapless, in commit order, the first is 1. Zero stands for "nothing yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first change.
    pub const NONE: Self = Self(0);

    /// The one that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The chained SHA-256 at a revision.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// Thirty-two bytes were expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest has {0} bytes instead of 32")]
pub struct InvalidDigest(usize);

impl Digest {
    /// The digest at revision zero.
    pub const NONE: Self = Self([0; 32]);

    /// The digest of `revision`, whose change set is stored as `payload`, after `self`.
    #[must_use]
    pub fn successor(self, revision: Revision, payload: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(revision.0.to_be_bytes());
        hash.update(payload);
        Self(hash.finalize().into())
    }

    /// The bytes, as they stand on the wire, on disk and in the database.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The bytes, for a message field.
    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = InvalidDigest;

    /// An empty field is the digest at revision zero.
    fn try_from(bytes: &[u8]) -> Result<Self, InvalidDigest> {
        if bytes.is_empty() {
            return Ok(Self::NONE);
        }
        <[u8; 32]>::try_from(bytes)
            .map(Self)
            .map_err(|_| InvalidDigest(bytes.len()))
    }
}

impl fmt::Display for Digest {
    /// The first eight bytes in hex: enough to compare by eye.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Where a reader stands in the log: a revision and the digest there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The last revision that it has.
    pub revision: Revision,
    /// The digest there.
    pub digest: Digest,
}

impl Position {
    /// Before the first change.
    pub const NONE: Self = Self {
        revision: Revision::NONE,
        digest: Digest::NONE,
    };

    /// Where the reader stands after the change set stored as `payload`.
    #[must_use]
    pub fn after(self, payload: &[u8]) -> Self {
        let revision = self.revision.next();
        Self {
            revision,
            digest: self.digest.successor(revision, payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_depends_on_order_and_on_every_byte() {
        let ab = Position::NONE.after(b"a").after(b"b");
        let ba = Position::NONE.after(b"b").after(b"a");
        assert_eq!(ab.revision, Revision(2));
        assert_ne!(ab.digest, ba.digest);
        assert_ne!(
            Position::NONE.after(b"a").digest,
            Position::NONE.after(b"a\0").digest
        );
    }

    #[test]
    fn a_digest_of_another_length_is_refused() {
        assert_eq!(Digest::try_from([0u8; 31].as_slice()), Err(InvalidDigest(31)));
        assert_eq!(Digest::try_from([].as_slice()), Ok(Digest::NONE));
    }
}
