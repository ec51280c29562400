//! What a check found, at its place. One report per document and check.

use std::cell::RefCell;

use super::document::Document;
use super::place::Place;
use super::value::Wrong;
use crate::finding::{Finding, Findings, Severity};

/// Gathers findings about one document.
pub(crate) struct Report<'d> {
    /// What is being checked.
    pub(crate) document: &'d Document,
    /// How bad a key is that no table knows.
    pub(crate) unknown_keys: Severity,
    /// Whether the files that are named stand on this machine.
    pub(crate) files: Files,
    noted: RefCell<Vec<Noted>>,
    #[cfg(test)]
    known: RefCell<Vec<Place>>,
}

/// Whether files that a configuration names can be looked at here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// On this machine.
    Here,
    /// On the nodes.
    Elsewhere,
}

/// A finding and its place.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    /// Where in the document.
    pub(crate) place: Place,
    /// What was found.
    pub(crate) finding: Finding,
}

/// What a finding shows as the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Show {
    /// What stands at the place.
    Value,
    /// Nothing: it may be a secret, or is absent.
    Nothing,
    /// This, already without secrets.
    Text(String),
}

impl<'d> Report<'d> {
    /// About a document.
    pub(crate) fn new(document: &'d Document, unknown_keys: Severity, files: Files) -> Self {
        Self {
            document,
            unknown_keys,
            files,
            noted: RefCell::default(),
            #[cfg(test)]
            known: RefCell::default(),
        }
    }

    /// The value at a place cannot stay.
    pub(crate) fn error(&self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.note(Severity::Error, place, Show::Value, message.into(), remedy.into());
    }

    /// The value at a place was read and cannot stay.
    pub(crate) fn wrong(&self, place: &Place, wrong: Wrong) {
        self.note(Severity::Error, place, wrong.show, wrong.message, wrong.remedy);
    }

    /// The value at a place is probably not meant so.
    pub(crate) fn warning(&self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.note(
            Severity::Warning,
            place,
            Show::Value,
            message.into(),
            remedy.into(),
        );
    }

    /// Something that has to be there is not. Says nothing when parts of the document could not be read.
    pub(crate) fn missing(&self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        if self.document.complete {
            self.note(
                Severity::Error,
                place,
                Show::Nothing,
                message.into(),
                remedy.into(),
            );
        }
    }

    /// Any finding at a place of the document.
    pub(crate) fn note(
        &self,
        severity: Severity,
        place: &Place,
        show: Show,
        message: String,
        remedy: String,
    ) {
        let line = self.document.line(place);
        if line.is_some_and(|line| self.document.broken.contains(&line)) {
            return;
        }
        let value = match show {
            Show::Nothing => None,
            Show::Text(text) => Some(text),
            // A table is named by its key; to print it all would hide the point, and might show a secret.
            Show::Value => self
                .document
                .find(place)
                .filter(|node| node.entries().is_none())
                .map(super::document::Node::shown),
        };
        self.elsewhere(
            place,
            Finding {
                severity,
                file: self.document.file.clone(),
                line,
                key: place.to_string(),
                value,
                message,
                remedy,
            },
        );
    }

    /// A finding about another file that the document names at a place.
    pub(crate) fn elsewhere(&self, place: &Place, finding: Finding) {
        self.noted.borrow_mut().push(Noted {
            place: place.clone(),
            finding,
        });
    }

    /// True when an error was found at a place or below.
    pub(crate) fn has_errors_under(&self, above: &Place) -> bool {
        self.noted
            .borrow()
            .iter()
            .any(|noted| noted.finding.severity == Severity::Error && noted.place.is_under(above))
    }

    /// A key that is asked for; with names and numbers as they stand in the document.
    #[cfg(test)]
    pub(crate) fn know(&self, place: Place) {
        self.known.borrow_mut().push(place);
    }

    /// Every key that was asked for.
    #[cfg(test)]
    pub(crate) fn known(&self) -> Vec<Place> {
        self.known.borrow().clone()
    }

    /// All of it, with places.
    pub(crate) fn into_noted(self) -> Vec<Noted> {
        self.noted.into_inner()
    }

    /// All of it, in the order of the file, beside what was found before.
    pub(crate) fn into_findings(self, before: Vec<Finding>) -> Findings {
        let mut findings = before;
        findings.extend(self.into_noted().into_iter().map(|noted| noted.finding));
        Findings::from(findings)
    }
}
