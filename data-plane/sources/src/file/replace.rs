//! The file on the disk: read with a stamp, and replaced as a whole or not at all.
//!
//! The new content is written beside it under a name that nobody else has, synced, and renamed over it; then the folder is
//! synced. Mode and owner stay. A crash at any point leaves the old file or the new one.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::FileError;

/// What stood in the file, and when.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// As configured, for messages.
    named: PathBuf,
    /// Where it really is: a link stays a link.
    path: PathBuf,
    stamp: Stamp,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Replaced,
    /// Somebody wrote it since it was read: nothing was done.
    ChangedMeanwhile,
}

impl Snapshot {
    pub(super) fn read(named: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Read {
            path: named.to_owned(),
            source,
        };
        let path = named.canonicalize().map_err(failed)?;
        // The stamp first: what is written while it is read makes it another one.
        let stamp = Stamp::of(&path).map_err(failed)?;
        let bytes = std::fs::read(&path).map_err(failed)?;
        Ok(Self {
            named: named.to_owned(),
            path,
            stamp,
            bytes,
        })
    }

    pub(super) fn replace_by(&self, bytes: &[u8]) -> Result<Outcome, FileError> {
        self.replaced_by(bytes).map_err(|source| FileError::Write {
            path: self.named.clone(),
            source,
        })
    }

    fn replaced_by(&self, bytes: &[u8]) -> io::Result<Outcome> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let mut beside = Beside {
            path: folder.join(format!(".{name}.{:016x}.new", rand::random::<u64>())),
            took_its_place: false,
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside.path)?;
        file.write_all(bytes)?;
        self.give_mode_and_owner(&file)?;
        file.sync_all()?;
        if Stamp::of(&self.path)? != self.stamp {
            return Ok(Outcome::ChangedMeanwhile);
        }
        std::fs::rename(&beside.path, &self.path)?;
        beside.took_its_place = true;
        File::open(folder)?.sync_all()?;
        Ok(Outcome::Replaced)
    }

    fn give_mode_and_owner(&self, file: &File) -> io::Result<()> {
        let (theirs, ours) = (std::fs::metadata(&self.path)?, file.metadata()?);
        if (theirs.uid(), theirs.gid()) != (ours.uid(), ours.gid()) {
            // Only root may give a file away, and its owner to one of their groups. Who may write the folder may replace
            // the file: that it has another owner then is no reason to leave a mapping unwritten.
            if let Err(error) = std::os::unix::fs::fchown(file, Some(theirs.uid()), Some(theirs.gid()))
                .or_else(|_| std::os::unix::fs::fchown(file, None, Some(theirs.gid())))
            {
                tracing::warn!(file = %self.named.display(), %error, "the mapping file gets another owner or group: this user may not keep it");
            }
        }
        // After the owner: giving a file away clears bits.
        file.set_permissions(Permissions::from_mode(theirs.mode() & 0o7777))
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Removed again unless it took its place.
struct Beside {
    path: PathBuf,
    took_its_place: bool,
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.took_its_place {
            // It may not have been made.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
