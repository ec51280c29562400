//! How a command ends. The numbers are a contract with scripts (design section 7): none may change its meaning.

use mailswitch_proto::control::v1::problem::Kind;
use mailswitch_proto::control::v1::{Finding, Problem};

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// The command makes no sense as it was given.
    Usage = 1,
    /// What was compared is not the same.
    Differs = 2,
    /// Something that is needed is not so; nothing changed.
    Precondition = 3,
    /// The cutover failed, and the account was released to the source.
    Released = 4,
    /// The control plane was lost: it may be done or not; the operation is recorded.
    Unknown = 5,
    /// We no longer wait; the operation goes on.
    TimedOut = 6,
    /// Not proven on the nodes that are named.
    Unproven = 7,
    /// Not with this certificate.
    NotAllowed = 8,
    /// Ctrl-C; the operation goes on.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

/// For `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  usage: the command makes no sense as it was given
    2  differs (diff)
    3  a precondition failed, nothing changed
    4  failed, and released to the source
    5  outcome unknown, the operation is recorded
    6  timed out, the operation goes on
    7  not proven on the nodes that are named
    8  not allowed
  130  interrupted, the operation goes on";

/// A command that did not do what it was asked to: what happened, to what, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// Its exit code.
    pub exit: Exit,
    /// What happened, to what.
    pub what: String,
    /// What to do. Empty when there is nothing better than to read `what`.
    pub remedy: String,
    /// The nodes that it is about.
    pub nodes: Vec<String>,
    /// What the configuration validator found.
    pub findings: Vec<Finding>,
    /// How many there are, listed or not; 0: those that are listed.
    pub findings_total: u64,
    /// The same may succeed in a moment, and does no harm when it is repeated.
    pub passing: bool,
}

impl Failure {
    /// Without a remedy: `what` says it.
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            remedy: String::new(),
            nodes: Vec::new(),
            findings: Vec::new(),
            findings_total: 0,
            passing: false,
        }
    }

    /// The command line, or a file that it names, makes no sense.
    #[must_use]
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// With what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// With another exit code.
    #[must_use]
    pub fn exiting(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// As the operator reads it on stderr.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("error: {}\n", crate::output::printable(&self.what));
        if !self.remedy.is_empty() {
            text.push_str(&format!("  {}\n", crate::output::printable(&self.remedy)));
        }
        if !self.nodes.is_empty() {
            text.push_str(&format!(
                "  nodes: {}\n",
                crate::output::printable(&self.nodes.join(", "))
            ));
        }
        for finding in &self.findings {
            text.push_str(&format!("  {}\n", finding_line(finding)));
        }
        let more = self.findings_total.saturating_sub(self.findings.len() as u64);
        if more > 0 {
            text.push_str(&format!("  and {more} more\n"));
        }
        text
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit = match problem.kind() {
            Kind::Invalid => Exit::Usage,
            Kind::Precondition => Exit::Precondition,
            Kind::Unproven => Exit::Unproven,
            Kind::NotAllowed => Exit::NotAllowed,
            // An unknown kind, of a newer control plane: nothing is claimed.
            Kind::Unavailable | Kind::Unspecified => Exit::Unknown,
        };
        Self {
            exit,
            what: problem.what,
            remedy: problem.remedy,
            nodes: problem.nodes,
            findings: problem.findings,
            findings_total: problem.findings_total,
            passing: problem.passing,
        }
    }
}

/// `file:line: error: key = value: message; remedy`; what is not there is left out.
#[must_use]
pub fn finding_line(finding: &Finding) -> String {
    let mut line = String::new();
    if !finding.file.is_empty() {
        line.push_str(&finding.file);
        if finding.line > 0 {
            line.push_str(&format!(":{}", finding.line));
        }
        line.push_str(": ");
    }
    line.push_str(&format!("{}: ", finding.severity));
    match (finding.key.is_empty(), finding.value.is_empty()) {
        (true, true) => {}
        (true, false) => line.push_str(&format!("{}: ", finding.value)),
        (false, true) => line.push_str(&format!("{}: ", finding.key)),
        (false, false) => line.push_str(&format!("{} = {}: ", finding.key, finding.value)),
    }
    line.push_str(&finding.message);
    if !finding.remedy.is_empty() {
        line.push_str(&format!("; {}", finding.remedy));
    }
    crate::output::printable(&line).into_owned()
}

impl From<std::io::Error> for Failure {
    /// Of our own process: signal handlers, pipes.
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Precondition, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_without_a_file_begins_with_what_is_wrong() {
        let finding = Finding {
            severity: "error".to_owned(),
            message: "zed: it is there twice".to_owned(),
            ..Finding::default()
        };
        assert_eq!(finding_line(&finding), "error: zed: it is there twice");
        let in_file = Finding {
            file: "fleet.toml".to_owned(),
            line: 3,
            ..finding
        };
        assert_eq!(
            finding_line(&in_file),
            "fleet.toml:3: error: zed: it is there twice"
        );
    }
}
