//! `check --file FILE`: the one validator, for the file of a node, of a control plane, or of the fleet; and the probes of
//! what it names (crate `mailswitch-check`).

mod kind;

use std::path::{Path, PathBuf};

use mailswitch_check::{Status, Subject};
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
    #[arg(long, short, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// The same, without --file.
    #[arg(value_name = "FILE")]
    path: Vec<PathBuf>,
    /// Whose file it is. Without it, the tables in it say so.
    #[arg(long = "as", value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// Only the file: nothing that it names is connected to.
    #[arg(long)]
    offline: bool,
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
    /// What it names, as this machine meets it. None: not probed.
    pub probes: Option<mailswitch_check::Report>,
}

/// All of them.
#[derive(Debug, Serialize)]
pub struct Report {
    /// In the order in which they were given.
    pub files: Vec<Checked>,
}

impl CheckArguments {
    /// Somebody is to be asked, not a file to be read.
    pub(crate) fn names_no_file(&self) -> bool {
        self.file.is_empty() && self.path.is_empty()
    }

    /// Checks every file, probes what the good ones name, and prints everything that was found.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        // Not said by the parser: with --node-api none is needed.
        if self.names_no_file() {
            let remedy = "name the file of a node, a control plane or the fleet: mailswitchctl check --file FILE; or a node that \
                runs alone: --node-api URL; how a running fleet is: mailswitchctl status";
            return Err(Failure::usage("nothing says what to check").remedy(remedy));
        }
        let given: Vec<_> = self.file.iter().chain(&self.path).collect();
        let kinds: Vec<_> = given
            .iter()
            .map(|file| self.kind.map_or_else(|| Kind::of_file(file), Ok))
            .collect::<Result<_, Failure>>()?;
        let mut files = Vec::new();
        for (file, kind) in given.into_iter().zip(kinds) {
            let (mut checked, subject) = checked(file, kind);
            if let Some(subject) = subject.filter(|_| !self.offline) {
                checked.probes = Some(mailswitch_check::run(&subject).await);
            }
            files.push(checked);
        }
        let report = Report { files };
        context.output.print(&report)?;
        // As the reference has it: 0 or 1, like `mailswitch-data-plane --check`.
        let good = report.files.iter().all(Checked::is_good);
        Ok(if good { Exit::Done } else { Exit::Usage })
    }
}

fn checked(path: &Path, kind: Kind) -> (Checked, Option<Subject>) {
    let result = match kind {
        Kind::Node => NodeConfig::load(path, &Environment::of_process())
            .map(|checked| (checked.warnings, Some(Subject::of_node(&checked.config)))),
        Kind::ControlPlane => ControlPlaneConfig::load(path).map(|checked| (checked.warnings, None)),
        Kind::Fleet => FleetFile::load(path, &[])
            .map(|checked| (checked.warnings, Some(Subject::of_fleet_file(&checked.config)))),
    };
    let usable = result.is_ok();
    let (findings, subject) = result.unwrap_or_else(|findings| (findings, None));
    let checked = Checked {
        file: path.display().to_string(),
        kind,
        usable,
        findings,
        probes: None,
    };
    (checked, subject)
}

impl Checked {
    fn is_good(&self) -> bool {
        let failed = |probes: &mailswitch_check::Report| probes.count(Status::Failed);
        self.usable && self.probes.as_ref().map_or(0, failed) == 0
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
            let Some(probes) = &file.probes else { continue };
            text.push_str(&printable(&probes.text()));
            text.push_str(&format!(
                "probes: {} as it should be, {}, {} failed\n",
                probes.count(Status::Ok),
                counted(probes.count(Status::Warning), "warning"),
                probes.count(Status::Failed),
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
