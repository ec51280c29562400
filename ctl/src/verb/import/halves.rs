//! The three files that an import writes. A file that is there and says something else is not touched without
//! `--replace`; and the proxy's own file never is.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::import::mappings::Sorted;
use crate::import::split::Split;
use crate::import::view::Files;

/// Path and text of each.
#[derive(Debug)]
pub(super) struct Halves {
    node: Half,
    pub(super) fleet: Half,
    mappings: Half,
    /// As `mapping import` takes them: identifier, destination.
    pub(super) rows: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct Half {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Halves {
    pub(super) fn new(folder: &Path, node: &str, split: &Split, sorted: &Sorted) -> Self {
        let rows: Vec<(String, String)> = sorted
            .rows
            .iter()
            .map(|row| (row.identifier.clone(), row.destination.clone()))
            .collect();
        let lines: String = rows
            .iter()
            .map(|(identifier, destination)| format!("{identifier}\t{destination}\n"))
            .collect();
        let half = |name: String, text: String| Half {
            path: folder.join(name),
            text,
        };
        Self {
            node: half(format!("node-{node}.toml"), split.node.clone()),
            fleet: half("fleet.toml".to_owned(), split.fleet.clone()),
            mappings: half("mappings.tsv".to_owned(), lines),
            rows,
        }
    }

    pub(super) fn files(&self) -> Files {
        let shown = |half: &Half| {
            half.path
                .strip_prefix(".")
                .unwrap_or(&half.path)
                .display()
                .to_string()
        };
        Files {
            node: shown(&self.node),
            fleet: shown(&self.fleet),
            mappings: shown(&self.mappings),
            written: false,
        }
    }

    /// Who may not read the proxy's file may not read what is made of it: it may hold a token.
    pub(super) fn write(&self, of: &Path, original: &str, replace: bool) -> Result<(), Failure> {
        let halves = [&self.node, &self.fleet, &self.mappings];
        for half in halves {
            half.check(of, original, replace)?;
        }
        let mode = std::fs::metadata(of).map_or(0o600, |file| file.permissions().mode() & 0o666);
        for half in halves {
            half.write(mode)?;
        }
        Ok(())
    }
}

impl Half {
    fn check(&self, of: &Path, original: &str, replace: bool) -> Result<(), Failure> {
        let path = self.path.display();
        let same = |one: &Path, other: &Path| match (one.canonicalize(), other.canonicalize()) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        };
        if same(&self.path, of) && self.text != original {
            return Err(Failure::usage(format!(
                "{path} is the proxy's own file, which is not overwritten"
            ))
            .remedy("write somewhere else: --into DIR"));
        }
        match std::fs::read_to_string(&self.path) {
            Ok(there) if there == self.text || replace => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) if !replace => Err(Failure::new(
                Exit::Precondition,
                format!("{path} cannot be read: {error}"),
            )),
            Ok(_) => Err(Failure::new(
                Exit::Precondition,
                format!("{path} is there already, and says something else; nothing was done"),
            )
            .remedy("look at it; then --replace overwrites it, or --into DIR writes somewhere else")),
            Err(_) => Ok(()),
        }
    }

    /// Whole or not at all.
    fn write(&self, mode: u32) -> Result<(), Failure> {
        let path = self.path.display();
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Precondition, format!("{path} cannot be written: {error}"))
        };
        let mut beside = self.path.clone().into_os_string();
        beside.push(format!(".{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let written = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)
            .and_then(|mut file| {
                file.write_all(self.text.as_bytes())
                    .and_then(|()| file.sync_all())
            })
            .and_then(|()| std::fs::rename(&beside, &self.path));
        if written.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        written.map_err(failed)
    }
}
