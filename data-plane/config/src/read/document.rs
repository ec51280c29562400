//! A document with the line of every value: a TOML file, or resources that have no lines.

use std::collections::BTreeMap;

use super::place::{Place, Step};
use crate::finding::{Finding, Severity};

/// A read file, or resources put together.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// Its name in findings.
    pub(crate) file: String,
    /// Always a table.
    pub(crate) root: Node,
    /// False when parts could not be read: then nothing is said about what is missing.
    pub(crate) complete: bool,
    /// The lines that are not TOML: what could be read of them was not meant so, and nothing more is said about it.
    pub(crate) broken: Vec<u32>,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Counted from 1. Of a table: of its header, or the first key that made it.
    pub(crate) line: Option<u32>,
    /// The value.
    pub(crate) value: Value,
}

/// What TOML and JSON both can say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    String(String),
    /// None: it does not fit into 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    /// A date or time of TOML, or null of JSON: nothing here is one.
    Other(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Document {
    /// Reads TOML. What is wrong with its grammar comes back beside the rest.
    pub(crate) fn parse(text: &str, file: &str) -> (Self, Vec<Finding>) {
        let lines = Lines::of(text);
        let (root, errors) = toml::de::DeTable::parse_recoverable(text);
        let mut errors: Vec<(Option<u32>, &str)> = errors
            .iter()
            .map(|error| (error.span().map(|span| lines.line(span.start)), error.message()))
            .collect();
        // The first of a line: the others follow from it.
        errors.sort_by_key(|(line, _)| *line);
        errors.dedup_by_key(|(line, _)| *line);
        let broken: Vec<u32> = errors.iter().filter_map(|(line, _)| *line).collect();
        let findings: Vec<Finding> = errors
            .iter()
            .enumerate()
            // And the first of a run: behind a list that is not closed every line is wrong in the same way.
            .filter(|(index, (line, message))| {
                let before = index.checked_sub(1).and_then(|before| errors.get(before));
                before.is_none_or(|(above, same)| message != same || line.map(|line| line - 1) != *above)
            })
            .map(|(_, (line, message))| (*line, *message))
            .map(|(line, message)| Finding {
                severity: Severity::Error,
                file: file.to_owned(),
                line,
                key: String::new(),
                value: None,
                message: format!("this is not TOML: {message}"),
                remedy: "correct the line; see https://toml.io/en/v1.0.0".to_owned(),
            })
            .collect();
        let document = Self {
            file: file.to_owned(),
            root: Node {
                line: None,
                value: table(root.into_inner(), &lines),
            },
            complete: findings.is_empty(),
            broken,
        };
        (document, findings)
    }

    /// Without lines.
    pub(crate) fn of_root(file: &str, root: BTreeMap<String, Node>) -> Self {
        Self {
            file: file.to_owned(),
            root: Node {
                line: None,
                value: Value::Table(root),
            },
            complete: true,
            broken: Vec::new(),
        }
    }

    /// What stands at a place.
    pub(crate) fn find(&self, place: &Place) -> Option<&Node> {
        place
            .steps()
            .iter()
            .try_fold(&self.root, |node, step| node.step(step))
    }

    /// Lays a table over one of the document's own.
    pub(crate) fn overlay_table(&mut self, key: &str, over: &Node) {
        if let Value::Table(entries) = &mut self.root.value
            && let Some(below) = entries.get_mut(key)
        {
            below.overlay(over);
        }
    }

    /// The line of a place, or of the nearest thing above it that exists.
    pub(crate) fn line(&self, place: &Place) -> Option<u32> {
        let mut node = &self.root;
        let mut line = None;
        for step in place.steps() {
            let Some(below) = node.step(step) else { break };
            node = below;
            line = node.line.or(line);
        }
        line
    }
}

impl Node {
    /// From JSON, without lines.
    pub(crate) fn of_json(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Other("null".to_owned()),
            Json::Bool(value) => Value::Boolean(value),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Value::Integer(Some(integer)),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::String(text),
            Json::Array(items) => Value::Array(items.into_iter().map(Self::of_json).collect()),
            Json::Object(entries) => Value::Table(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, Self::of_json(value)))
                    .collect(),
            ),
        };
        Self { line: None, value }
    }

    /// As canonical JSON: keys sorted, no blanks. Written here, because the order of the keys in
    /// `serde_json::Value` depends on what other crates ask of it. Dates and other things that no table here takes
    /// become strings.
    pub(crate) fn to_json(&self) -> String {
        match &self.value {
            Value::String(text) | Value::Other(text) => serde_json::Value::from(text.as_str()).to_string(),
            Value::Integer(integer) => integer.map_or("null".to_owned(), |integer| integer.to_string()),
            Value::Float(float) => serde_json::Value::from(*float).to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(Self::to_json).collect();
                format!("[{}]", items.join(","))
            }
            Value::Table(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| {
                        format!("{}:{}", serde_json::Value::from(key.as_str()), value.to_json())
                    })
                    .collect();
                format!("{{{}}}", entries.join(","))
            }
        }
    }

    /// The entries, when it is a table.
    pub(crate) fn entries(&self) -> Option<&BTreeMap<String, Self>> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// A table with nothing in it.
    pub(crate) fn empty_table() -> Self {
        Self {
            line: None,
            value: Value::Table(BTreeMap::new()),
        }
    }

    /// Adds to a table; does nothing to anything else.
    pub(crate) fn insert(&mut self, key: &str, value: Self) {
        if let Value::Table(entries) = &mut self.value {
            entries.insert(key.to_owned(), value);
        }
    }

    /// True when what a place names from a depth on stands below this value.
    pub(crate) fn has_below(&self, place: &Place, depth: usize) -> bool {
        let steps = place.steps().get(depth..).unwrap_or_default();
        steps
            .iter()
            .try_fold(self, |node, step| node.step(step))
            .is_some()
    }

    /// Lays another value over this one: tables key by key, everything else as a whole.
    pub(crate) fn overlay(&mut self, over: &Self) {
        match (&mut self.value, &over.value) {
            (Value::Table(below), Value::Table(above)) => {
                for (key, value) in above {
                    match below.get_mut(key) {
                        Some(under) => under.overlay(value),
                        None => {
                            below.insert(key.clone(), value.clone());
                        }
                    }
                }
            }
            _ => *self = over.clone(),
        }
    }

    /// As TOML would write it on one line, shortened for a message.
    pub(crate) fn shown(&self) -> String {
        const MOST: usize = 120;
        let text = self.as_toml();
        match text.char_indices().nth(MOST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    /// As a value that the TOML writer takes.
    pub(crate) fn to_toml(&self) -> toml::Value {
        match &self.value {
            Value::String(text) | Value::Other(text) => toml::Value::String(text.clone()),
            Value::Integer(integer) => toml::Value::Integer(integer.unwrap_or_default()),
            Value::Float(float) => toml::Value::Float(*float),
            Value::Boolean(value) => toml::Value::Boolean(*value),
            Value::Array(items) => toml::Value::Array(items.iter().map(Self::to_toml).collect()),
            Value::Table(entries) => toml::Value::Table(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), value.to_toml()))
                    .collect(),
            ),
        }
    }

    /// As TOML would write it on one line.
    pub(crate) fn as_toml(&self) -> String {
        match &self.value {
            Value::String(text) => quoted(text),
            Value::Integer(Some(integer)) => integer.to_string(),
            Value::Integer(None) => "an integer of more than 64 bits".to_owned(),
            Value::Float(float) => float.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Other(text) => text.clone(),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(Self::as_toml).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Table(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{} = {}", Place::of([key]), value.as_toml()))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }

    fn step(&self, step: &Step) -> Option<&Self> {
        match (&self.value, step) {
            (Value::Table(entries), Step::Key(key)) => entries.get(key),
            (Value::Array(items), Step::Index(index)) => items.get(*index),
            _ => None,
        }
    }
}

/// A text between quotation marks, on one line whatever is in it.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn table(entries: toml::de::DeTable<'_>, lines: &Lines) -> Value {
    Value::Table(
        entries
            .into_iter()
            .map(|(key, value)| {
                let line = lines.line(key.span().start);
                (key.into_inner().into_owned(), node(value, Some(line), lines))
            })
            .collect(),
    )
}

fn node(spanned: toml::Spanned<toml::de::DeValue<'_>>, key_line: Option<u32>, lines: &Lines) -> Node {
    use toml::de::DeValue;
    // The line of the key: of a table that headers made in several places, the first of them.
    let line = key_line.or_else(|| Some(lines.line(spanned.span().start)));
    let value = match spanned.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(integer) => {
            Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok())
        }
        DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(datetime) => Value::Other(datetime.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.into_iter().map(|item| node(item, None, lines)).collect())
        }
        DeValue::Table(entries) => table(entries, lines),
    };
    Node { line, value }
}

/// Byte offsets to lines.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    fn line(&self, offset: usize) -> u32 {
        let before = self.0.partition_point(|newline| *newline < offset);
        u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
    }
}
