//! The table as a list of changes that starts from nothing, and back: what a control plane sends as a snapshot, and
//! what the state file keeps.

use std::collections::BTreeMap;

use bytes::Bytes;
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::change::Kind as WireKind;
use mailswitch_proto::id::FleetId;
use mailswitch_proto::identifier::{HashKey, pack};
use mailswitch_proto::revision::{Digest, Position, Revision};

use super::holds::Kind;
use super::packed::Packed;
use super::{Effect, Rejection, Serving, Table};

/// Keys per change: a chunk stays far below gRPC's 4 MiB.
const KEYS_PER_CHANGE: usize = 65_536;

/// A snapshot that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSnapshot {
    /// Its hash key is not sixteen bytes.
    #[error("the snapshot's hash key has {0} bytes instead of 16")]
    HashKey(usize),
    /// Its digest is not thirty-two bytes.
    #[error("the snapshot's {0}")]
    Digest(#[from] mailswitch_proto::revision::InvalidDigest),
    /// A column of keys in it cannot be read: where those accounts are is not known.
    #[error("a column of keys in the snapshot cannot be read")]
    Keys,
    /// It ends at another revision than it began for.
    #[error("the snapshot began for revision {begun} and ended for {ended}")]
    Revision {
        /// At its beginning.
        begun: Revision,
        /// At its end.
        ended: Revision,
    },
}

/// Builds a table aside, chunk by chunk, while the old one serves.
#[derive(Debug)]
pub struct Builder {
    table: Table,
    at: Position,
    rejected: Vec<Rejection>,
}

impl Builder {
    /// Begins one.
    ///
    /// # Errors
    /// When the head of the snapshot makes no sense.
    pub fn begin(begin: &wire::SnapshotBegin, fleet: Option<FleetId>) -> Result<Self, InvalidSnapshot> {
        let hash_key = <[u8; 16]>::try_from(begin.hash_key.as_slice())
            .map_err(|_| InvalidSnapshot::HashKey(begin.hash_key.len()))?;
        let at = Position {
            revision: Revision(begin.revision),
            digest: Digest::try_from(begin.digest.as_slice())?,
        };
        let mut table = Table::empty(HashKey(hash_key));
        table.fleet = fleet;
        // Taken back by a change whose keys cannot be read.
        table.serving = Serving::Yes;
        // A wrong number may cost time, never memory: above this the table grows as it fills.
        table.entries = Packed::with_room_for(usize::try_from(begin.keys.min(20_000_000)).unwrap_or(0));
        Ok(Self {
            table,
            at,
            rejected: Vec::new(),
        })
    }

    /// Takes one chunk.
    pub fn chunk(&mut self, changes: &[wire::Change]) {
        let mut effects = Vec::new();
        for change in changes {
            self.table.apply_one(change, self.at, &mut effects);
        }
        self.rejected
            .extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Rejected(rejection) => Some(rejection),
                _ => None,
            }));
    }

    /// The table, serving, and what of it could not be understood.
    ///
    /// # Errors
    /// When it does not end where it began for.
    pub fn end(mut self, revision: Revision) -> Result<(Table, Vec<Rejection>), InvalidSnapshot> {
        if revision != self.at.revision {
            return Err(InvalidSnapshot::Revision {
                begun: self.at.revision,
                ended: revision,
            });
        }
        if self.table.serving != Serving::Yes {
            return Err(InvalidSnapshot::Keys);
        }
        self.table.position = self.at;
        Ok((self.table, self.rejected))
    }
}

impl Table {
    /// The head of a snapshot of this table.
    #[must_use]
    pub fn snapshot_begin(&self) -> wire::SnapshotBegin {
        wire::SnapshotBegin {
            revision: self.position.revision.0,
            digest: self.position.digest.to_vec(),
            hash_key: self.hash_key.0.to_vec(),
            keys: self.entries.len() as u64,
        }
    }

    /// Its changes: resources, mappings, what arms, then what bars.
    #[must_use]
    pub fn snapshot_changes(&self) -> Vec<wire::Change> {
        let mut changes: Vec<wire::Change> = self
            .resources
            .values()
            .map(|resource| wire::Change {
                keys: Bytes::new(),
                kind: Some(WireKind::ResourceSet(wire::ResourceSet {
                    kind: resource.key.kind.clone(),
                    name: resource.key.name.clone(),
                    site: resource.key.site.clone(),
                    body: resource.body.clone(),
                })),
            })
            .collect();
        let mut columns: BTreeMap<_, Vec<u8>> = BTreeMap::new();
        let mut flush = |slot, column: Vec<u8>| {
            let kind = WireKind::Mapped(wire::Mapped {
                destination: self.names.of(slot).as_str().to_owned(),
            });
            changes.push(wire::Change {
                keys: column.into(),
                kind: Some(kind),
            });
        };
        for (key, slot) in self.entries.iter() {
            let column = columns.entry(slot).or_default();
            column.extend_from_slice(&key.to_bytes());
            if column.len() >= KEYS_PER_CHANGE * 16 {
                flush(slot, std::mem::take(column));
            }
        }
        for (slot, column) in columns {
            if !column.is_empty() {
                flush(slot, column);
            }
        }
        changes.extend(self.armings().map(|(id, arming)| wire::Change {
            keys: pack(&arming.keys).into(),
            kind: Some(WireKind::Armed(wire::Armed {
                arming: id.to_vec(),
                operation: arming.operation.clone(),
            })),
        }));
        changes.extend(self.holds().map(|(_, record)| wire::Change {
            keys: pack(&record.keys).into(),
            kind: match record.kind {
                Kind::Hold => Some(WireKind::Held(record.held.clone())),
                // Read back, it is as unknown as it was.
                Kind::UnknownChange => None,
            },
        }));
        changes
    }
}
