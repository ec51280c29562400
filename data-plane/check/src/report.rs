//! What the probes found: groups of findings, one a line, each failure with its remedy. The words are for people, the
//! states for scripts.

use serde::Serialize;

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It works, and something will not.
    Warning,
    /// It does not work.
    Failed,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is to be taken.
    pub status: Status,
    /// What is so.
    pub what: String,
    /// What to do; none where there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Findings about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The thing.
    pub about: String,
    /// In the order of the probes.
    pub findings: Vec<Finding>,
}

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In a fixed order.
    pub groups: Vec<Group>,
}

impl Group {
    pub(crate) fn new(about: impl Into<String>) -> Self {
        Self {
            about: about.into(),
            findings: Vec::new(),
        }
    }

    pub(crate) fn ok(&mut self, what: impl Into<String>) {
        self.add(Status::Ok, what.into(), None);
    }

    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.add(Status::Note, what.into(), None);
    }

    pub(crate) fn warning(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Status::Warning, what.into(), Some(remedy.into()));
    }

    pub(crate) fn failed(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Status::Failed, what.into(), Some(remedy.into()));
    }

    fn add(&mut self, status: Status, what: String, remedy: Option<String>) {
        self.findings.push(Finding {
            status,
            what: on_a_line(&what),
            remedy: remedy.map(|remedy| on_a_line(&remedy)),
        });
    }
}

/// A probe shows what servers say that nobody has proven yet: names in a certificate, hosts in a URL. None of it moves an
/// operator's cursor.
fn on_a_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => shown.extend(char.escape_default()),
            false => shown.push(char),
        }
    }
    shown
}

impl Report {
    /// How many findings are of this kind.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        let all = self.groups.iter().flat_map(|group| &group.findings);
        all.filter(|finding| finding.status == status).count()
    }

    /// For people: a line per finding, its remedy below it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for group in &self.groups {
            text.push_str(&format!("{}\n", group.about));
            for finding in &group.findings {
                text.push_str(&format!("  {} {}\n", finding.status.mark(), finding.what));
                if let Some(remedy) = &finding.remedy {
                    text.push_str(&format!("      {remedy}\n"));
                }
            }
        }
        text
    }
}

impl Status {
    const fn mark(self) -> char {
        match self {
            Self::Ok => '✓',
            Self::Note => '·',
            Self::Warning => '!',
            Self::Failed => '✗',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_its_remedy_stands_below_it() {
        let mut group = Group::new("destination new, imap");
        group.ok("connects");
        group.failed("STARTTLS is not offered", "enable it");
        let report = Report { groups: vec![group] };
        assert_eq!(
            report.text(),
            "destination new, imap\n  ✓ connects\n  ✗ STARTTLS is not offered\n      enable it\n"
        );
        assert_eq!(report.count(Status::Failed), 1);
    }

    #[test]
    fn what_a_server_says_cannot_write_on_the_operators_terminal() {
        let mut group = Group::new("destination new, http");
        group.warning("sends clients to \u{1b}[2Jé\u{9b}H", "a\r\nb");
        let finding = &group.findings[0];
        assert_eq!(finding.what, r"sends clients to \u{1b}[2Jé\u{9b}H");
        assert_eq!(finding.remedy.as_deref(), Some(r"a\r\nb"));
    }
}
