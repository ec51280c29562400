//! What is probed: a node's file, or the fleet's.

use std::net::SocketAddr;
use std::time::Duration;

use mailswitch_config::node::Alone;
use mailswitch_config::table::destination::{Destination, Endpoint};
use mailswitch_config::table::mapping::Mapping;
use mailswitch_config::table::tls::Certificate;
use mailswitch_config::{FleetConfig, FleetFile, NodeConfig, Protocol, SiteName, Source};

use crate::tls::Trust;

/// However long a file lets a session wait for its backend, nobody waits longer for `check`.
const LONGEST: Duration = Duration::from_secs(10);
/// A file with a budget that no probe could keep.
const SHORTEST: Duration = Duration::from_secs(2);

/// What a configuration names.
#[derive(Debug, Clone)]
pub struct Subject {
    pub(crate) fleet: FleetConfig,
    /// Of a fleet's file: the destinations that `[site.NAME.destination.*]` changes, as that site sees them.
    pub(crate) at_sites: Vec<(SiteName, Destination)>,
    /// None: nobody listens here, as in a fleet's file; every protocol counts as served.
    pub(crate) serves: Option<Vec<Protocol>>,
    /// The sockets that are ours.
    pub(crate) binds: Vec<SocketAddr>,
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) hostname: Option<String>,
    pub(crate) proxy_ttl: u32,
    /// Of a node that runs alone.
    pub(crate) mapping: Option<Mapping>,
    /// Of a node in a fleet: `https://HOST:PORT`.
    pub(crate) control_planes: Vec<String>,
    /// Of one leg.
    pub(crate) budget: Duration,
    pub(crate) trust: Trust,
}

/// One endpoint of one destination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LegOf<'a> {
    /// None: as every site sees it that nothing was written for.
    pub(crate) site: Option<&'a SiteName>,
    pub(crate) destination: &'a Destination,
    pub(crate) protocol: Protocol,
    pub(crate) endpoint: Endpoint,
}

impl Subject {
    /// A node's file. In a fleet the destinations are not in it: there is little to probe.
    #[must_use]
    pub fn of_node(config: &NodeConfig) -> Self {
        let (fleet, mapping, control_planes) = match &config.source {
            Source::Alone(alone) => {
                let Alone { fleet, mapping } = &**alone;
                (fleet.clone(), Some(mapping.clone()), Vec::new())
            }
            Source::ControlPlane(link) => (FleetConfig::empty(), None, link.endpoints.clone()),
        };
        let mut serves: Vec<Protocol> = config
            .listeners
            .iter()
            .map(|listener| listener.protocol)
            .collect();
        serves.sort_unstable();
        serves.dedup();
        let binds = config.listeners.iter().flat_map(|listener| listener.bind.clone());
        Self {
            fleet,
            at_sites: Vec::new(),
            serves: Some(serves),
            binds: binds.collect(),
            certificates: config.tls.certificates.clone(),
            hostname: config.server.hostname.clone(),
            proxy_ttl: config.server.proxy_ttl,
            mapping,
            control_planes,
            budget: config.server.backend_timeout.clamp(SHORTEST, LONGEST),
            trust: Trust::default(),
        }
    }

    /// A fleet's file: as a site sees it that nothing was written for, and what differs at the others. What it meets is
    /// what this machine meets.
    #[must_use]
    pub fn of_fleet_file(file: &FleetFile) -> Self {
        let mut subject = Self::of_fleet(&file.config);
        for (site, config) in &file.sites {
            let here = config.destinations.values();
            let differ = here.filter(|one| file.config.destination(one.name.as_str()) != Some(one));
            subject
                .at_sites
                .extend(differ.map(|one| (site.clone(), one.clone())));
        }
        subject
    }

    /// The fleet's configuration, as one site sees it.
    #[must_use]
    pub(crate) fn of_fleet(config: &FleetConfig) -> Self {
        Self {
            fleet: config.clone(),
            at_sites: Vec::new(),
            serves: None,
            binds: Vec::new(),
            certificates: Vec::new(),
            hostname: None,
            proxy_ttl: mailswitch_config::table::server::Server::default().proxy_ttl,
            mapping: None,
            control_planes: Vec::new(),
            budget: LONGEST,
            trust: Trust::default(),
        }
    }

    /// All legs, by destination.
    pub(crate) fn legs(&self) -> impl Iterator<Item = LegOf<'_>> {
        let everywhere = self.fleet.destinations.values().map(|one| (None, one));
        let at_sites = self.at_sites.iter().map(|(site, one)| (Some(site), one));
        everywhere.chain(at_sites).flat_map(|(site, destination)| {
            let legs = destination.endpoints.iter();
            legs.map(move |(protocol, endpoint)| LegOf {
                site,
                destination,
                protocol: *protocol,
                endpoint: *endpoint,
            })
        })
    }

    /// Whether clients can reach us by this protocol.
    pub(crate) fn is_served(&self, protocol: Protocol) -> bool {
        self.serves
            .as_ref()
            .is_none_or(|serves| serves.contains(&protocol))
    }
}

impl LegOf<'_> {
    /// The table of its destination: `destination.legacy`, `site.fra.destination.legacy`.
    pub(crate) fn table(&self) -> String {
        let table = format!("destination.{}", self.destination.name);
        match self.site {
            None => table,
            Some(site) => format!("site.{site}.{table}"),
        }
    }

    /// As in the file: `destination.legacy.protocol.imap`.
    pub(crate) fn key(&self) -> String {
        format!("{}.protocol.{}", self.table(), self.protocol)
    }

    /// Its destination, for people.
    pub(crate) fn name(&self) -> String {
        match self.site {
            None => self.destination.name.to_string(),
            Some(site) => format!("{} at site {site}", self.destination.name),
        }
    }
}
