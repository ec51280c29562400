//! The plan of an import as it is shown.

use serde::Serialize;

use super::changes::Change;
use super::mappings::{Conflict, Follows, LeftOut, Sorted};
use super::split::Part;
use crate::output::{Grid, Render, printable};

/// More of one kind are counted, not listed; JSON has them all.
const SHOWN: usize = 20;

/// Everything that an import does, or would do.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The proxy's file.
    pub file: String,
    /// Where the halves are, or would be, written.
    pub files: Files,
    /// What goes where.
    pub parts: Vec<Part>,
    /// What was said of the file as it is.
    pub warnings: Vec<String>,
    /// What is different for whom.
    pub changes: Vec<Change>,
    /// What becomes of the entries; none: they were not read.
    pub mappings: Option<Sorted>,
    /// What the control plane has of it.
    pub fleet: FleetState,
}

/// Where the halves are.
#[derive(Debug, Serialize)]
pub struct Files {
    /// The node's file.
    pub node: String,
    /// The fleet's file.
    pub fleet: String,
    /// The rows, as `mapping import` takes them.
    pub mappings: String,
    /// They are there now.
    pub written: bool,
}

/// What the control plane has of it.
#[derive(Debug, Default, Serialize)]
pub struct FleetState {
    /// It was asked.
    pub asked: bool,
    /// How many keys of the configuration the fleet lacks.
    pub missing_keys: usize,
    /// How many rows the fleet lacks.
    pub missing_rows: usize,
    /// The configuration's revision, when it was applied now.
    pub applied: Option<u64>,
    /// The mappings' revision, when they were imported now.
    pub imported: Option<u64>,
}

impl Plan {
    /// Whether entries forbid the import.
    #[must_use]
    pub fn refused(&self) -> usize {
        let count = |sorted: &Sorted| sorted.conflicts.len() + sorted.impossible.len();
        self.mappings.as_ref().map_or(0, count)
    }
}

impl Render for Plan {
    fn table(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            text += &format!("{}\n", printable(warning));
        }
        let mut grid = Grid::new(["LINE", "WHAT", "GOES TO", ""]).numbers(&[0]);
        for part in &self.parts {
            grid.row([
                part.line.map_or_else(|| "-".to_owned(), |line| line.to_string()),
                part.what.clone(),
                match part.to {
                    Some("node") => self.files.node.clone(),
                    Some(_) => self.files.fleet.clone(),
                    None => "nowhere".to_owned(),
                },
                part.note.clone(),
            ]);
        }
        text += &grid.text();
        text += "\nWhat is different, and for whom:\n";
        for change in &self.changes {
            text += &format!("  {}: {}\n", change.whom, printable(&change.what));
        }
        if let Some(sorted) = &self.mappings {
            text += &mappings(sorted);
        }
        text + &self.said_of_files() + &self.fleet.said()
    }
}

impl Plan {
    fn said_of_files(&self) -> String {
        let Files {
            node,
            fleet,
            mappings,
            written,
        } = &self.files;
        let verb = if *written { "written" } else { "not written" };
        format!("\n{verb}: {node} (the node's file), {fleet} (the fleet's file), {mappings} (the mappings)\n")
    }
}

impl FleetState {
    fn said(&self) -> String {
        if !self.asked {
            return String::new();
        }
        match (self.applied, self.imported) {
            (None, None) if self.missing_keys + self.missing_rows == 0 => {
                "the fleet has all of it already\n".to_owned()
            }
            (None, None) => format!(
                "the fleet lacks {} and {}\n",
                counted(self.missing_keys, "key"),
                counted(self.missing_rows, "mapping")
            ),
            (applied, imported) => {
                let at = |what: &str, revision: Option<u64>| {
                    revision.map(|revision| format!("{what} at revision {revision}"))
                };
                let said: Vec<String> = [
                    at("configuration applied", applied),
                    at("mappings imported", imported),
                ]
                .into_iter()
                .flatten()
                .collect();
                format!("the fleet: {}\n", said.join(", "))
            }
        }
    }
}

fn mappings(sorted: &Sorted) -> String {
    let mut text = format!(
        "\n{} {} {}\n",
        counted(sorted.entries, "entry"),
        if sorted.entries == 1 { "becomes" } else { "become" },
        counted(sorted.rows.len(), "mapping"),
    );
    text += &section(
        "left out, because no login follows them today",
        &sorted.left_out,
        LeftOut::line,
    );
    text += &section(
        "logins that will follow an entry, and have none today",
        &sorted.follows,
        Follows::line,
    );
    text += &section("mappings of whole domains", &sorted.domains, |row| {
        format!(
            "{} goes to \"{}\", except for logins with an entry of their own",
            row.identifier, row.destination
        )
    });
    text += &section("cannot be taken over", &sorted.impossible, LeftOut::line);
    text + &section(
        "conflicts: one identifier in a fleet, several destinations",
        &sorted.conflicts,
        Conflict::lines,
    )
}

fn section<T>(title: &str, all: &[T], line: impl Fn(&T) -> String) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut text = format!("{title}: {}\n", all.len());
    for one in all.iter().take(SHOWN) {
        text += &format!("  {}\n", printable(&line(one)));
    }
    if all.len() > SHOWN {
        text += &format!("  and {} more (--output json has them all)\n", all.len() - SHOWN);
    }
    text
}

impl LeftOut {
    fn line(&self) -> String {
        format!("{}: {}: {}", self.entry.at, self.entry.written, self.why)
    }
}

impl Follows {
    fn line(&self) -> String {
        format!(
            "{}: {} goes to \"{}\", today to \"{}\"",
            self.by, self.login, self.then, self.today
        )
    }
}

impl Conflict {
    fn lines(&self) -> String {
        let mut text = self.identifier.clone();
        for entry in &self.entries {
            text += &format!(
                "\n    {}: {} goes to \"{}\"",
                entry.at, entry.written, entry.destination
            );
        }
        text
    }
}

fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) if noun != "key" => format!("{count} {stem}ies"),
        _ => format!("{count} {noun}s"),
    }
}
