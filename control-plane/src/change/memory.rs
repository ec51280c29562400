//! The highest position that this replica has seen, kept in its state directory (promise D2): a database that is behind
//! it, or on another branch, has gone back in time.
//!
//! It is written behind, by a thread of its own: a commit does not wait for a second sync, and what a crash takes from it
//! are the last milliseconds. Only a restore waits until the disk has it: a kill must not bring back the memory of what
//! the operator gave up. What is on the disk is whole: synced under a name of its own, and then renamed. A file that is
//! damaged all the same counts as missing (promise D3).

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use mailswitch_proto::revision::{Digest, Position, Revision};
use parking_lot::{Condvar, Mutex};

/// What the memory fails with.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .path.display())]
pub struct MemoryError {
    path: PathBuf,
    source: std::io::Error,
}

/// The highest position seen.
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    recall: Recall,
}

/// Whether there was a memory to start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recall {
    /// There was.
    Remembered,
    /// A first start, a lost state directory, or a file that cannot be understood (promise D3).
    Missing,
}

/// Goes up when the operator replaces the database's content. What was read of the one before does not count any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Era(u64);

/// What is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The highest position.
    pub position: Position,
    /// Of which content of the database.
    pub era: Era,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
    stored: Condvar,
}

#[derive(Debug)]
struct State {
    seen: Seen,
    /// What the thread last tried to store, and what came of it.
    tried: Seen,
    failure: Option<std::io::Error>,
    life: Life,
}

#[derive(Debug, PartialEq, Eq)]
enum Life {
    Running,
    /// What is not on the disk yet is written, and then nothing more.
    Ending,
}

impl Memory {
    /// One that is lost with the process.
    #[must_use]
    pub fn volatile() -> Self {
        Self {
            shared: Arc::new(Shared::of(Position::NONE)),
            writer: None,
            recall: Recall::Remembered,
        }
    }

