//! What becomes of the entries of a mapping source when the fleet's normal form of identifiers replaces the proxy's own.
//! Pure. Every entry ends in exactly one place: a row, a conflict, or left out with the reason.
//!
//! An entry that no login finds today is left out: as a row it would begin to route somebody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mailswitch_proto::identifier::{Identifier, Normalization, Rules};
use serde::{Serialize, Serializer};

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// A file and its line, counted from 1.
    Line(String, u32),
    /// A key or a row of a store.
    Stored(String),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(file, line) => write!(f, "{file}:{line}"),
            Self::Stored(what) => f.write_str(what),
        }
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An entry as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The identifier.
    pub written: String,
    /// The destination.
    pub destination: String,
    /// Where it stands.
    pub at: At,
}

/// How the source finds an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// A file: keys are normalised when it is read, and `@example.org` stands for a domain.
    Normalized,
    /// A store: a login finds the key that is written exactly as it is looked up.
    Exact,
}

/// How logins become identifiers, before and after; and what there is.
#[derive(Debug)]
pub struct Worlds<'a> {
    /// Of the proxy: separators and `mapping.normalize`.
    pub before: &'a Rules,
    /// Of the fleet.
    pub after: Normalization,
    /// How the source finds its entries.
    pub keys: Keys,
    /// The names of the destinations.
    pub declared: BTreeSet<&'a str>,
    /// Where everybody goes who has no entry.
    pub default: Option<&'a str>,
}

/// One row of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// In the fleet's normal form.
    pub identifier: String,
    /// Where it goes.
    pub destination: String,
    /// The entries that it is made of.
    pub of: Vec<At>,
}

/// Entries of one identifier that go to several destinations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// What they all are in a fleet.
    pub identifier: String,
    /// The entries, in the order of the source.
    pub entries: Vec<Entry>,
}

/// An entry that does not become a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
    /// Why no login misses it.
    pub why: String,
}

/// A login that follows another entry than today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Follows {
    /// The login.
    pub login: String,
    /// Where it goes today: the default destination.
    pub today: String,
    /// Where it goes in the fleet.
    pub then: String,
    /// By which entry.
    pub by: At,
}

/// Where every entry went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Sorted {
    /// In the order of their identifiers.
    pub rows: Vec<Row>,
    /// In the order of their identifiers. With any, nothing is imported.
    pub conflicts: Vec<Conflict>,
    /// Served today, and no identifier in a fleet. With any, nothing is imported.
    pub impossible: Vec<LeftOut>,
    /// In the order of the source.
    pub left_out: Vec<LeftOut>,
    /// Logins without an entry that will have one: the other of two forms that become one.
    pub follows: Vec<Follows>,
    /// Rows that stand for a whole domain.
    pub domains: Vec<Row>,
    /// How many entries there are.
    pub entries: usize,
}

/// Sorts the entries, in the order of the source.
#[must_use]
pub fn sort(entries: &[Entry], worlds: &Worlds<'_>) -> Sorted {
    let mut sorted = Sorted {
        entries: entries.len(),
        ..Sorted::default()
    };
    let found = worlds.found(entries, &mut sorted.left_out);
    let mut together: BTreeMap<String, Vec<&Found<'_>>> = BTreeMap::new();
    for found in &found {
        match Identifier::normalized(&found.key, &worlds.after) {
            Ok(identifier) => together
                .entry(identifier.as_str().to_owned())
                .or_default()
                .push(found),
            Err(why) => sorted.impossible.push(LeftOut {
                entry: found.entry.clone(),
                why: format!("it is served today, and could not sign in to a fleet: {why}"),
            }),
        }
    }
    for (identifier, group) in together {
        let destinations: BTreeSet<&str> = group.iter().map(|found| found.destination()).collect();
        if destinations.len() > 1 {
            sorted.conflicts.push(Conflict {
                identifier,
                entries: group.iter().map(|found| found.entry.clone()).collect(),
            });
            continue;
        }
        sorted.follows.extend(worlds.follows(&identifier, &group));
        let row = Row {
            destination: destinations.into_iter().collect(),
            of: group.iter().map(|found| found.entry.at.clone()).collect(),
            identifier,
        };
        if row.identifier.starts_with('@') {
            sorted.domains.push(row.clone());
        }
        sorted.rows.push(row);
    }
    sorted.left_out.sort_by(|a, b| a.entry.at.cmp(&b.entry.at));
    sorted
}

