//! Resources: the tables of a fleet's configuration as they are stored, sent and compared. The body is the table as
//! it was written, as canonical JSON (keys sorted, no blanks), so that equal tables are equal bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::read::{Document, Node, Place, Value};

/// Which table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// `destination`, `routing`, `mapping`, `http`, `capabilities`, `oauth` or `cutover`.
    pub kind: String,
    /// Of a destination or a capability table; else empty.
    pub name: String,
    /// Only for this site; empty: everywhere.
    pub site: String,
}

/// A table of the fleet's configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// Which table.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// The TOML table as canonical JSON.
    pub body: String,
}

/// The kinds, in the order in which a fleet's file is written.
pub(crate) const KINDS: [&str; 7] = [
    "routing",
    "mapping",
    "destination",
    "http",
    "capabilities",
    "oauth",
    "cutover",
];

/// True for a kind of which there are several, each with a name.
pub(crate) fn is_named(kind: &str) -> bool {
    matches!(kind, "destination" | "capabilities")
}

impl ResourceKey {
    /// Of a table for the whole fleet.
    pub(crate) fn new(kind: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            site: String::new(),
        }
    }

    /// Of a destination as one site sees it.
    pub(crate) fn at_site(site: &str, name: &str) -> Self {
        Self {
            site: site.to_owned(),
            ..Self::new("destination", name)
        }
    }

    /// Where its table stands in a fleet's file.
    pub(crate) fn place(&self) -> Place {
        let mut place = Place::root();
        if !self.site.is_empty() {
            place = place.key("site").key(&self.site);
        }
        place = place.key(&self.kind);
        if !self.name.is_empty() {
            place = place.key(&self.name);
        }
        place
    }
}

impl fmt::Display for ResourceKey {
    /// The table's name in a fleet's file: `destination.legacy`, `site.fra.destination.legacy`, `routing`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place().fmt(f)
    }
}

impl Resource {
    pub(crate) fn new(key: ResourceKey, table: &Node) -> Self {
        Self {
            key,
            body: table.to_json(),
        }
    }

    /// The files of a destination's client certificate, which stand on each node.
    #[must_use]
    pub fn client_certificate_files(&self) -> Vec<PathBuf> {
        let Ok(table) = self.table() else {
            return Vec::new();
        };
        ["tls_client_cert", "tls_client_key"]
            .iter()
            .filter_map(|key| match &table.entries()?.get(*key)?.value {
                Value::String(path) => Some(path.into()),
                _ => None,
            })
            .collect()
    }

    /// The table; what is wrong with the body when it holds none.
    pub(crate) fn table(&self) -> Result<Node, String> {
        let json =
            serde_json::from_str(&self.body).map_err(|error| format!("its body is not JSON: {error}"))?;
        let node = Node::of_json(json);
        match node.value {
            Value::Table(_) => Ok(node),
            _ => Err("its body is no table".to_owned()),
        }
    }
}

/// The resources of a fleet's file, in the order of their keys.
pub(crate) fn split(document: &Document) -> Vec<Resource> {
    let mut resources = Vec::new();
    let at = |place: &Place| document.find(place).and_then(Node::entries);
    for kind in KINDS {
        let Some(node) = document.find(&Place::of([kind])) else {
            continue;
        };
        if is_named(kind) {
            for (name, table) in node.entries().into_iter().flatten() {
                resources.push(Resource::new(ResourceKey::new(kind, name), table));
            }
        } else {
            resources.push(Resource::new(ResourceKey::new(kind, ""), node));
        }
    }
    for site in at(&Place::of(["site"]))
        .into_iter()
        .flatten()
        .map(|(site, _)| site)
    {
        for (name, table) in at(&Place::of(["site", site, "destination"]))
            .into_iter()
            .flatten()
        {
            resources.push(Resource::new(ResourceKey::at_site(site, name), table));
        }
    }
    resources.sort();
    resources
}

/// One key that differs between two sets of resources, as the feed's and the operator's messages carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The full key path: `destination.new.host`.
    pub key: String,
    /// As TOML; none: absent.
    pub before: Option<String>,
    /// As TOML; none: absent.
    pub after: Option<String>,
}

/// What turns one set of resources into another, key by key, in the order of the keys. Empty when they say the
/// same.
#[must_use]
pub fn diff(before: &[Resource], after: &[Resource]) -> Vec<Difference> {
    let before = leaves_of(before);
    let after = leaves_of(after);
    let mut places: Vec<&Place> = before.keys().chain(after.keys()).collect();
    places.sort();
    places.dedup();
    places
        .into_iter()
        .filter(|place| before.get(*place) != after.get(*place))
        .map(|place| Difference {
            key: place.to_string(),
            before: before.get(place).cloned(),
            after: after.get(place).cloned(),
        })
        .collect()
}

/// Writes resources as a fleet's file, so that applying it changes nothing.
#[must_use]
pub fn to_toml(resources: &[Resource]) -> String {
    let mut tables: BTreeMap<(usize, &ResourceKey), String> = BTreeMap::new();
    for resource in resources {
        let order = KINDS
            .iter()
            .position(|kind| *kind == resource.key.kind)
            .unwrap_or(KINDS.len());
        // What differs by site stands last: it is read as an exception.
        let order = order
            + if resource.key.site.is_empty() {
                0
            } else {
                KINDS.len() + 1
            };
        tables.insert((order, &resource.key), table_text(resource));
    }
    tables.into_values().collect::<Vec<_>>().join("\n")
}

/// One resource's table with its headers.
fn table_text(resource: &Resource) -> String {
    let place = resource.key.place();
    let body = match resource.table() {
        Ok(table) => table,
        Err(why) => return format!("# {place}: {why}\n"),
    };
    let mut nested = body.to_toml();
    for depth in (0..place.steps().len()).rev() {
        if let Some(key) = place.key_at(depth) {
            nested = toml::Value::Table(toml::Table::from_iter([(key.to_owned(), nested)]));
        }
    }
    toml::to_string(&nested).unwrap_or_else(|error| format!("# {place}: {error}\n"))
}

fn leaves_of(resources: &[Resource]) -> BTreeMap<Place, String> {
    let mut leaves = BTreeMap::new();
    for resource in resources {
        let place = resource.key.place();
        match resource.table() {
            Ok(table) => leaves_below(&table, place, &mut leaves),
            // It is stored as it is, and differs from everything that can be read.
            Err(_) => {
                leaves.insert(place, resource.body.clone());
            }
        }
    }
    leaves
}

fn leaves_below(node: &Node, place: Place, leaves: &mut BTreeMap<Place, String>) {
    match &node.value {
        Value::Table(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                leaves_below(value, place.key(key), leaves);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.entries().is_some()) => {
            for (index, item) in items.iter().enumerate() {
                leaves_below(item, place.index(index), leaves);
            }
        }
        _ => {
            leaves.insert(place, node.as_toml());
        }
    }
}
