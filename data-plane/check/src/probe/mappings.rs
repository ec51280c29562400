//! The mapping file of a node that runs alone: how much is in it, and both login forms of an account. What is wrong with
//! its lines is in the validator's findings.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use mailswitch_config::mapping_file;
use nix::unistd::{AccessFlags, access};

use crate::report::Group;
use crate::subject::{Store, Subject};

/// Pairs that are named.
const NAMED: usize = 5;

pub(crate) fn check(subject: &Subject) -> Group {
    let mut group = Group::new("mappings");
    match &subject.store {
        Some(Store::File(path)) => file(&mut group, subject, path),
        Some(Store::Redis) => group.note("the store in Redis is not probed"),
        Some(Store::Sql) => group.note("the store in SQL is not probed"),
        None => {}
    }
    group
}

fn file(group: &mut Group, subject: &Subject, path: &Path) {
    let shown = path.display();
    let Ok(bytes) = std::fs::read(path) else { return };
    let mapped = mapping_file::parse(&bytes, &subject.fleet.normalization);
    // Of two lines for one identifier the later one counts.
    let entries: HashMap<&str, &str> = mapped
        .entries
        .iter()
        .map(|entry| (entry.identifier.as_str(), entry.destination.as_str()))
        .collect();
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for destination in entries.values() {
        *count.entry(destination).or_default() += 1;
    }
    let by: Vec<String> = count
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    group.ok(match by.as_slice() {
        [] => format!("{shown}: no entry, so every account is on the default destination"),
        by => {
            let entries = match entries.len() {
                1 => "1 entry".to_owned(),
                many => format!("{many} entries"),
            };
            format!("{shown}: {entries}: {}", by.join(", "))
        }
    });
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if access(folder.unwrap_or(Path::new(".")), AccessFlags::W_OK).is_err() {
        let what =
            format!("{shown} cannot be replaced by this user: the management API cannot change mappings");
        group.warning(what, "let the program's user write into its folder");
    }
    forms(group, subject, &entries);
}

/// A login with its domain and the one without are two identifiers: a client may use either.
fn forms(group: &mut Group, subject: &Subject, entries: &HashMap<&str, &str>) {
    let Some(default) = &subject.fleet.routing.default_destination else {
        return;
    };
    let default = default.as_str();
    let mut apart: Vec<String> = entries
        .iter()
        .filter_map(|(identifier, destination)| {
            let (bare, _) = identifier.split_once('@').filter(|(bare, _)| !bare.is_empty())?;
            let other = entries.get(bare).copied().unwrap_or(default);
            let how = if entries.contains_key(bare) {
                ""
            } else {
                ", by default"
            };
            (other != *destination).then(|| format!("{identifier} to {destination}, {bare} to {other}{how}"))
        })
        .collect();
    apart.sort();
    if apart.is_empty() {
        return;
    }
    let more = apart.len().saturating_sub(NAMED);
    let all = apart.len();
    apart.truncate(NAMED);
    let more = match more {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let accounts = if all == 1 {
        "1 account"
    } else {
        &format!("{all} accounts")
    };
    group.warning(
        format!(
            "{accounts} would go to two places, by the form of the login: {}{more}",
            apart.join("; ")
        ),
        "if clients also sign in without the domain, map both forms",
    );
}
