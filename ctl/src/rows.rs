//! Reading a file of rows for an import: everything that is wrong in it is said at once, with its line, and nothing
//! is sent then. `-` is stdin.

use std::io::Read as _;
use std::path::Path;

use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::output::Render;
use crate::verb::apply::CommittedView;
use mailswitch_proto::control::v1::ImportResponse;

/// Rows that one message carries: well under the 4 MiB that a gRPC message may have.
pub const ROWS_A_MESSAGE: usize = 5_000;
/// More are wrong for one reason.
const FINDINGS_SHOWN: usize = 20;

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

/// Parses every line that is not empty and not a comment (`#`).
///
/// # Errors
/// All lines that are wrong, with file and number.
pub fn parse<T>(
    text: &str,
    file: &Path,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Failure> {
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match parse(line) {
            Ok(row) => rows.push(row),
            Err(why) => wrong.push(format!("{}:{}: {why}", file.display(), index + 1)),
        }
    }
    if wrong.is_empty() {
        return Ok(rows);
    }
    let more = wrong.len().saturating_sub(FINDINGS_SHOWN);
    wrong.truncate(FINDINGS_SHOWN);
    if more > 0 {
        wrong.push(format!("and {more} more"));
    }
    Err(Failure::usage(wrong.join("\n       ")).remedy("nothing was imported"))
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

    #[test]
    fn every_wrong_line_is_named_and_comments_are_skipped() {
        let text = "# comment\n\n1\nx\n2\ny\n";
        let number = |line: &str| line.parse::<u8>().map_err(|_| format!("{line:?} is no number"));
        let failure = parse(text, Path::new("rows"), number).unwrap_err();
        assert_eq!(
            failure.what,
            "rows:4: \"x\" is no number\n       rows:6: \"y\" is no number"
        );
        assert_eq!(parse("#\n3\n\n4", Path::new("rows"), number).unwrap(), [3, 4]);
    }
}
