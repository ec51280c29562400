//! The highest position that this replica has seen, kept in its state directory (promise D2): a database that is behind
//! it, or on another branch, has gone back in time.

use std::path::{Path, PathBuf};

use mailswitch_proto::revision::{Digest, Position, Revision};
use parking_lot::Mutex;

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
    file: Option<PathBuf>,
    seen: Mutex<Position>,
}

impl Memory {
    /// One that is lost with the process.
    #[must_use]
    pub fn volatile() -> Self {
        Self {
            file: None,
            seen: Mutex::new(Position::NONE),
        }
    }

    /// The one in this state directory; a new one when there is none.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or says nothing that can be understood.
    pub fn open(state_dir: &Path) -> Result<Self, MemoryError> {
        let path = state_dir.join("seen-revision");
        let seen = match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text).ok_or_else(|| MemoryError {
                path: path.clone(),
                source: std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not 'REVISION DIGEST'"),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Position::NONE,
            Err(source) => return Err(MemoryError { path, source }),
        };
        Ok(Self {
            file: Some(path),
            seen: Mutex::new(seen),
        })
    }

    /// The highest position seen.
    #[must_use]
    pub fn seen(&self) -> Position {
        *self.seen.lock()
    }

    /// Remembers a position, if it is higher. The file is replaced as a whole, and not synced: what a crash of the
    /// machine takes from it only makes this check weaker.
    pub fn remember(&self, position: Position) {
        let mut seen = self.seen.lock();
        if position.revision > seen.revision {
            *seen = position;
            self.store(position);
        }
    }

    /// Takes a position although it is not higher: the operator replaced the database's content.
    pub fn replace(&self, position: Position) {
        let mut seen = self.seen.lock();
        *seen = position;
        self.store(position);
    }

    fn store(&self, position: Position) {
        let Some(path) = &self.file else { return };
        let digest: String = position
            .digest
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let fresh = path.with_extension("new");
        let written = std::fs::write(&fresh, format!("{} {digest}\n", position.revision))
            .and_then(|()| std::fs::rename(&fresh, path));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "the highest revision seen could not be written down");
        }
    }
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
        assert_eq!(Memory::open(dir.path()).unwrap().seen(), two);
        std::fs::write(dir.path().join("seen-revision"), "2 nonsense").unwrap();
        assert!(Memory::open(dir.path()).is_err());
    }
}
