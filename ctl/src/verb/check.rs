//! `check --file FILE`: the one validator, for the file of a node, of a control plane, or of the fleet.

use std::path::{Path, PathBuf};

use mailswitch_config::node::Environment;
use mailswitch_config::{ControlPlaneConfig, Findings, FleetFile, NodeConfig};
use serde::Serialize;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Render, printable};

/// `check --file FILE…`
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// What to check; several times for several files.
    #[arg(long, short, required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Whose file it is. Without it, the tables in it say so.
    #[arg(long = "as", value_enum, value_name = "KIND")]
    kind: Option<Kind>,
}

/// Whose file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `mailswitch-data-plane FILE`
    Node,
    /// `mailswitch-control-plane FILE`
    ControlPlane,
    /// `mailswitchctl apply -f FILE`
    Fleet,
}

/// One file, checked.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// As it was given.
    pub file: String,
    /// Whose it is.
    pub kind: Kind,
    /// Nothing in it is wrong.
    pub usable: bool,
    /// Everything that is wrong or doubtful.
    pub findings: Findings,
}

#[derive(Debug, Serialize)]
struct Report {
    files: Vec<Checked>,
}

impl CheckArguments {
    /// Checks every file, and prints everything that was found.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let kind = self.kind;
        let files = self
            .file
            .iter()
            .map(|file| Ok(checked(file, kind.map_or_else(|| kind_of(file), Ok)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let report = Report { files };
        context.output.print(&report)?;
        let usable = report.files.iter().all(|file| file.usable);
        Ok(if usable { Exit::Done } else { Exit::Precondition })
    }
}

fn checked(path: &Path, kind: Kind) -> Checked {
    let result = match kind {
        Kind::Node => NodeConfig::load(path, &Environment::of_process()).map(|checked| checked.warnings),
        Kind::ControlPlane => ControlPlaneConfig::load(path).map(|checked| checked.warnings),
        Kind::Fleet => FleetFile::load(path, &[]).map(|checked| checked.warnings),
    };
    Checked {
        file: path.display().to_string(),
        kind,
        usable: result.is_ok(),
        findings: result.unwrap_or_else(|findings| findings),
    }
}

/// A control plane binds in `[control_plane]`; a node has `[server]` or listeners; what is left is the fleet's.
fn kind_of(path: &Path) -> Result<Kind, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
    let Ok(table) = text.parse::<toml::Table>() else {
        return Ok(kind_of_broken(&text));
    };
    let has = |keys: &[&str]| keys.iter().any(|key| table.contains_key(*key));
    let control_plane = table.get("control_plane").and_then(|value| value.as_table());
    let binds = control_plane.is_some_and(|of| of.contains_key("bind") || of.contains_key("advertise"));
    Ok(if binds {
        Kind::ControlPlane
    } else if has(&["server", "listener", "tls", "admin", "control_plane"]) {
        Kind::Node
    } else if has(&["database", "web"]) {
        Kind::ControlPlane
    } else {
        Kind::Fleet
    })
}

/// What is not TOML is left to the validator to describe; whose it was meant to be is guessed.
fn kind_of_broken(text: &str) -> Kind {
    let has = |heads: &[&str]| {
        text.lines()
            .any(|line| heads.iter().any(|head| line.starts_with(head)))
    };
    if has(&["[server", "[listener", "[tls", "[admin"]) {
        Kind::Node
    } else if has(&["[control_plane", "[database", "[web"]) {
        Kind::ControlPlane
    } else {
        Kind::Fleet
    }
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::Node => "a node's file",
            Self::ControlPlane => "a control plane's file",
            Self::Fleet => "the fleet's file",
        }
    }
}

impl Render for Report {
    fn table(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            for finding in file.findings.iter() {
                text.push_str(&format!("{}\n", printable(&finding.to_string())));
            }
            let errors = file
                .findings
                .iter()
                .filter(|f| f.severity == mailswitch_config::Severity::Error)
                .count();
            let warnings = file.findings.len() - errors;
            let verdict = if file.usable {
                "can be used"
            } else {
                "cannot be used"
            };
            text.push_str(&format!(
                "{} ({}): {verdict}, {}, {}\n",
                printable(&file.file),
                file.kind.words(),
                counted(errors, "error"),
                counted(warnings, "warning"),
            ));
        }
        text
    }
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