    /// The one in this state directory; a new one when there is none, or when it cannot be understood: then it is set
    /// aside.
    ///
    /// # Errors
    /// When the file is there and cannot be read or set aside.
    pub fn open(state_dir: &Path) -> Result<Self, MemoryError> {
        let path = state_dir.join("seen-revision");
        let failed = |source| MemoryError {
            path: path.clone(),
            source,
        };
        let seen = match std::fs::read(&path) {
            Ok(bytes) => match std::str::from_utf8(&bytes).ok().and_then(parse) {
                Some(seen) => seen,
                None => {
                    set_aside(&path).map_err(failed)?;
                    Position::NONE
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Position::NONE,
            Err(error) => return Err(failed(error)),
        };
        let recall = match seen {
            Position::NONE => Recall::Missing,
            _ => Recall::Remembered,
        };
        for litter in left_behind(state_dir).map_err(failed)? {
            std::fs::remove_file(litter).map_err(failed)?;
        }
        let shared = Arc::new(Shared::of(seen));
        let writing = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("seen-revision".to_owned())
            .spawn({
                let path = path.clone();
                move || writing.write_behind(&path)
            })
            .map_err(failed)?;
        Ok(Self {
            shared,
            writer: Some(writer),
            recall,
        })
    }

    /// Whether there was a memory when this process started.
    #[must_use]
    pub fn recall(&self) -> Recall {
        self.recall
    }

    /// The highest position seen. Take it before the database is read: what is read then is of this era at the earliest.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.shared.state.lock().seen
    }

    /// Remembers a position that was read in this era, if it is higher, and the era is not over.
    pub fn remember(&self, era: Era, position: Position) {
        let mut state = self.shared.state.lock();
        if state.seen.era == era && position.revision > state.seen.position.revision {
            state.seen.position = position;
            self.shared.moved.notify_one();
        }
    }

    /// Takes a position although it is not higher: the operator replaced the database's content. Returns when the disk has
    /// it; not to be called where nobody may block.
    ///
    /// # Errors
    /// When it could not be written: it is believed until this process ends, and not by the next one.
    pub fn replace(&self, position: Position) -> Result<(), std::io::Error> {
        let mut state = self.shared.state.lock();
        let era = Era(state.seen.era.0 + 1);
        state.seen = Seen { position, era };
        self.shared.moved.notify_one();
        if self.writer.is_none() {
            return Ok(());
        }
        while state.tried.era < era {
            self.shared.stored.wait(&mut state);
        }
        state.failure.take().map_or(Ok(()), Err)
    }
}

/// An orderly end leaves nothing unwritten.
impl Drop for Memory {
    fn drop(&mut self) {
        self.shared.state.lock().life = Life::Ending;
        self.shared.moved.notify_one();
        if let Some(writer) = self.writer.take() {
            // It has said in the log what it could not do.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn of(position: Position) -> Self {
        let seen = Seen {
            position,
            era: Era::default(),
        };
        Self {
            state: Mutex::new(State {
                seen,
                tried: seen,
                failure: None,
                life: Life::Running,
            }),
            moved: Condvar::new(),
            stored: Condvar::new(),
        }
    }

    /// Writes the newest position, again and again, until the end. Only this thread writes: what is on the disk is never
    /// older than what was written before.
    fn write_behind(&self, path: &Path) {
        let mut state = self.state.lock();
        loop {
            while state.seen == state.tried && state.life == Life::Running {
                self.moved.wait(&mut state);
            }
            let seen = state.seen;
            if seen == state.tried {
                return;
            }
            drop(state);
            let written = store(path, seen.position);
            if let Err(error) = &written {
                tracing::warn!(path = %path.display(), %error, "the highest revision seen could not be written down");
            }
            state = self.state.lock();
            // Also after a failure: the next position is tried, and no disk is filled with attempts.
            state.tried = seen;
            state.failure = written.err();
            self.stored.notify_all();
        }
    }
}

/// What a process that was killed in the middle of a write has left.
fn left_behind(state_dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(state_dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("seen-revision.") && name.ends_with(".new") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn set_aside(path: &Path) -> std::io::Result<()> {
    let aside = path.with_extension("damaged");
    std::fs::rename(path, &aside)?;
    tracing::warn!(
        path = %path.display(), kept = %aside.display(),
        "the highest revision that this replica has seen cannot be read: it does not remember how far the database was"
    );
    Ok(())
}

fn store(path: &Path, position: Position) -> std::io::Result<()> {
    let digest: String = position
        .digest
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let folder = path.parent().unwrap_or(Path::new("."));
    // Two that are started on one directory by mistake do not tear each other's file.
    let fresh = path.with_extension(format!("{}.new", uuid::Uuid::new_v4().simple()));
    let write = || {
        let mut file = File::create_new(&fresh)?;
        file.write_all(format!("{} {digest}\n", position.revision).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        File::open(folder)?.sync_all()
    };
    let written = write();
    if written.is_err() {
        // Nothing reads it; it is only litter.
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

fn parse(text: &str) -> Option<Position> {
    let (revision, digest) = text.trim_end().split_once(' ')?;
    if digest.len() != 64 || !digest.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digest.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Position {
        revision: Revision(revision.parse().ok()?),
        digest: Digest::from(bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_position_survives_a_restart_and_a_lower_one_does_not_replace_it() {
        let dir = tempfile::tempdir().unwrap();
        let one = Position::NONE.after(b"a");
        let two = one.after(b"b");
        let memory = Memory::open(dir.path()).unwrap();
        assert_eq!(memory.recall(), Recall::Missing);
        let era = memory.seen().era;
        memory.remember(era, two);
        memory.remember(era, one);
        drop(memory);
        let memory = Memory::open(dir.path()).unwrap();
        assert_eq!(memory.recall(), Recall::Remembered);
        assert_eq!(memory.seen().position, two);
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(files.len(), 1, "no other file is left: {files:?}");
    }

    #[test]
    fn a_file_that_a_power_cut_has_torn_or_emptied_counts_as_missing_and_is_kept() {
        let whole = format!("7 {}\n", "ab".repeat(32));
        for torn in ["", "2 nonsense", &whole[..40], "\0\0\0\0"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("seen-revision"), torn).unwrap();
            std::fs::write(dir.path().join("seen-revision.0.new"), torn).unwrap();
            let memory = Memory::open(dir.path()).unwrap();
            assert_eq!(memory.seen().position, Position::NONE, "{torn:?}");
            assert_eq!(memory.recall(), Recall::Missing, "{torn:?}");
            let kept = std::fs::read_to_string(dir.path().join("seen-revision.damaged")).unwrap();
            assert_eq!(kept, torn);
            assert!(!dir.path().join("seen-revision.0.new").exists());
            let one = Position::NONE.after(b"a");
            memory.remember(memory.seen().era, one);
            drop(memory);
            assert_eq!(Memory::open(dir.path()).unwrap().seen().position, one);
        }
    }

    #[test]
    fn what_a_restore_replaced_is_on_the_disk_when_it_returns_and_nothing_older_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let one = Position::NONE.after(b"a");
        let memory = Memory::open(dir.path()).unwrap();
        let mut high = one;
        for _ in 0..200 {
            high = high.after(b"b");
            let before = memory.seen().era;
            // Perhaps being written at this moment.
            memory.remember(before, high);
            memory.replace(one).unwrap();
            // As a kill would leave it: nothing is dropped in order.
            let text = std::fs::read_to_string(dir.path().join("seen-revision")).unwrap();
            assert_eq!(parse(&text), Some(one));
            // A reader that was slow: what it read is of the database before.
            memory.remember(before, high);
            assert_eq!(memory.seen().position, one);
        }
        // The same position again is a new era, and is written.
        memory.replace(one).unwrap();
        std::fs::remove_dir_all(dir.path()).unwrap();
        memory.replace(high).unwrap_err();
    }
}
