//! A snapshot: the whole state as a list of changes that starts from nothing, ready to be sent.
//!
//! It is built once and shared by every node that needs it: cloning a chunk clones its few changes, never the
//! packed columns. Resources come first, so that a node knows a destination before a key goes there.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mailswitch_proto::fleet::v1::{self as wire, change::Kind};
use mailswitch_proto::identifier::{HashKey, pack};
use mailswitch_proto::revision::Position;

use super::state::State;

/// Keys in one chunk: 1 MiB of column, a quarter of the 4 MiB that a gRPC peer accepts by default.
const KEYS_PER_CHUNK: usize = 65_536;

/// Armings, holds and resources in one chunk: each is a message of its own, a few hundred bytes to a few KiB.
const CHANGES_PER_CHUNK: usize = 256;

/// Everything at one revision.
#[derive(Debug)]
pub struct Snapshot {
    /// The revision that it stands for.
    pub position: Position,
    /// The key of the table hash.
    pub hash_key: HashKey,
    /// How many mapped keys follow.
    pub keys: u64,
    /// In the order in which they are sent.
    pub chunks: Vec<wire::SnapshotChunk>,
}

impl Snapshot {
    /// Built from the state in memory, never from the database.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut chunks = in_chunks(resources(state));
        chunks.extend(mappings(state));
        // A hold names the arming that it follows.
        chunks.extend(in_chunks(armings(state)));
        chunks.extend(in_chunks(holds(state)));
        chunks.extend(parked(state));
        Self {
            position: state.position(),
            hash_key: state.hash_key(),
            keys: state.table().len() as u64,
            chunks,
        }
    }
}

fn resources(state: &State) -> impl Iterator<Item = wire::Change> + '_ {
    state.resources().iter().map(|(id, body)| wire::Change {
        keys: Bytes::new(),
        kind: Some(Kind::ResourceSet(wire::ResourceSet {
            kind: id.kind.clone(),
            name: id.name.clone(),
            site: id.site.clone(),
            body: body.clone(),
        })),
    })
}

/// A column per destination, cut into chunks as it fills.
fn mappings(state: &State) -> Vec<wire::SnapshotChunk> {
    let mut chunks = Vec::new();
    let mut columns: HashMap<&Arc<str>, BytesMut> = HashMap::new();
    for (key, destination) in state.table().iter() {
        let column = columns.entry(destination).or_default();
        column.extend_from_slice(key);
        if column.len() >= KEYS_PER_CHUNK * key.len() {
            chunks.push(chunk(mapped(column.split().freeze(), destination)));
        }
    }
    let rest = columns.into_iter().filter(|(_, column)| !column.is_empty());
    chunks.extend(rest.map(|(destination, column)| chunk(mapped(column.freeze(), destination))));
    chunks
}

fn mapped(keys: Bytes, destination: &Arc<str>) -> wire::Change {
    wire::Change {
        keys,
        kind: Some(Kind::Mapped(wire::Mapped {
            destination: destination.as_ref().to_owned(),
        })),
    }
}

fn armings(state: &State) -> impl Iterator<Item = wire::Change> + '_ {
    state.armings().map(|(_, arming)| wire::Change {
        keys: arming.keys.clone(),
        kind: Some(Kind::Armed(arming.armed.clone())),
    })
}

fn holds(state: &State) -> impl Iterator<Item = wire::Change> + '_ {
    state.holds().map(|(_, hold)| wire::Change {
        keys: hold.keys.clone(),
        kind: Some(Kind::Held(hold.held.clone())),
    })
}

/// Without a kind: a node holds such keys (promise N7).
fn parked(state: &State) -> Option<wire::SnapshotChunk> {
    let keys: Vec<_> = state.parked().copied().collect();
    (!keys.is_empty()).then(|| {
        chunk(wire::Change {
            keys: pack(&keys).into(),
            kind: None,
        })
    })
}

fn chunk(change: wire::Change) -> wire::SnapshotChunk {
    wire::SnapshotChunk {
        changes: vec![change],
    }
}

fn in_chunks(changes: impl Iterator<Item = wire::Change>) -> Vec<wire::SnapshotChunk> {
    let all: Vec<wire::Change> = changes.collect();
    all.chunks(CHANGES_PER_CHUNK)
        .map(|changes| wire::SnapshotChunk {
            changes: changes.to_vec(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailswitch_proto::identifier::Key;
    use prost::Message as _;

    #[test]
    fn no_chunk_is_larger_than_a_peer_accepts_by_default() {
        let keys: Vec<Key> = (0..200_000u128).map(|n| Key(n << 64)).collect();
        let change = wire::Change {
            keys: pack(&keys).into(),
            kind: Some(Kind::Mapped(wire::Mapped {
                destination: "legacy".to_owned(),
            })),
        };
        let state = State::load(Position::NONE, HashKey([1; 16]), [&change]).unwrap();
        let snapshot = Snapshot::of(&state);
        assert_eq!(snapshot.chunks.len(), 4);
        assert!(snapshot.chunks.iter().all(|chunk| chunk.encoded_len() < 2 << 20));
    }
}
