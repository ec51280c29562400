//! `check --file FILE`: the one validator, for the file of a node, of a control plane, or of the fleet.

mod kind;

use std::path::{Path, PathBuf};

use mailswitch_config::node::Environment;
use mailswitch_config::{ControlPlaneConfig, Findings, FleetFile, NodeConfig};
use serde::Serialize;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Render, printable};
pub use kind::Kind;

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
            .map(|file| Ok(checked(file, kind.map_or_else(|| Kind::of_file(file), Ok)?)))
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
