//! The mappings of a node that runs alone. A file: how much is in it, and both login forms of an account; what is wrong with
//! its lines is in the validator's findings. Redis or a database: whether it lets us in and answers, as a start asks it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use mailswitch_config::mapping_file;
use mailswitch_config::secret::StoreUrl;
use mailswitch_config::table::mapping::{Mapping, MappingStore};
use mailswitch_sources::{StoreError, TakesChanges};
use nix::unistd::{AccessFlags, access};

use crate::report::Group;
use crate::subject::Subject;

/// Pairs that are named.
const NAMED: usize = 5;

pub(crate) async fn check(subject: &Subject) -> Group {
    let mut group = Group::new("mappings");
    let Some(mapping) = &subject.mapping else {
        return group;
    };
    match &mapping.store {
        MappingStore::File { path } => file(&mut group, subject, path),
        MappingStore::Redis(settings) => server(&mut group, mapping, &settings.url, &REDIS).await,
        MappingStore::Sql(settings) => server(&mut group, mapping, &settings.url, &SQL).await,
    }
    group
}

/// What to do about a store that does not answer as it should.
struct Remedies {
    unreachable: &'static str,
    refused: &'static str,
}

const REDIS: Remedies = Remedies {
    unreachable: "start it, or correct mapping.redis.url: redis://:PASSWORD@HOST:PORT/DATABASE",
    refused: "correct the password or the database in mapping.redis.url, and let its user GET, SET and DEL what begins with mapping.redis.key_prefix",
};
const SQL: Remedies = Remedies {
    unreachable: "start it, or correct mapping.sql.url",
    refused: "correct the user, the password or the database in mapping.sql.url, or mapping.sql.query; its table must be there, and its user may read it",
};

/// No node starts without its store, so that this fails where a start does.
async fn server(group: &mut Group, mapping: &Mapping, url: &StoreUrl, remedies: &Remedies) {
    let error = match mailswitch_sources::probe(mapping).await {
        Ok(probed) => {
            let took = probed.took.as_micros() as f64 / 1000.0;
            group.ok(format!("{url} lets us in and answers, in {took:.1} ms"));
            if probed.takes_changes == TakesChanges::No {
                group.note("mapping.sql has not both upsert_query and delete_query: the management API cannot change mappings");
            }
            return;
        }
        Err(error) => error,
    };
    let remedy = match &error {
        StoreError::Unreachable(_) => remedies.unreachable,
        StoreError::TimedOut(_) => {
            "see what keeps it, or raise mapping.lookup_timeout: every login that is not cached waits for it"
        }
        StoreError::Refused(_) | StoreError::Answer(_) => remedies.refused,
    };
    group.failed(format!("{url}: {error}"), remedy);
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
