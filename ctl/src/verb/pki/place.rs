//! Putting certificates and keys into a folder: keys for the owner only from their first byte on, nothing
//! overwritten unless it is said, and never half a pair.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// What to do with files that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Refuse,
    Replace,
}

/// Makes the folder, for the owner only, unless it is there.
pub(super) fn folder(path: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| failed("made", path, &error))
}

/// Refuses when one of them is there.
pub(super) fn free(paths: &[&Path]) -> Result<(), Failure> {
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(Failure::new(
            Exit::Precondition,
            format!("{} is there already", path.display()),
        )),
        None => Ok(()),
    }
}

/// Writes a certificate and its key beside their places, then moves both there.
pub(super) fn write_pair(
    cert: (&Path, &[u8]),
    key: (&Path, &[u8]),
    existing: Existing,
) -> Result<(), Failure> {
    let pairs = [(key.0, key.1, 0o600), (cert.0, cert.1, 0o644)];
    let mut written: Vec<(PathBuf, &Path)> = Vec::new();
    for (path, bytes, mode) in pairs {
        let beside = beside(path);
        let result = write(&beside, bytes, mode);
        written.push((beside, path));
        if let Err(error) = result {
            discard(&written);
            return Err(failed("written", path, &error));
        }
    }
    for (beside, path) in &written {
        let moved = match existing {
            Existing::Replace => std::fs::rename(beside, path),
            // A link fails where a file is, also one that came after we looked.
            Existing::Refuse => std::fs::hard_link(beside, path).and_then(|()| std::fs::remove_file(beside)),
        };
        if let Err(error) = moved {
            discard(&written);
            return Err(failed("written", path, &error));
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

fn discard(written: &[(PathBuf, &Path)]) {
    for (beside, _) in written {
        // It may not have come into being.
        let _ = std::fs::remove_file(beside);
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Precondition,
        format!("{} cannot be {what}: {error}", path.display()),
    )
}
