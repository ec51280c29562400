//! From a path to a text, and from findings to a result.

use std::path::Path;

use crate::Checked;
use crate::finding::{Finding, Findings, Severity};

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, Findings> {
    let failed = |line, message: String, remedy: &str| {
        Findings::from(vec![Finding {
            severity: Severity::Error,
            file: path.display().to_string(),
            line,
            key: String::new(),
            value: None,
            message,
            remedy: remedy.to_owned(),
        }])
    };
    let bytes = std::fs::read(path).map_err(|error| {
        failed(
            None,
            format!("this file cannot be read: {error}"),
            "name a file that the program's user may read",
        )
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let newlines = before.iter().filter(|byte| **byte == b'\n').count();
        let line = u32::try_from(newlines).unwrap_or(u32::MAX).saturating_add(1);
        failed(
            Some(line),
            "this file is not UTF-8".to_owned(),
            "save it as UTF-8, as TOML requires",
        )
    })
}

/// The configuration with its warnings, or everything that was found.
pub(crate) fn conclude<T>(config: Option<T>, findings: Findings) -> Result<Checked<T>, Findings> {
    match config {
        Some(config) if !findings.has_errors() => Ok(Checked {
            config,
            warnings: findings,
        }),
        _ => Err(findings),
    }
}
