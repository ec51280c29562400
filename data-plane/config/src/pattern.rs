//! Path patterns of routes (behaviour 8.2): globs over the whole path, undecoded, case-sensitive.
//!
//! One function reads them, for the check of a file (V19) and for the node that matches with them, so what was accepted
//! always works.

use globset::GlobBuilder;
use regex::bytes::{Regex, RegexBuilder};

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Its syntax.
    #[error("{0}")]
    Glob(globset::ErrorKind),
    /// It is too large to be matched with.
    #[error("it is too large")]
    TooLarge,
}

/// What a compiled pattern may take in memory: nested alternatives multiply.
const MOST_BYTES: usize = 1024 * 1024;

/// Makes a matcher of a pattern. `?` and `*` also stand for `/`.
///
/// # Errors
/// When it is no pattern, or one that would take too much memory.
pub fn compile(pattern: &str) -> Result<Regex, InvalidPattern> {
    let glob = GlobBuilder::new(pattern)
        .literal_separator(false)
        .backslash_escape(true)
        .empty_alternates(false)
        .build()
        .map_err(|error| InvalidPattern::Glob(error.kind().clone()))?;
    RegexBuilder::new(glob.regex())
        .dot_matches_new_line(true)
        .size_limit(MOST_BYTES)
        .build()
        .map_err(|_| InvalidPattern::TooLarge)
}
