//! The rules that need more than one table (configuration section 6). What one table alone decides stands where that
//! table is read.

pub(crate) mod certificate;
pub(crate) mod http;
pub(crate) mod listener;
pub(crate) mod mapping;
pub(crate) mod routing;

use std::collections::BTreeSet;

use crate::fleet::{FleetConfig, ReportedListener};
use crate::protocol::Protocol;
use crate::read::{Document, Place, Report};
use crate::table::listener::Listener;

/// What the rules across tables look at.
pub(crate) struct Facts<'a, 'd> {
    pub(crate) report: &'a Report<'d>,
    pub(crate) fleet: &'a FleetConfig,
    pub(crate) listeners: &'a [Served],
    /// Destinations that the mapping file names: what they lack is said of its lines.
    pub(crate) mapped: BTreeSet<&'a str>,
}

/// A listener, of this file or as a node reported it.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    /// For messages: `listener "imaps"`, `listener "imaps" of node fra-1`.
    pub(crate) described: String,
    pub(crate) protocol: Protocol,
    /// Its table, when it stands in the document.
    pub(crate) place: Option<Place>,
}

impl From<&Listener> for Served {
    fn from(listener: &Listener) -> Self {
        Self {
            described: format!("listener \"{}\"", listener.name),
            protocol: listener.protocol,
            place: Some(Place::of(["listener", listener.name.as_str()])),
        }
    }
}

impl From<&ReportedListener> for Served {
    fn from(listener: &ReportedListener) -> Self {
        Self {
            described: format!("listener \"{}\" of node {}", listener.name, listener.node),
            protocol: listener.protocol,
            place: None,
        }
    }
}

impl Facts<'_, '_> {
    /// V1, V6 to V8, V18 (of dynamic stores), V19, V20, V25.
    pub(crate) fn check(&self) {
        routing::check(self);
        http::check(self);
    }

    /// Names of destinations in the document, also of those that cannot be used: they have a finding of their own.
    pub(crate) fn declared(&self) -> Vec<&str> {
        declared(self.report.document)
    }

    /// `listener "imap" and listener "imaps"`: those of a protocol; none when nothing serves it.
    pub(crate) fn serving(&self, protocol: Protocol) -> Option<String> {
        let names: Vec<&str> = self
            .listeners
            .iter()
            .filter(|listener| listener.protocol == protocol)
            .map(|listener| listener.described.as_str())
            .collect();
        match names.as_slice() {
            [] => None,
            [one] => Some((*one).to_owned()),
            [first, .., last] if names.len() > 3 => {
                Some(format!("{first}, {} others and {last}", names.len() - 2))
            }
            [most @ .., last] => Some(format!("{} and {last}", most.join(", "))),
        }
    }
}

pub(crate) fn declared(document: &Document) -> Vec<&str> {
    document
        .find(&Place::of(["destination"]))
        .and_then(|node| node.entries())
        .map(|entries| entries.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// `"a", "b" and 3 others`, for messages.
pub(crate) fn listed(names: &[&str]) -> String {
    const MOST: usize = 12;
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<String> = names
        .iter()
        .take(MOST)
        .map(|name| format!("\"{name}\""))
        .collect();
    match names.len().checked_sub(MOST) {
        Some(more) if more > 0 => format!("{} and {more} others", shown.join(", ")),
        _ => shown.join(", "),
    }
}
