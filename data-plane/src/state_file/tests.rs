//! Every way in which the file can be cut or damaged ends as promise N6 says, and never in a mapping that is wrong.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailswitch_config::DestinationName;
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::change::Kind;
use mailswitch_proto::id::{HoldId, OperationId};
use mailswitch_proto::identifier::{HashKey, Identifier, Normalization, pack};
use mailswitch_proto::revision::{Digest, Position, Revision};
use parking_lot::Mutex;
use prost::Message as _;

mod handing;
mod running;

use super::journal::{FILE, Journal};
use super::recover::{Torn, read};
use super::writer::{Snapshot, Sync};
use super::{Corruption, Directory, DirectoryError, Mark, Recovered, Writer};
use crate::route::Look;
use crate::sessions::ActingFor;
use crate::table::{Builder, Serving, Table};

const HASH: HashKey = HashKey([9; 16]);

fn who(name: &str) -> Identifier {
    Identifier::normalized(name, &Normalization::AsPresented).unwrap()
}

fn change(names: &[&str], kind: Kind) -> wire::Change {
    let keys: Vec<_> = names.iter().map(|name| HASH.key_of(name)).collect();
    wire::Change {
        keys: pack(&keys).into(),
        kind: Some(kind),
    }
}

fn mapped(names: &[&str], destination: &str) -> wire::Change {
    change(
        names,
        Kind::Mapped(wire::Mapped {
            destination: destination.to_owned(),
        }),
    )
}

fn held(names: &[&str], hold: HoldId) -> wire::Change {
    let held = wire::Held {
        hold: hold.to_vec(),
        operation: OperationId::random().to_vec(),
        source: "old".to_owned(),
        target: "new".to_owned(),
        deadline_unix_millis: 1,
        drain_timeout_millis: 15_000,
        ..Default::default()
    };
    change(names, Kind::Held(held))
}

fn flipped(names: &[&str], hold: HoldId) -> wire::Change {
    let flipped = wire::Flipped {
        hold: hold.to_vec(),
        operation: OperationId::random().to_vec(),
        destination: "new".to_owned(),
    };
    change(names, Kind::Flipped(flipped))
}

fn payload(changes: Vec<wire::Change>) -> Bytes {
    wire::ChangeSet {
        changes,
        traceparent: String::new(),
    }
    .encode_to_vec()
    .into()
}

/// A table at revision 5, as a snapshot brings it.
fn table() -> Table {
    let begin = wire::SnapshotBegin {
        revision: 5,
        digest: Digest::from([5; 32]).to_vec(),
        hash_key: HASH.0.to_vec(),
        keys: 3,
    };
    let mut builder = Builder::begin(&begin, None).unwrap();
    builder.chunk(&[mapped(&["ann", "bob", "@example.org"], "old")]);
    builder.end(Revision(5)).unwrap().0
}

/// What the table answers: all that a wrong file could change.
fn answers(table: &Table) -> (Position, Vec<Look>) {
    let looks = ["ann", "bob", "cy@example.org", "nobody"]
        .iter()
        .map(|name| table.look(&ActingFor::one(who(name), [])))
        .collect();
    (table.position(), looks)
}

/// A file with a snapshot and a delta that were acknowledged, and two that were not; and what the table says after
/// each record, with where that record ends.
struct Example {
    bytes: Vec<u8>,
    acknowledged: usize,
    after: Vec<(usize, (Position, Vec<Look>))>,
}

fn example() -> Example {
    let directory = tempfile::tempdir().unwrap();
    let mut table = table();
    let mut journal = Journal::rewrite(directory.path(), &Snapshot::of(&table).unwrap(), Mark::None).unwrap();
    let path = directory.path().join(FILE);
    let size = || std::fs::metadata(&path).unwrap().len() as usize;
    let mut after = vec![(size(), answers(&table))];
    let hold = HoldId::random();
    let mut acknowledged = 0;
    for changes in [
        vec![held(&["ann"], hold)],
        vec![flipped(&["ann"], hold)],
        vec![mapped(&["bob"], "third")],
    ] {
        let payload = payload(changes);
        let at = table.position().after(&payload);
        journal.append(at.revision, &payload).unwrap();
        if acknowledged == 0 {
            journal.sync().unwrap();
            acknowledged = size();
        }
        table.apply(&wire::ChangeSet::decode(payload).unwrap(), at);
        after.push((size(), answers(&table)));
    }
    Example {
        bytes: std::fs::read(&path).unwrap(),
        acknowledged,
        after,
    }
}

