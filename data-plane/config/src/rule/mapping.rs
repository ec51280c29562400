//! V17, V18 and V26: the mapping file of a node that runs alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Facts, listed};
use crate::finding::{Finding, Severity};
use crate::fleet::FleetConfig;
use crate::mapping_file::{self, MappingFile, Mistake};
use crate::protocol::{Keyword as _, Protocol};
use crate::read::{Place, Report, quoted};

/// A file with the wrong separator has as many mistakes as lines; the operator needs the first ones.
const MOST: usize = 100;

/// The file, if it can be read at all; else that is reported.
pub(crate) fn read(report: &Report<'_>, fleet: &FleetConfig, path: &Path) -> Option<MappingFile> {
    match std::fs::read(path) {
        Ok(bytes) => Some(mapping_file::parse(&bytes, &fleet.normalization)),
        Err(error) => {
            report.error(
                &place(),
                format!("this file cannot be read: {error}"),
                "name a file that the program's user may read; it may be empty",
            );
            None
        }
    }
}

fn place() -> Place {
    Place::of(["mapping", "file", "path"])
}

pub(crate) fn check(facts: &Facts<'_, '_>, path: &Path, file: &MappingFile) {
    let mut findings = Gathered {
        file: path.display().to_string(),
        found: Vec::new(),
    };
    for problem in &file.problems {
        let (severity, message, remedy) = explain(problem.mistake);
        findings.add(severity, problem.line, problem.shown.clone(), message, remedy);
    }
    check_destinations(facts, file, &mut findings);
    check_duplicates(file, &mut findings);
    findings.report(facts, &place());
}

fn explain(mistake: Mistake) -> (Severity, String, &'static str) {
    match mistake {
        Mistake::OneField => (
            Severity::Error,
            "this line has no destination".to_owned(),
            "write the identifier, a tab, and the name of a destination",
        ),
        Mistake::NotUtf8 => (
            Severity::Error,
            "this line is not UTF-8".to_owned(),
            "save the file as UTF-8",
        ),
        Mistake::Identifier(why) => (
            Severity::Warning,
            format!("no client can sign in as this: {why}"),
            "correct the identifier, or remove the line",
        ),
        Mistake::UpperCase => (
            Severity::Warning,
            "this identifier has upper case, and is lower-cased when it is read".to_owned(),
            "write it in lower case",
        ),
    }
}

/// V17 and V18: once per destination and protocol, at the first line that names it.
fn check_destinations(facts: &Facts<'_, '_>, file: &MappingFile, findings: &mut Gathered) {
    let declared = facts.declared();
    let mut seen = BTreeSet::new();
    for entry in &file.entries {
        let name = entry.destination.as_str();
        if !declared.contains(&name) {
            findings.add(
                Severity::Error,
                entry.line,
                Some(name.to_owned()),
                "there is no destination of this name".to_owned(),
                &format!("declare it, or write a declared one: {}", listed(&declared)),
            );
            continue;
        }
        if !seen.insert(name) {
            continue;
        }
        let Some(destination) = facts.fleet.destination(name) else {
            continue;
        };
        if facts.fleet.routing.default_destination.as_ref() == Some(&destination.name) {
            // V6 says it, of everybody.
            continue;
        }
        for &protocol in Protocol::ALL.iter().filter(|protocol| protocol.is_interactive()) {
            let Some(listeners) = facts.serving(protocol) else {
                continue;
            };
            let leg = super::routing::leg_place(destination, protocol);
            if destination.endpoints.contains_key(&protocol) || facts.report.has_errors_under(&leg) {
                continue;
            }
            findings.add(
                Severity::Error,
                entry.line,
                Some(name.to_owned()),
                format!(
                    "destination \"{name}\" has no {}, which {listeners} serves",
                    protocol.as_str()
                ),
                &format!(
                    "add {}, or change the line",
                    super::routing::leg_example(destination, protocol)
                ),
            );
        }
    }
}

/// V26.
fn check_duplicates(file: &MappingFile, findings: &mut Gathered) {
    let mut last = BTreeMap::new();
    for entry in &file.entries {
        if let Some((line, destination)) = last.insert(&entry.identifier, (entry.line, &entry.destination))
            && destination != &entry.destination
        {
            findings.add(
                Severity::Warning,
                entry.line,
                None,
                format!(
                    "line {line} sends the same identifier to \"{destination}\"; this line wins, with \"{}\"",
                    entry.destination
                ),
                "remove one of the two lines",
            );
        }
    }
}

struct Gathered {
    file: String,
    found: Vec<Finding>,
}

impl Gathered {
    fn add(&mut self, severity: Severity, line: u32, value: Option<String>, message: String, remedy: &str) {
        self.found.push(Finding {
            severity,
            file: self.file.clone(),
            line: Some(line),
            key: String::new(),
            value: value.map(|word| quoted(&word)),
            message,
            remedy: remedy.to_owned(),
        });
    }

    /// Errors before warnings when there are too many for all.
    fn report(mut self, facts: &Facts<'_, '_>, place: &Place) {
        self.found.sort_by_key(|finding| (finding.severity, finding.line));
        let rest = self.found.split_off(self.found.len().min(MOST));
        if let Some(next) = rest.first() {
            let more = Finding {
                line: None,
                value: None,
                message: format!("{} more findings in this file", rest.len()),
                remedy: "correct the others first".to_owned(),
                ..next.clone()
            };
            facts.report.elsewhere(place, more);
        }
        for finding in self.found {
            facts.report.elsewhere(place, finding);
        }
    }
}
