//! The entries of the proxy's mapping source, each with where it stands: a file is read, Redis and databases are asked
//! (crate `mailswitch-sources`). Only reads.

mod stored;

use std::path::Path;

use mailswitch_config::node::Alone;
use mailswitch_config::table::mapping::MappingStore;
use mailswitch_proto::control::v1::Finding;

use crate::exit::{Exit, Failure};
use crate::import::mappings::{At, Entry, Keys, LeftOut, Sorted, Worlds, sort};
use crate::rows::text_of;

/// Where the entries are, if not where the file says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instead<'a> {
    /// `--mappings`.
    pub(super) mappings: Option<&'a Path>,
    /// `--list-query`.
    pub(super) list_query: Option<&'a str>,
}

/// What a source has.
#[derive(Debug)]
pub(super) struct Entries {
    /// In their order.
    pub(super) entries: Vec<Entry>,
    /// How a login finds one.
    pub(super) keys: Keys,
    /// What the source has and no login meets.
    left_out: Vec<LeftOut>,
}

impl Entries {
    pub(super) async fn of(alone: &Alone, instead: Instead<'_>) -> Result<Self, Failure> {
        let store = &alone.mapping.store;
        if instead.list_query.is_some() && !matches!(store, MappingStore::Sql(_)) {
            return Err(Failure::usage(
                "--list-query is for mappings in a database, and these are not",
            ));
        }
        let written = |keys, path| {
            Ok(Self {
                entries: read(path)?,
                keys,
                left_out: Vec::new(),
            })
        };
        match (instead.mappings, store) {
            (Some(path), MappingStore::File { .. }) => written(Keys::Normalized, path),
            (Some(path), _) => written(Keys::Exact, path),
            (None, MappingStore::File { path }) => written(Keys::Normalized, path),
            (None, MappingStore::Redis(table)) => stored::in_redis(table, alone).await,
            (None, MappingStore::Sql(table)) => stored::in_sql(table, alone, instead.list_query).await,
        }
    }

    /// Where each of them goes.
    pub(super) fn sorted(self, worlds: &Worlds<'_>) -> Result<Sorted, Failure> {
        check(&self.entries, self.keys, worlds)?;
        let mut sorted = sort(&self.entries, worlds);
        sorted.entries += self.left_out.len();
        sorted.left_out.extend(self.left_out);
        Ok(sorted)
    }
}

fn read(path: &Path) -> Result<Vec<Entry>, Failure> {
    let text = text_of(path).map_err(|failure| {
        let remedy = "run it where the file is, or give a copy with --mappings FILE";
        Failure::new(Exit::Precondition, failure.what).remedy(remedy)
    })?;
    let file = match path == Path::new("-") {
        true => "stdin".to_owned(),
        false => path.display().to_string(),
    };
    let words = text.trim_start_matches('\u{feff}').lines().zip(1..);
    let mut entries = Vec::new();
    let mut wrong = Vec::new();
    for (line, number) in words {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let mut words = trimmed.split_whitespace();
        match (words.next(), words.next()) {
            (Some(written), Some(destination)) => entries.push(Entry {
                written: written.to_owned(),
                destination: destination.to_owned(),
                at: At::Line(file.clone(), number),
            }),
            _ => wrong.push(number),
        }
    }
    if wrong.is_empty() {
        return Ok(entries);
    }
    let finding = |line: &u32| Finding {
        severity: "error".to_owned(),
        file: file.clone(),
        line: *line,
        message: "this line has no destination".to_owned(),
        remedy: "write identifier<TAB>destination".to_owned(),
        ..Finding::default()
    };
    let mut failure = Failure::usage(format!("{file} cannot be used; nothing was done"));
    failure.findings = wrong.iter().map(finding).collect();
    Err(failure)
}

/// V17: with a file, the proxy itself would not start.
fn check(entries: &[Entry], keys: Keys, worlds: &Worlds<'_>) -> Result<(), Failure> {
    if keys == Keys::Exact {
        return Ok(());
    }
    let undeclared: Vec<Finding> = entries
        .iter()
        .filter(|entry| !worlds.declared.contains(entry.destination.as_str()))
        .map(|entry| {
            let (file, line) = match &entry.at {
                At::Line(file, line) => (file.clone(), *line),
                At::Stored(what) => (what.clone(), 0),
            };
            Finding {
                severity: "error".to_owned(),
                file,
                line,
                value: format!("{:?}", entry.destination),
                message: "there is no destination of this name".to_owned(),
                remedy: "declare it, or write a declared one".to_owned(),
                ..Finding::default()
            }
        })
        .collect();
    if undeclared.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::usage("the mappings cannot be used; nothing was done");
    failure.findings_total = undeclared.len() as u64;
    failure.findings = undeclared.into_iter().take(100).collect();
    Err(failure)
}
