//! The entries of the proxy's mapping source, each with where it stands.

use std::path::Path;

use mailswitch_config::table::mapping::MappingStore;
use mailswitch_proto::control::v1::Finding;

use crate::exit::{Exit, Failure};
use crate::import::mappings::{At, Entry, Keys, Worlds};
use crate::rows::text_of;

/// All of them, in their order; and how a login finds one.
pub(super) fn entries(store: &MappingStore, instead: Option<&Path>) -> Result<(Vec<Entry>, Keys), Failure> {
    let keys = match store {
        MappingStore::File { .. } => Keys::Normalized,
        MappingStore::Redis(_) | MappingStore::Sql(_) => Keys::Exact,
    };
    let path = match (instead, store) {
        (Some(path), _) => path,
        (None, MappingStore::File { path }) => path,
        (None, MappingStore::Redis(redis)) => {
            return Err(elsewhere(
                "Redis",
                format!(
                    "write them into a file, identifier<TAB>destination, without \"{}\" before them",
                    redis.key_prefix
                ),
            ));
        }
        (None, MappingStore::Sql(_)) => {
            return Err(elsewhere(
                "SQL",
                "write them into a file, identifier<TAB>destination: mapping.sql.query finds one, and cannot list them"
                    .to_owned(),
            ));
        }
    };
    Ok((read(path)?, keys))
}

fn elsewhere(store: &str, how: String) -> Failure {
    Failure::new(
        Exit::Precondition,
        format!("the mappings are in {store}, and are not read from there"),
    )
    .remedy(format!("{how}; then give --mappings FILE"))
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
pub(super) fn check(entries: &[Entry], keys: Keys, worlds: &Worlds<'_>) -> Result<(), Failure> {
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
