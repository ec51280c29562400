//! The reader of one table. Asking for a key makes it known; `finish` reports what nobody asked for. A table that is
//! absent reads as an empty one, so that the same code makes the defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use super::document::{Node, Value};
use super::place::Place;
use super::report::{Report, Show};
use super::value::{self, Wrong};
use crate::finding::Severity;
use crate::protocol::Keyword;

/// Reads one table of the document that a report is about.
pub(crate) struct TableReader<'r, 'd> {
    pub(crate) report: &'r Report<'d>,
    pub(crate) place: Place,
    entries: Option<&'d BTreeMap<String, Node>>,
    asked: Vec<&'static str>,
}

impl<'r, 'd> TableReader<'r, 'd> {
    /// The document's own table.
    pub(crate) fn root(report: &'r Report<'d>) -> Self {
        Self {
            report,
            place: Place::root(),
            entries: report.document.root.entries(),
            asked: Vec::new(),
        }
    }

    /// The place of one of its keys.
    pub(crate) fn at(&self, key: &str) -> Place {
        self.place.key(key)
    }

    /// The table stands in the document.
    pub(crate) fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    /// The key stands in the table. Makes it known.
    pub(crate) fn has(&mut self, key: &'static str) -> bool {
        self.node(key).is_some()
    }

    /// A value by its own grammar; none when it is absent or wrong (then it is reported).
    pub(crate) fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'d Node) -> Result<T, Wrong>,
    ) -> Option<T> {
        let node = self.node(key)?;
        read(node)
            .map_err(|wrong| self.report.wrong(&self.at(key), wrong))
            .ok()
    }

    /// As `get`, of a key that must be there.
    pub(crate) fn require<T>(
        &mut self,
        key: &'static str,
        remedy: &str,
        read: impl FnOnce(&'d Node) -> Result<T, Wrong>,
    ) -> Option<T> {
        if !self.has(key) {
            self.report.missing(&self.at(key), "this key is required", remedy);
            return None;
        }
        self.get(key, |node| {
            read(node).map_err(|wrong| match wrong.message.as_str() {
                // It cannot be removed.
                value::EMPTY => Wrong {
                    remedy: remedy.to_owned(),
                    ..wrong
                },
                _ => wrong,
            })
        })
    }

    /// A text that is not empty.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        self.get(key, value::filled)
    }

    /// A switch, and what it is when it is absent.
    pub(crate) fn switch(&mut self, key: &'static str, absent: bool) -> bool {
        self.get(key, value::boolean).unwrap_or(absent)
    }

    /// A whole number of a range, and what it is when it is absent.
    pub(crate) fn number<T>(&mut self, key: &'static str, absent: T, least: T, most: T) -> T
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy,
    {
        self.get(key, |node| value::integer(node, least, most))
            .unwrap_or(absent)
    }

    /// A duration, and what it is when it is absent.
    pub(crate) fn duration(&mut self, key: &'static str, absent: Duration) -> Duration {
        self.get(key, value::duration).unwrap_or(absent)
    }

    /// One value of an enumeration, and what it is when it is absent.
    /// A duration that lets nothing happen when it is zero. Files with a zero start elsewhere: it is a warning.
    pub(crate) fn time_for(&mut self, key: &'static str, absent: Duration, without_any: &str) -> Duration {
        let time = self.duration(key, absent);
        if time.is_zero() {
            self.report.warning(
                &self.at(key),
                without_any,
                "write a longer time, or remove the key: then it is the default",
            );
        }
        time
    }

    pub(crate) fn keyword<K: Keyword>(&mut self, key: &'static str, absent: K) -> K {
        self.get(key, value::keyword).unwrap_or(absent)
    }

    /// A list, each element by its own grammar. None when it is absent; wrong elements are reported and left out.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&'d Node) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let place = self.at(key);
        let items = self.get(key, |node| match &node.value {
            Value::Array(items) => Ok(items),
            _ => Err(Wrong::new(
                format!("{} stands where a list belongs", value::kind(node)),
                "write it between square brackets: [\"…\", \"…\"]",
            )),
        })?;
        Some(
            items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| {
                    read(item)
                        .map_err(|wrong| self.report.wrong(&place.index(index), wrong))
                        .ok()
                })
                .collect(),
        )
    }

    /// The table below; an empty one when it is absent, or when something else stands there (then it is reported).
    pub(crate) fn table(&mut self, key: &'static str) -> Self {
        let entries = self.get(key, as_table);
        self.below(self.at(key), entries)
    }

    /// The tables below a table of names: `[destination.*]`.
    pub(crate) fn named_tables(&mut self, key: &'static str) -> Vec<(String, Self)> {
        let Some(entries) = self.get(key, as_table) else {
            return Vec::new();
        };
        let place = self.at(key);
        entries
            .iter()
            .filter_map(|(name, node)| {
                let place = place.key(name);
                let entries = self.entries_at(&place, node)?;
                Some((name.clone(), self.below(place, Some(entries))))
            })
            .collect()
    }

    /// The tables of an array of tables: `[[http.route]]`.
    pub(crate) fn listed_tables(&mut self, key: &'static str) -> Vec<Self> {
        let place = self.at(key);
        let Some(items) = self.get(key, |node| match &node.value {
            Value::Array(items) => Ok(items),
            _ => Err(Wrong::new(
                format!("{} stands where a list of tables belongs", value::kind(node)),
                format!("write [[{place}]] with two brackets on each side"),
            )),
        }) else {
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .filter_map(|(index, node)| {
                let place = place.index(index);
                let entries = self.entries_at(&place, node)?;
                Some(self.below(place, Some(entries)))
            })
            .collect()
    }

    /// Reports every key that was not asked for.
    pub(crate) fn finish(self) {
        for (key, node) in self.entries.into_iter().flatten() {
            if self.asked.contains(&key.as_str()) {
                continue;
            }
            let what = if node.entries().is_some() { "table" } else { "key" };
            let remedy = match value::nearest(key, self.asked.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => match self.asked.len() {
                    0 => "remove it".to_owned(),
                    _ => format!("remove it; known here: {}", self.asked.join(", ")),
                },
            };
            let message = match self.report.unknown_keys {
                Severity::Error => format!("this {what} is unknown"),
                Severity::Warning => format!("this {what} is unknown and has no effect"),
            };
            // Its value may be a secret under a misspelt name.
            let place = self.place.key(key);
            self.report
                .note(self.report.unknown_keys, &place, Show::Nothing, message, remedy);
        }
    }

    fn node(&mut self, key: &'static str) -> Option<&'d Node> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
            // For the test that compares them with the docs.
            #[cfg(test)]
            self.report.know(self.place.key(key));
        }
        self.entries.and_then(|entries| entries.get(key))
    }

    fn entries_at(&self, place: &Place, node: &'d Node) -> Option<&'d BTreeMap<String, Node>> {
        as_table(node)
            .map_err(|wrong| self.report.wrong(place, wrong))
            .ok()
    }

    fn below(&self, place: Place, entries: Option<&'d BTreeMap<String, Node>>) -> Self {
        Self {
            report: self.report,
            place,
            entries,
            asked: Vec::new(),
        }
    }
}

fn as_table(node: &Node) -> Result<&BTreeMap<String, Node>, Wrong> {
    node.entries().ok_or_else(|| {
        Wrong::new(
            format!("{} stands where a table belongs", value::kind(node)),
            "write a table",
        )
    })
}