fn read_back(bytes: &[u8]) -> Result<((Position, Vec<Look>), Torn), Corruption> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    read(&file).map(|(table, _, torn)| (answers(&table), torn))
}

#[test]
fn a_whole_file_gives_the_table_back() {
    let example = example();
    let (answers, torn) = read_back(&example.bytes).unwrap();
    assert_eq!(torn, Torn::No);
    assert_eq!(answers, example.after.last().unwrap().1);
}

#[test]
fn a_file_cut_at_any_length_is_torn_above_the_acknowledged_offset_and_corrupt_below() {
    let example = example();
    for length in 0..example.bytes.len() {
        let outcome = read_back(&example.bytes[..length]);
        if length < example.acknowledged {
            assert!(
                outcome.is_err(),
                "cut at {length}: acknowledged up to {}",
                example.acknowledged
            );
            continue;
        }
        let (end, expected) = example.after.iter().rfind(|(end, _)| *end <= length).unwrap();
        let (answers, torn) = outcome.unwrap();
        assert_eq!(answers, *expected, "cut at {length}");
        let dropped = (length - end) as u64;
        assert_eq!(
            torn,
            if dropped == 0 {
                Torn::No
            } else {
                Torn::Dropped(dropped)
            }
        );
    }
}

#[test]
fn no_changed_byte_is_ever_read_as_a_mapping() {
    let example = example();
    let mut corrupt = 0;
    for at in 0..example.bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut bytes = example.bytes.clone();
            bytes[at] ^= mask;
            match read_back(&bytes) {
                Err(_) => corrupt += 1,
                // A length that points behind the end of the file looks like a torn write. It may drop what was
                // acknowledged to nobody, and nothing else.
                Ok((answers, torn)) => {
                    assert!(at >= example.acknowledged, "byte {at} was acknowledged");
                    assert!(matches!(torn, Torn::Dropped(_)), "byte {at} was not noticed");
                    let known = example.after.iter().find(|(_, expected)| *expected == answers);
                    assert!(
                        known.is_some_and(|(end, _)| *end >= example.acknowledged && *end <= at),
                        "byte {at}"
                    );
                }
            }
        }
    }
    assert!(
        corrupt > example.acknowledged,
        "most changes are seen as corruption"
    );
}

#[test]
fn a_marked_file_that_is_cut_or_changed_anywhere_is_never_read_without_its_mark() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    std::fs::write(&path, example().bytes).unwrap();
    let opened = Directory::open(directory.path()).unwrap();
    let (_, journal) = opened.recover().unwrap();
    journal.unwrap().set_mark(Mark::Left).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mark_of = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        read(&file).map(|(_, tail, _)| tail.header.mark)
    };
    assert_eq!(mark_of(&bytes).unwrap(), Mark::Left);
    for length in 0..bytes.len() {
        assert!(
            mark_of(&bytes[..length]).is_err(),
            "all of it was acknowledged: {length}"
        );
    }
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= mask;
            assert!(mark_of(&bytes).is_err(), "byte {at}");
        }
    }
    // What is appended behind it does not touch it, torn or not.
    let mut longer = bytes.clone();
    longer.extend_from_slice(&[0; 7]);
    assert_eq!(mark_of(&longer).unwrap(), Mark::Left);
}

#[test]
fn a_record_of_another_file_does_not_check() {
    let (one, other) = (example(), example());
    let mut bytes = one.bytes[..one.after[1].0].to_vec();
    bytes.extend_from_slice(&other.bytes[other.after[1].0..]);
    assert!(matches!(read_back(&bytes), Err(Corruption::Record(_))));
}

#[test]
fn a_file_that_is_no_state_file_is_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    for content in [b"".as_slice(), b"hello", &[0; 4096]] {
        let path: &Path = &directory.path().join("other");
        std::fs::write(path, content).unwrap();
        let file = OpenOptions::new().read(true).open(path).unwrap();
        assert!(matches!(read(&file), Err(Corruption::Header)));
    }
}
