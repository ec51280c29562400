//! The bytes of the state file. All numbers are big-endian.
//!
//! Header (96 bytes): magic, 16 random bytes of this file, the fleet, the acknowledged offset, the mark, zeros, SHA-256
//! of all that. The mark stands in the header, so that it is there or not, never torn.
//! Then records: length of the payload (u32), kind (u8), revision (u64), checksum (32), payload. A checksum is
//! SHA-256 over its predecessor's, the record's head and its payload; the first follows from the header. So a record
//! that is changed, moved, left out or taken from another file does not check.

use mailswitch_proto::id::FleetId;
use mailswitch_proto::revision::Revision;
use sha2::{Digest as _, Sha256};

pub(super) const HEADER: usize = 96;
pub(super) const RECORD_HEAD: usize = 4 + 1 + 8 + 32;
/// No record is longer: a length beyond this was never written by us, and must not make us allocate.
pub(super) const MAX_PAYLOAD: usize = 256 << 20;

const MAGIC: [u8; 8] = *b"MSWNODE1";
const CHECKED: usize = 64;

pub(super) type Check = [u8; 32];

/// The header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Random, of this file alone.
    pub(super) salt: [u8; 16],
    pub(super) fleet: Option<FleetId>,
    /// Up to here the file was on disk when something was acknowledged.
    pub(super) acknowledged: u64,
    pub(super) mark: Mark,
}

/// Whether the node may serve what the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mark {
    /// It may.
    #[default]
    None,
    /// It has left the fleet (promise N2): nobody is served until it has been registered anew and has synced.
    Left,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.salt);
        if let Some(fleet) = self.fleet {
            bytes[24..40].copy_from_slice(fleet.as_bytes());
        }
        bytes[40..48].copy_from_slice(&self.acknowledged.to_be_bytes());
        bytes[48] = match self.mark {
            Mark::None => 0,
            Mark::Left => 1,
        };
        let sum = Sha256::digest(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&sum);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER]) -> Option<Self> {
        let sum: Check = Sha256::digest(&bytes[..CHECKED]).into();
        if bytes[..8] != MAGIC || bytes[CHECKED..] != sum {
            return None;
        }
        let array = |range: std::ops::Range<usize>| <[u8; 16]>::try_from(&bytes[range]).ok();
        let fleet = array(24..40)?;
        Some(Self {
            salt: array(8..24)?,
            fleet: (fleet != [0; 16]).then(|| FleetId::from(fleet)),
            acknowledged: u64::from_be_bytes(bytes[40..48].try_into().ok()?),
            mark: match bytes[48] {
                0 => Mark::None,
                1 => Mark::Left,
                // Of a later version: what it means is not known, and nobody is served from it.
                _ => return None,
            },
        })
    }

    /// The checksum that the first record follows. The acknowledged offset changes and is not part of it.
    pub(super) fn chain(&self) -> Check {
        let mut hash = Sha256::new();
        hash.update(MAGIC);
        hash.update(self.salt);
        hash.update(self.fleet.map_or([0; 16], |fleet| *fleet.as_bytes()));
        hash.finalize().into()
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The head of a snapshot.
    SnapshotBegin = 1,
    /// Some changes of it.
    SnapshotChunk = 2,
    /// The snapshot is whole.
    SnapshotEnd = 3,
    /// One revision, as it was committed.
    Delta = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::SnapshotBegin,
            Self::SnapshotChunk,
            Self::SnapshotEnd,
            Self::Delta,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) revision: Revision,
    pub(super) check: Check,
}

impl RecordHead {
    pub(super) fn decode(bytes: &[u8; RECORD_HEAD]) -> Self {
        let mut len = [0; 4];
        len.copy_from_slice(&bytes[..4]);
        let mut revision = [0; 8];
        revision.copy_from_slice(&bytes[5..13]);
        let mut check = [0; 32];
        check.copy_from_slice(&bytes[13..]);
        Self {
            len: u32::from_be_bytes(len) as usize,
            kind: bytes[4],
            revision: Revision(u64::from_be_bytes(revision)),
            check,
        }
    }

    /// The kind, when the record checks.
    pub(super) fn verify(&self, previous: &Check, payload: &[u8]) -> Option<Kind> {
        let kind = Kind::of(self.kind)?;
        (checksum(previous, kind, self.revision, payload)? == self.check).then_some(kind)
    }
}

/// A record's bytes before its payload; none when the payload is too long.
pub(super) fn record_head(
    previous: &Check,
    kind: Kind,
    revision: Revision,
    payload: &[u8],
) -> Option<([u8; RECORD_HEAD], Check)> {
    let check = checksum(previous, kind, revision, payload)?;
    let mut bytes = [0; RECORD_HEAD];
    bytes[..4].copy_from_slice(&u32::try_from(payload.len()).ok()?.to_be_bytes());
    bytes[4] = kind as u8;
    bytes[5..13].copy_from_slice(&revision.0.to_be_bytes());
    bytes[13..].copy_from_slice(&check);
    Some((bytes, check))
}

fn checksum(previous: &Check, kind: Kind, revision: Revision, payload: &[u8]) -> Option<Check> {
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(u32::try_from(payload.len()).ok()?.to_be_bytes());
    hash.update([kind as u8]);
    hash.update(revision.0.to_be_bytes());
    hash.update(payload);
    Some(hash.finalize().into())
}
