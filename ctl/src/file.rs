//! The file that a verb reads: `-f FILE`, or just `FILE`.

use std::path::{Path, PathBuf};

/// One file.
#[derive(Debug, Clone, clap::Args)]
pub struct FileArgument {
    /// The fleet's file; `-` is stdin.
    #[arg(long, short, value_name = "FILE", required_unless_present = "path")]
    file: Option<PathBuf>,
    /// The same, without --file.
    #[arg(value_name = "FILE", conflicts_with = "file")]
    path: Option<PathBuf>,
}

impl FileArgument {
    /// As it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        let given = self.file.as_deref().or(self.path.as_deref());
        given.unwrap_or(Path::new("-"))
    }
}
