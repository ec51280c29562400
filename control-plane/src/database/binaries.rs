//! Finds the installed PostgreSQL server binaries.

use std::path::{Path, PathBuf};

/// Where Debian and its relatives put them, a folder per major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// There are none.
#[derive(Debug, thiserror::Error)]
#[error(
    "no PostgreSQL server is installed under {DEBIAN}: install it (Debian: apt-get install postgresql), or give \
     [database] url"
)]
pub struct NotInstalled;

/// An installed server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) major: u32,
    folder: PathBuf,
}

impl Binaries {
    /// The newest one.
    pub(super) fn newest() -> Result<Self, NotInstalled> {
        Self::installed()
            .max_by_key(|found| found.major)
            .ok_or(NotInstalled)
    }

    /// The one of a major version: a data directory is only read by its own.
    pub(super) fn of_major(major: u32) -> Option<Self> {
        Self::installed().find(|found| found.major == major)
    }

    fn installed() -> impl Iterator<Item = Self> {
        std::fs::read_dir(Path::new(DEBIAN))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let major = entry.file_name().to_str()?.parse().ok()?;
                let folder = entry.path().join("bin");
                (folder.join("postgres").is_file() && folder.join("initdb").is_file())
                    .then_some(Self { major, folder })
            })
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }
}
