//! Reading the state file at start (promise N5, N6).
//!
//! A record cut short at the end of the file is a write that a crash tore: it was acknowledged to nobody, and is
//! dropped. Below the acknowledged offset it is corruption, as is anything else that does not check: then nothing of
//! the file is used.

use std::fs::File;
use std::io::{self, BufReader, Read};

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::revision::Position;
use prost::Message as _;

use super::format::{Check, HEADER, Header, Kind, MAX_PAYLOAD, RECORD_HEAD, RecordHead};
use crate::table::{Builder, InvalidSnapshot, Table};

/// What a start finds.
#[derive(Debug)]
pub enum Recovered {
    /// No file: a new node, or one whose file was set aside.
    Nothing,
    /// The table as it was, and whether a torn write was dropped.
    Table(Box<Table>, Torn),
    /// The file cannot be trusted. It was set aside, and nobody is served until the node has synced (N5).
    Corrupt(Corruption),
}

/// Whether the file ended in the middle of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Torn {
    /// It did not.
    No,
    /// So many bytes were dropped.
    Dropped(u64),
}

/// Why a file cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Corruption {
    /// The header does not check.
    #[error("its header does not check")]
    Header,
    /// It is shorter than what was acknowledged.
    #[error("it ends at byte {end}, before byte {acknowledged} up to which it was acknowledged")]
    Short {
        /// Where its last whole record ends.
        end: u64,
        /// What the header says.
        acknowledged: u64,
    },
    /// A record does not check.
    #[error("the record at byte {0} does not check")]
    Record(u64),
    /// Records that check, in an order that was never written.
    #[error("the record at byte {0} does not follow the ones before it")]
    Order(u64),
    /// The snapshot makes no sense.
    #[error(transparent)]
    Snapshot(#[from] InvalidSnapshot),
    /// The disk gives it back no more.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// Where appending goes on.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) header: Header,
    pub(super) end: u64,
    pub(super) check: Check,
    pub(super) snapshot_end: u64,
}

/// Reads a file whole.
pub(super) fn read(file: &File) -> Result<(Table, Tail, Torn), Corruption> {
    let size = file.metadata()?.len();
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER];
    if size < HEADER as u64 {
        return Err(Corruption::Header);
    }
    input.read_exact(&mut header)?;
    let header = Header::decode(&header).ok_or(Corruption::Header)?;
    let mut reader = Reader {
        input,
        size,
        at: HEADER as u64,
        check: header.chain(),
    };
    let mut state = Progress::Nothing;
    let mut snapshot_end = 0;
    while let Some(record) = reader.next()? {
        state = state.take(&header, &record)?;
        if record.kind == Kind::SnapshotEnd {
            snapshot_end = reader.at;
        }
    }
    if reader.at < header.acknowledged {
        return Err(Corruption::Short {
            end: reader.at,
            acknowledged: header.acknowledged,
        });
    }
    let Progress::Whole(table) = state else {
        // A snapshot is synced before the file gets its name: it cannot be torn.
        return Err(Corruption::Order(reader.at));
    };
    let torn = match size - reader.at {
        0 => Torn::No,
        bytes => Torn::Dropped(bytes),
    };
    let tail = Tail {
        header,
        end: reader.at,
        check: reader.check,
        snapshot_end,
    };
    Ok((*table, tail, torn))
}

struct Record {
    at: u64,
    kind: Kind,
    revision: mailswitch_proto::revision::Revision,
    payload: Vec<u8>,
}

struct Reader<R> {
    input: R,
    size: u64,
    at: u64,
    check: Check,
}

impl<R: Read> Reader<R> {
    /// The next record that checks; none at the end, also where the last one was cut short.
    fn next(&mut self) -> Result<Option<Record>, Corruption> {
        let at = self.at;
        let left = self.size - at;
        if left < RECORD_HEAD as u64 {
            return Ok(None);
        }
        let mut head = [0; RECORD_HEAD];
        self.input.read_exact(&mut head)?;
        let head = RecordHead::decode(&head);
        if head.len as u64 > left - RECORD_HEAD as u64 {
            return Ok(None);
        }
        if head.len > MAX_PAYLOAD {
            return Err(Corruption::Record(at));
        }
        let mut payload = vec![0; head.len];
        self.input.read_exact(&mut payload)?;
        let kind = head.verify(&self.check, &payload).ok_or(Corruption::Record(at))?;
        self.check = head.check;
        self.at = at + (RECORD_HEAD + head.len) as u64;
        Ok(Some(Record {
            at,
            kind,
            revision: head.revision,
            payload,
        }))
    }
}

/// A snapshot, whole, then deltas without a gap: any other order was never written.
enum Progress {
    Nothing,
    Building(Box<Builder>),
    Whole(Box<Table>),
}

impl Progress {
    fn take(self, header: &Header, record: &Record) -> Result<Self, Corruption> {
        let wrong = || Corruption::Order(record.at);
        match (self, record.kind) {
            (Self::Nothing, Kind::SnapshotBegin) => {
                let begin = wire::SnapshotBegin::decode(record.payload.as_slice()).map_err(|_| wrong())?;
                Ok(Self::Building(Box::new(Builder::begin(&begin, header.fleet)?)))
            }
            (Self::Building(mut builder), Kind::SnapshotChunk) => {
                let chunk = wire::SnapshotChunk::decode(record.payload.as_slice()).map_err(|_| wrong())?;
                builder.chunk(&chunk.changes);
                Ok(Self::Building(builder))
            }
            (Self::Building(builder), Kind::SnapshotEnd) => {
                let (table, _known_when_it_came) = builder.end(record.revision)?;
                Ok(Self::Whole(Box::new(table)))
            }
            (Self::Whole(mut table), Kind::Delta) => {
                let at: Position = table.position().after(&record.payload);
                if at.revision != record.revision {
                    return Err(wrong());
                }
                let set = wire::ChangeSet::decode(record.payload.as_slice()).map_err(|_| wrong())?;
                // Nobody is registered yet: there is nothing that has to follow.
                let _effects = table.apply(&set, at);
                Ok(Self::Whole(table))
            }
            _ => Err(wrong()),
        }
    }
}