/// An entry that a login finds today.
struct Found<'a> {
    entry: &'a Entry,
    /// In the proxy's own normal form.
    key: String,
}

impl Found<'_> {
    fn destination(&self) -> &str {
        &self.entry.destination
    }
}

impl Worlds<'_> {
    /// Those that a login finds today, of each key the one that counts.
    fn found<'a>(&self, entries: &'a [Entry], left_out: &mut Vec<LeftOut>) -> Vec<Found<'a>> {
        let mut last: BTreeMap<String, Found<'a>> = BTreeMap::new();
        for entry in entries {
            let mut leave = |entry: &Entry, why: String| {
                left_out.push(LeftOut {
                    entry: entry.clone(),
                    why,
                });
            };
            match self.key(entry) {
                Err(why) => leave(entry, why),
                Ok(key) => {
                    let found = Found {
                        entry,
                        key: key.clone(),
                    };
                    if let Some(earlier) = last.insert(key, found) {
                        leave(earlier.entry, format!("{} wins today already", entry.at));
                    }
                }
            }
        }
        let mut found: Vec<_> = last.into_values().collect();
        found.sort_by(|a, b| a.entry.at.cmp(&b.entry.at));
        found
    }

    /// Under which the proxy finds it; why it does not.
    fn key(&self, entry: &Entry) -> Result<String, String> {
        let normal = Identifier::normalized(&entry.written, &self.before.normalization)
            .map_err(|why| format!("no client can sign in as this: {why}"))?;
        let normal = normal.as_str();
        if !self.declared.contains(entry.destination.as_str()) {
            return Err(format!(
                "there is no destination \"{}\", so it goes to the default destination today",
                entry.destination
            ));
        }
        if self.keys == Keys::Exact && normal != entry.written {
            return Err("no login finds it: logins are looked up in lower case".to_owned());
        }
        let cut = Identifier::from_login(normal, self.before);
        if cut.as_ref().map(Identifier::as_str) != Ok(normal) {
            return Err("no login finds it: logins are cut at the master-user separator in it".to_owned());
        }
        if self.keys == Keys::Exact && normal.starts_with('@') {
            return Err("no login finds it; in a fleet it would be everybody of this domain".to_owned());
        }
        Ok(normal.to_owned())
    }

    /// The other login form of an identifier, which has no entry of its own today.
    fn follows(&self, identifier: &str, group: &[&Found<'_>]) -> Option<Follows> {
        let Normalization::Fleet {
            bare_domain: Some(domain),
        } = &self.after
        else {
            return None;
        };
        let [only] = group else { return None };
        let today = self.default?;
        let local = identifier.strip_suffix(domain.as_str())?.strip_suffix('@')?;
        let other = match only.key.contains('@') {
            true => local.to_owned(),
            false => identifier.to_owned(),
        };
        (!local.is_empty() && only.destination() != today).then(|| Follows {
            login: other,
            today: today.to_owned(),
            then: only.destination().to_owned(),
            by: only.entry.at.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(lines: &[(&str, &str)]) -> Vec<Entry> {
        (1..)
            .zip(lines)
            .map(|(line, (written, destination))| Entry {
                written: (*written).to_owned(),
                destination: (*destination).to_owned(),
                at: At::Line("moved.tsv".to_owned(), line),
            })
            .collect()
    }

    fn rules(normalization: Normalization) -> Rules {
        Rules {
            master_user_separators: vec!["%".to_owned()],
            normalization,
        }
    }

    fn sorted(
        lines: &[(&str, &str)],
        keys: Keys,
        before: Normalization,
        bare_domain: Option<&str>,
    ) -> Sorted {
        let before = rules(before);
        let worlds = Worlds {
            before: &before,
            after: Normalization::Fleet {
                bare_domain: bare_domain.map(str::to_owned),
            },
            keys,
            declared: ["legacy", "new"].into(),
            default: Some("legacy"),
        };
        let entries = entries(lines);
        let sorted = sort(&entries, &worlds);
        let rows: usize = sorted.rows.iter().map(|row| row.of.len()).sum();
        let conflicts: usize = sorted
            .conflicts
            .iter()
            .map(|conflict| conflict.entries.len())
            .sum();
        let others = sorted.left_out.len() + sorted.impossible.len();
        assert_eq!(rows + conflicts + others, lines.len(), "{sorted:?}");
        sorted
    }

    fn rows(sorted: &Sorted) -> Vec<(&str, &str)> {
        sorted
            .rows
            .iter()
            .map(|row| (row.identifier.as_str(), row.destination.as_str()))
            .collect()
    }

    #[test]
    fn two_keys_that_become_one_identifier_and_go_two_ways_are_a_conflict_at_their_lines() {
        let lines = [
            ("Ann@x.example", "new"),
            ("bob", "new"),
            ("ann@x.example", "legacy"),
        ];
        let sorted = sorted(&lines, Keys::Normalized, Normalization::AsPresented, None);
        assert_eq!(rows(&sorted), [("bob", "new")]);
        assert_eq!(sorted.conflicts.len(), 1);
        let at: Vec<String> = sorted.conflicts[0]
            .entries
            .iter()
            .map(|entry| entry.at.to_string())
            .collect();
        assert_eq!(at, ["moved.tsv:1", "moved.tsv:3"]);
    }

    #[test]
    fn two_keys_that_become_one_identifier_and_go_one_way_are_one_row() {
        let lines = [("Ann@x.example", "new"), ("ann@x.example", "new")];
        let sorted = sorted(&lines, Keys::Normalized, Normalization::AsPresented, None);
        assert_eq!(rows(&sorted), [("ann@x.example", "new")]);
        assert_eq!(sorted.rows[0].of.len(), 2);
    }

    #[test]
    fn of_two_lines_for_one_key_the_later_one_counts_as_it_does_today() {
        let lines = [("ann", "legacy"), ("ANN", "new")];
        let sorted = sorted(&lines, Keys::Normalized, Normalization::Lowercase, None);
        assert_eq!(rows(&sorted), [("ann", "new")]);
        assert_eq!(sorted.left_out[0].why, "moved.tsv:2 wins today already");
    }

    #[test]
    fn what_no_login_finds_today_routes_nobody_in_the_fleet_either() {
        let lines = [
            ("Ann@x.example", "new"),
            ("bob@x.example%root", "new"),
            ("carol", "nowhere"),
            ("d\"ave", "new"),
            ("@x.example", "new"),
            ("eve", "new"),
        ];
        let sorted = sorted(&lines, Keys::Exact, Normalization::Lowercase, None);
        assert_eq!(rows(&sorted), [("eve", "new")]);
        let why: Vec<&str> = sorted.left_out.iter().map(|left| left.why.as_str()).collect();
        for (found, part) in why
            .iter()
            .zip(["lower case", "separator", "nowhere", "sign in", "everybody"])
        {
            assert!(found.contains(part), "{found}: {part}");
        }
    }

    #[test]
    fn with_a_bare_domain_both_forms_are_one_and_the_one_without_an_entry_is_named() {
        let lines = [
            ("ann@x.example", "new"),
            ("ann", "new"),
            ("bob@x.example", "new"),
            ("carol", "new"),
            ("dave", "legacy"),
            ("eve", "new"),
            ("eve@x.example", "legacy"),
        ];
        let sorted = sorted(
            &lines,
            Keys::Normalized,
            Normalization::Lowercase,
            Some("x.example"),
        );
        let follows: Vec<&str> = sorted.follows.iter().map(|one| one.login.as_str()).collect();
        assert_eq!(follows, ["bob", "carol@x.example"]);
        assert_eq!(sorted.conflicts[0].identifier, "eve@x.example");
        assert_eq!(sorted.rows.len(), 4);
    }

    #[test]
    fn a_line_for_a_domain_is_a_row_and_named() {
        let sorted = sorted(
            &[("@X.example", "new")],
            Keys::Normalized,
            Normalization::Lowercase,
            None,
        );
        assert_eq!(rows(&sorted), [("@x.example", "new")]);
        assert_eq!(sorted.domains.len(), 1);
    }
}
