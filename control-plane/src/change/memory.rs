//! The highest position that this replica has seen, kept in its state directory (promise D2): a database that is behind
//! it, or on another branch, has gone back in time.
//!
//! It is written behind, by a thread of its own: a commit does not wait for a second sync, and what a crash takes from it
//! are the last milliseconds. What is on the disk is whole: synced under a name of its own, and then renamed. A file
//! that is damaged all the same counts as missing (promise D3), and the operator is told.

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
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug)]
struct State {
    seen: Position,
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
        for litter in left_behind(state_dir).map_err(failed)? {
            std::fs::remove_file(litter).map_err(failed)?;
        }
        let shared = Arc::new(Shared::of(seen));
        let writing = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("seen-revision".to_owned())
            .spawn({
                let path = path.clone();
                move || writing.write_behind(&path, seen)
            })
            .map_err(failed)?;
        Ok(Self {
            shared,
            writer: Some(writer),
        })
    }

    /// The highest position seen.
    #[must_use]
    pub fn seen(&self) -> Position {
        self.shared.state.lock().seen
    }

    /// Remembers a position, if it is higher.
    pub fn remember(&self, position: Position) {
        let mut state = self.shared.state.lock();
        if position.revision > state.seen.revision {
            state.seen = position;
            self.shared.moved.notify_one();
        }
    }

    /// Takes a position although it is not higher: the operator replaced the database's content.
    pub fn replace(&self, position: Position) {
        self.shared.state.lock().seen = position;
        self.shared.moved.notify_one();
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
    fn of(seen: Position) -> Self {
        Self {
            state: Mutex::new(State {
                seen,
                life: Life::Running,
            }),
            moved: Condvar::new(),
        }
    }

    /// Writes the newest position, again and again, until the end.
    fn write_behind(&self, path: &Path, mut written: Position) {
        loop {
            let mut state = self.state.lock();
            while state.seen == written && state.life == Life::Running {
                self.moved.wait(&mut state);
            }
            let seen = state.seen;
            drop(state);
            if seen == written {
                return;
            }
            if let Err(error) = store(path, seen) {
                tracing::warn!(path = %path.display(), %error, "the highest revision seen could not be written down");
            }
            // Also after a failure: the next position is tried, and no disk is filled with attempts.
            written = seen;
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
        "the highest revision that this replica has seen cannot be read: it does not remember how far the database was. If \
         the database was brought back from a backup, only a node that is ahead of it, or another replica, will notice: \
         compare the revisions of `mailswitchctl status` and `mailswitchctl node list` before anything is moved"
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
        memory.remember(two);
        memory.remember(one);
        drop(memory);
        let memory = Memory::open(dir.path()).unwrap();
        assert_eq!(memory.seen(), two);
        memory.replace(one);
        drop(memory);
        assert_eq!(Memory::open(dir.path()).unwrap().seen(), one);
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
            assert_eq!(memory.seen(), Position::NONE, "{torn:?}");
            let kept = std::fs::read_to_string(dir.path().join("seen-revision.damaged")).unwrap();
            assert_eq!(kept, torn);
            assert!(!dir.path().join("seen-revision.0.new").exists());
            let one = Position::NONE.after(b"a");
            memory.remember(one);
            drop(memory);
            assert_eq!(Memory::open(dir.path()).unwrap().seen(), one);
        }
    }
}
