//! What is printed. Data goes to stdout, as a table for people or as JSON for scripts; everything else is talk, and
//! goes to stderr. No colours: what a table says, it says in words.

use std::borrow::Cow;
use std::io::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::{Exit, Failure};

/// The form of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people. May change from one version to the next.
    Table,
    /// For scripts. Keys are added, never changed. (A YAML reader reads it too: there is no other YAML output.)
    Json,
}

/// Something to print: `Serialize` is its JSON.
pub trait Render: Serialize {
    /// For people, each line ended.
    fn table(&self) -> String;
}

impl Output {
    /// In this form.
    ///
    /// # Errors
    /// It cannot be written as JSON (a bug).
    pub fn render<T: Render>(self, value: &T) -> Result<String, Failure> {
        match self {
            Self::Table => Ok(value.table()),
            Self::Json => serde_json::to_string_pretty(value)
                .map(|json| json + "\n")
                .map_err(|error| {
                    Failure::new(Exit::Precondition, format!("JSON cannot be written: {error}"))
                }),
        }
    }

    /// To stdout.
    ///
    /// # Errors
    /// As [`Self::render`], or stdout cannot be written to.
    pub fn print<T: Render>(self, value: &T) -> Result<(), Failure> {
        data(self.render(value)?.as_bytes())
    }
}

/// Writes to stdout. A reader that has gone away (`| head`) is no error.
///
/// # Errors
/// Stdout cannot be written to.
pub fn data(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Unknown,
            format!("stdout cannot be written to: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Columns for people: separated by two spaces, never wrapped, so that they can be cut and sorted.
pub struct Grid {
    table: Table,
}

impl Grid {
    /// With these headings.
    #[must_use]
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings);
        Self { table }
    }

    /// These columns hold numbers.
    #[must_use]
    pub fn numbers(mut self, columns: &[usize]) -> Self {
        for column in columns {
            if let Some(column) = self.table.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// One more row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table
            .add_row(cells.iter().map(|cell| printable(cell).into_owned()));
    }

    /// Whether there is any row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.row_count() == 0
    }

    /// The rows under their headings; without any row, `otherwise` as a sentence.
    #[must_use]
    pub fn text_or(&self, otherwise: &str) -> String {
        if self.is_empty() {
            format!("{otherwise}\n")
        } else {
            self.text()
        }
    }

    /// The rows under their headings.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = self.table.clone();
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }
}

/// What others wrote, for a terminal: control characters could move its cursor or set its title.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(|c| c.is_control() && c != '\n') {
        Cow::Owned(
            text.chars()
                .map(|c| {
                    if c.is_control() && c != '\n' {
                        '\u{fffd}'
                    } else {
                        c
                    }
                })
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

/// Milliseconds since 1970 as RFC 3339 in UTC; none for zero.
#[must_use]
pub fn time(unix_millis: i64) -> Option<String> {
    (unix_millis != 0)
        .then(|| DateTime::<Utc>::from_timestamp_millis(unix_millis))
        .flatten()
        .map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// A span of time, short enough for a column: `128 ms`, `4.2 s`, `3 min`, `5 h`, `2 d`.
#[must_use]
pub fn span(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..10_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        10_000..120_000 => format!("{} s", millis / 1_000),
        120_000..7_200_000 => format!("{} min", millis / 60_000),
        7_200_000..172_800_000 => format!("{} h", millis / 3_600_000),
        _ => format!("{} d", millis / 86_400_000),
    }
}

/// An identity of sixteen bytes as people write it; empty bytes are none.
#[must_use]
pub fn identity(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return None;
    }
    Some(match uuid::Uuid::from_slice(bytes) {
        Ok(id) => id.to_string(),
        Err(_) => hex(bytes),
    })
}

/// Bytes in hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text, or none where the protocol says empty.
#[must_use]
pub fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A dash where there is nothing.
#[must_use]
pub fn or_dash(text: &Option<String>) -> String {
    text.clone().unwrap_or_else(|| "-".to_owned())
}
