//! What `tests/install.sh --tests` puts into the build's own directory.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// A file or folder under `target/test-tools`.
pub fn path(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(3).context("the build's directory")?;
    let path = target.join("test-tools").join(name);
    ensure!(
        path.exists(),
        "{} is missing: run tests/install.sh --tests",
        path.display()
    );
    Ok(path)
}
