//! Reading a file of rows for an import: everything that is wrong in it is said at once, with its line: what is no row,
//! and what the control plane refuses. Nothing is imported then. `-` is stdin.

use std::io::Read as _;
use std::path::Path;

use serde::Serialize;

use crate::change::rehearsed;
use crate::exit::{Exit, Failure};
use crate::output::Render;
use crate::verb::apply::CommittedView;
use mailswitch_proto::control::v1::{ChangeContext, Finding, ImportResponse};

/// Rows that one message carries: well under the 4 MiB that a gRPC message may have.
pub const ROWS_A_MESSAGE: usize = 5_000;
/// More are wrong for one reason.
const FINDINGS_SHOWN: usize = 100;

/// A text file, or stdin for `-`.
///
/// # Errors
/// It cannot be read, or is not UTF-8.
pub fn text_of(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))
}

/// What is wrong with a line, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What stands there; empty: the message says it.
    pub value: String,
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub remedy: String,
}

/// The rows of a file, and the lines that are none.
#[derive(Debug)]
pub struct Parsed<T> {
    file: String,
    /// In the order of the file.
    pub rows: Vec<T>,
    /// Where each row stands.
    lines: Vec<u32>,
    wrong: Vec<Finding>,
}

/// Parses every line that is not empty and not a comment (`#`).
pub fn parse<T>(text: &str, file: &Path, parse: impl Fn(&str) -> Result<T, Wrong>) -> Parsed<T> {
    let file = match file == Path::new("-") {
        true => "stdin".to_owned(),
        false => file.display().to_string(),
    };
    let mut parsed = Parsed {
        file,
        rows: Vec::new(),
        lines: Vec::new(),
        wrong: Vec::new(),
    };
    for (line, number) in text.lines().zip(1..) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match parse(line) {
            Ok(row) => {
                parsed.rows.push(row);
                parsed.lines.push(number);
            }
            Err(wrong) => parsed.wrong.push(Finding {
                severity: "error".to_owned(),
                file: parsed.file.clone(),
                line: number,
                value: wrong.value,
                message: wrong.message,
                remedy: wrong.remedy,
                ..Finding::default()
            }),
        }
    }
    parsed
}

impl<T> Parsed<T> {
    /// The change to ask for: when a line is wrong nothing is imported, and what the control plane would say of the
    /// others is asked all the same, so that one run says everything.
    #[must_use]
    pub fn change(&self, change: ChangeContext) -> ChangeContext {
        match self.wrong.is_empty() {
            true => change,
            false => rehearsed(&change),
        }
    }

    /// What became of it, with everything that is wrong at its line.
    ///
    /// # Errors
    /// A line is wrong, or the control plane refuses.
    pub fn conclude(self, answer: Result<ImportResponse, Failure>) -> Result<Imported, Failure> {
        if self.wrong.is_empty() {
            return answer.map(Into::into).map_err(|refused| self.located(refused));
        }
        let (theirs, unasked) = match answer {
            Ok(_) => (Vec::new(), None),
            Err(refused) => {
                let refused = self.located(refused);
                let unasked = refused.findings.is_empty().then_some(refused.what);
                (refused.findings, unasked)
            }
        };
        let mut findings = self.wrong;
        findings.extend(theirs);
        findings.sort_by_key(|finding| finding.line);
        let lines = match findings.len() {
            1 => format!("1 line of {} is wrong", self.file),
            many => format!("{many} lines of {} are wrong", self.file),
        };
        let what = match unasked {
            None => format!("{lines}; nothing was imported"),
            Some(why) => format!("{lines}; nothing was imported, and the others were not checked: {why}"),
        };
        let mut failure = Failure::usage(what).remedy("correct them, and repeat the command");
        failure.findings_total = findings.len() as u64;
        findings.truncate(FINDINGS_SHOWN);
        failure.findings = findings;
        Err(failure)
    }

    /// A refusal, with the lines of the rows that it names.
    fn located(&self, mut refused: Failure) -> Failure {
        for finding in &mut refused.findings {
            let row = usize::try_from(finding.row)
                .ok()
                .and_then(|row| row.checked_sub(1));
            if let Some(line) = row.and_then(|row| self.lines.get(row)) {
                finding.file.clone_from(&self.file);
                finding.line = *line;
            }
        }
        refused
    }
}

/// What an import did.
#[derive(Debug, Serialize)]
pub struct Imported {
    #[serde(flatten)]
    committed: CommittedView,
    added: u64,
    changed: u64,
    unchanged: u64,
    findings: Vec<String>,
}

impl From<ImportResponse> for Imported {
    fn from(response: ImportResponse) -> Self {
        Self {
            committed: response.committed.unwrap_or_default().into(),
            added: response.added,
            changed: response.changed,
            unchanged: response.unchanged,
            findings: response.findings.iter().map(crate::exit::finding_line).collect(),
        }
    }
}

impl Imported {
    /// Always done: a refusal is a failure.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        Exit::Done
    }
}

impl Render for Imported {
    fn table(&self) -> String {
        let mut text: String = self
            .findings
            .iter()
            .map(|finding| format!("{finding}\n"))
            .collect();
        text.push_str(&format!(
            "{} added, {} changed, {} unchanged\n",
            self.added, self.changed, self.unchanged
        ));
        text.push_str(&self.committed.table());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(line: &str) -> Result<u8, Wrong> {
        line.parse().map_err(|_| Wrong {
            value: format!("{line:?}"),
            message: "it is no number".to_owned(),
            remedy: "write one".to_owned(),
        })
    }

    fn refused(row: u64) -> Failure {
        let mut failure = Failure::new(Exit::Precondition, "refused");
        failure.findings = vec![Finding {
            severity: "error".to_owned(),
            message: "there is no such thing".to_owned(),
            row,
            ..Finding::default()
        }];
        failure
    }

    #[test]
    fn comments_are_skipped_and_wrong_lines_are_named() {
        let parsed = parse("# comment\n\n1\nx\n2\ny\n", Path::new("rows"), number);
        assert_eq!(parsed.rows, [1, 2]);
        let failure = parsed.conclude(Ok(ImportResponse::default())).unwrap_err();
        assert_eq!(
            failure.text(),
            "error: 2 lines of rows are wrong; nothing was imported\n  correct them, and repeat the command\n  \
             rows:4: error: \"x\": it is no number; write one\n  rows:6: error: \"y\": it is no number; write one\n"
        );
    }

    #[test]
    fn what_the_control_plane_says_of_a_row_stands_at_its_line() {
        let parsed = parse("#\n1\n\n2\n", Path::new("-"), number);
        let failure = parsed.conclude(Err(refused(2))).unwrap_err();
        assert_eq!(failure.exit, Exit::Precondition);
        assert!(
            failure.text().contains("stdin:4: error: there is no such thing"),
            "{}",
            failure.text()
        );
    }

    #[test]
    fn both_come_in_one_run_in_the_order_of_the_file() {
        let parsed = parse("1\nx\n2\n", Path::new("rows"), number);
        let failure = parsed.conclude(Err(refused(1))).unwrap_err();
        let lines: Vec<u32> = failure.findings.iter().map(|finding| finding.line).collect();
        assert_eq!((failure.exit, lines), (Exit::Usage, vec![1, 2]));
        // Nothing came back of the rows: that is said.
        let parsed = parse("1\nx\n", Path::new("rows"), number);
        let failure = parsed
            .conclude(Err(Failure::new(Exit::Precondition, "nobody listens there")))
            .unwrap_err();
        assert_eq!(
            failure.what,
            "1 line of rows is wrong; nothing was imported, and the others were not checked: nobody listens there"
        );
    }
}
