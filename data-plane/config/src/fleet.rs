//! What belongs to a fleet: the file that is applied, and the configuration that a node makes of it.
//!
//! A fleet's file becomes resources (`resource`), which are what is stored, compared and sent. A node's
//! configuration is always made of resources, so that what was applied and what is used cannot differ.

mod assembly;
mod file;

use std::collections::BTreeMap;

use mailswitch_proto::identifier::{Normalization, Rules};

pub use self::assembly::{Assembly, Rejected};
#[cfg(test)]
pub(crate) use self::file::read_fleet;
pub use crate::read::Files;

use crate::name::{DestinationName, ListenerName, SiteName};
use crate::protocol::{Protocol, TlsMode};
use crate::read::TableReader;
use crate::resource::Resource;
use crate::rule;
use crate::table::capabilities::Capabilities;
use crate::table::cutover::Cutover;
use crate::table::destination::Destination;
use crate::table::http::Http;
use crate::table::oauth::Oauth;
use crate::table::routing::Routing;

/// The tables that decide where sessions go, as one site sees them. A node on its own reads them from its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetConfig {
    /// `[destination.*]`, what differs at this site put in its place.
    pub destinations: BTreeMap<DestinationName, Destination>,
    /// `[routing]`.
    pub routing: Routing,
    /// How logins are brought to their one form: `fleet` in a fleet, else `mapping.normalize`.
    pub normalization: Normalization,
    /// `[http]` and `[[http.route]]`.
    pub http: Http,
    /// `[capabilities.*]`.
    pub capabilities: Capabilities,
    /// `[oauth]`.
    pub oauth: Oauth,
    /// `[cutover]`.
    pub cutover: Cutover,
}

impl FleetConfig {
    /// What a fleet has before anything was applied: no destination, so every login gets the temporary failure.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            destinations: BTreeMap::new(),
            routing: Routing::default(),
            normalization: Normalization::Fleet { bare_domain: None },
            http: Http::default(),
            capabilities: Capabilities::default(),
            oauth: Oauth::default(),
            cutover: Cutover::default(),
        }
    }

    /// The rules that turn a presented login into an identifier.
    #[must_use]
    pub fn identifier_rules(&self) -> Rules {
        Rules {
            master_user_separators: self.routing.master_user_separators.clone(),
            normalization: self.normalization.clone(),
        }
    }

    /// The destination of a name.
    #[must_use]
    pub fn destination(&self, name: &str) -> Option<&Destination> {
        self.destinations.get(name)
    }
}

/// Reads the tables that a fleet's file and the file of a node on its own share. `mapping` is the caller's: it
/// means something else in each.
pub(crate) fn read_tables(root: &mut TableReader<'_, '_>) -> FleetConfig {
    let destinations = root
        .named_tables("destination")
        .into_iter()
        .filter_map(|(name, table)| Destination::read(name.into(), table))
        .map(|destination| (destination.name.clone(), destination))
        .collect();
    let routing = Routing::read(root.table("routing"));
    let mut http = Http::read(root.table("http"));
    rule::http::resolve_fallbacks(&mut http, &rule::declared(root.report.document));
    FleetConfig {
        destinations,
        normalization: Normalization::Fleet {
            bare_domain: routing.bare_domain.clone(),
        },
        routing,
        http,
        capabilities: Capabilities::read(root.table("capabilities")),
        oauth: Oauth::read(root.table("oauth")),
        cutover: Cutover::default(),
    }
}

/// A fleet's file, read and checked as a whole: what `mailswitchctl apply -f` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetFile {
    /// What is stored: as it was written, without defaults. In the order of their keys.
    pub resources: Vec<Resource>,
    /// As a site that nothing was written for sees it.
    pub config: FleetConfig,
    /// As the sites that something was written for see it.
    pub sites: BTreeMap<SiteName, FleetConfig>,
}

/// A listener as a node reported it, for the rules that need both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedListener {
    /// Of which node; for messages.
    pub node: String,
    /// Its name there.
    pub name: ListenerName,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its client leg.
    pub tls: TlsMode,
}
