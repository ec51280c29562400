//! Appending to the state file, and writing it anew (promise N6, Q5).
//!
//! Records are appended as they come; a sync writes the acknowledged offset into the header and brings both to the
//! disk at once. A power cut between the two can leave a header that is ahead of its records: that reads as
//! corruption, and the node serves nobody until it has synced. It never reads as a mapping that is wrong.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::revision::Revision;
use prost::Message as _;

use super::format::{Check, HEADER, Header, Kind, Mark, RECORD_HEAD, record_head};
use super::recover::Tail;
use super::writer::Snapshot;

/// The file in the state directory.
pub(super) const FILE: &str = "state";
const NEW_FILE: &str = "state.new";
/// A journal shorter than this is never worth a new file.
const SMALL_JOURNAL: u64 = 1 << 20;
/// Bytes of changes in one record of a snapshot.
const CHUNK: usize = 1 << 20;

/// The open file.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    header: Header,
    end: u64,
    check: Check,
    snapshot_end: u64,
}

impl Journal {
    /// Goes on behind what was recovered. What a crash tore is cut off, so that it can never be read as something; what
    /// was not acknowledged yet may be from now on, so the header covers it.
    pub(super) fn resume(file: File, tail: Tail) -> io::Result<Self> {
        file.set_len(tail.end)?;
        let mut journal = Self {
            file,
            header: tail.header,
            end: tail.end,
            check: tail.check,
            snapshot_end: tail.snapshot_end,
        };
        journal.sync()?;
        Ok(journal)
    }

    /// Writes a new file from a snapshot, and puts it in the place of the old one: synced, renamed, and the directory
    /// synced, so that at every instant one whole file has the name.
    pub(super) fn rewrite(directory: &Path, snapshot: &Snapshot, mark: Mark) -> io::Result<Self> {
        let path = directory.join(NEW_FILE);
        let file = OpenOptions::new()
            .write(true)
            .read(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        let header = Header {
            salt: rand::random(),
            fleet: snapshot.fleet,
            acknowledged: 0,
            mark,
        };
        let mut journal = Self {
            file,
            check: header.chain(),
            header,
            end: HEADER as u64,
            snapshot_end: 0,
        };
        journal.write_snapshot(snapshot)?;
        journal.snapshot_end = journal.end;
        journal.sync()?;
        std::fs::rename(&path, directory.join(FILE))?;
        sync_directory(directory)?;
        Ok(journal)
    }

    /// Appends one revision.
    pub(super) fn append(&mut self, revision: Revision, payload: &[u8]) -> io::Result<()> {
        let mut record = Vec::with_capacity(RECORD_HEAD + payload.len());
        self.encode(&mut record, Kind::Delta, revision, payload)?;
        self.write(&record)
    }

    /// Everything that was appended is on the disk when this returns, and the header says so.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let header = Header {
            acknowledged: self.end,
            ..self.header.clone()
        };
        self.file.write_all_at(&header.encode(), 0)?;
        self.file.sync_data()?;
        self.header = header;
        Ok(())
    }

    /// Sets or takes back the mark, on the disk when this returns.
    pub(super) fn set_mark(&mut self, mark: Mark) -> io::Result<()> {
        self.header.mark = mark;
        self.sync()
    }

    pub(super) fn mark(&self) -> Mark {
        self.header.mark
    }

    /// Something was appended since the last sync.
    pub(super) fn is_dirty(&self) -> bool {
        self.header.acknowledged != self.end
    }

    /// The journal has outgrown the table.
    pub(super) fn wants_rewriting(&self) -> bool {
        self.end - self.snapshot_end > self.snapshot_end.max(SMALL_JOURNAL)
    }

    fn write_snapshot(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let revision = Revision(snapshot.begin.revision);
        let mut records = Vec::new();
        self.encode(
            &mut records,
            Kind::SnapshotBegin,
            revision,
            &snapshot.begin.encode_to_vec(),
        )?;
        let mut chunk = wire::SnapshotChunk::default();
        let mut bytes = 0;
        for change in &snapshot.changes {
            bytes += change.encoded_len();
            chunk.changes.push(change.clone());
            if bytes >= CHUNK {
                self.encode(
                    &mut records,
                    Kind::SnapshotChunk,
                    revision,
                    &chunk.encode_to_vec(),
                )?;
                self.write(&records)?;
                records.clear();
                chunk.changes.clear();
                bytes = 0;
            }
        }
        self.encode(
            &mut records,
            Kind::SnapshotChunk,
            revision,
            &chunk.encode_to_vec(),
        )?;
        self.encode(&mut records, Kind::SnapshotEnd, revision, &[])?;
        self.write(&records)
    }

    fn encode(
        &mut self,
        into: &mut Vec<u8>,
        kind: Kind,
        revision: Revision,
        payload: &[u8],
    ) -> io::Result<()> {
        let (head, check) = record_head(&self.check, kind, revision, payload).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a change is too long for the state file",
            )
        })?;
        into.extend_from_slice(&head);
        into.extend_from_slice(payload);
        self.check = check;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// Writes a small file whole: a reader sees the old one or the new one.
pub(super) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let new: PathBuf = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_data()?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
