//! What the configuration says of destinations, as far as mappings need it: which are declared, which is the default, and
//! which have every protocol that a listener serves (V17, V18).

use std::collections::BTreeMap;
use std::sync::Arc;

use mailswitch_config::protocol::Keyword as _;
use mailswitch_config::table::listener::Listener;
use mailswitch_config::{DestinationName, FleetConfig, Protocol};

/// The interactive protocols that listeners serve, with one listener each: for messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Served(BTreeMap<Protocol, String>);

impl Served {
    /// By these listeners.
    #[must_use]
    pub fn by(listeners: &[Listener]) -> Self {
        let interactive = listeners
            .iter()
            .filter(|listener| listener.protocol.is_interactive());
        let mut served = BTreeMap::new();
        for listener in interactive {
            served
                .entry(listener.protocol)
                .or_insert_with(|| listener.name.as_str().to_owned());
        }
        Self(served)
    }
}

/// A destination without a protocol that a listener serves: mapped to it, a client of that protocol gets nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("destination {destination} has no {protocol}, which listener {listener} serves")]
pub struct Uncovered {
    /// Its name.
    pub destination: String,
    /// What it lacks.
    pub protocol: &'static str,
    /// Who serves it.
    pub listener: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Destinations {
    /// Each with what it lacks first.
    declared: BTreeMap<Arc<DestinationName>, Option<Uncovered>>,
    pub(crate) default: Option<DestinationName>,
}

impl Destinations {
    pub(crate) fn of(fleet: &FleetConfig, served: &Served) -> Self {
        let default = fleet.routing.default_destination.clone();
        let lacks = |name: &DestinationName| {
            // Of the default, V6 says it, for everybody.
            let declared = fleet
                .destinations
                .get(name)
                .filter(|_| default.as_ref() != Some(name))?;
            let (protocol, listener) = served
                .0
                .iter()
                .find(|(protocol, _)| declared.endpoint(**protocol).is_none())?;
            Some(Uncovered {
                destination: name.as_str().to_owned(),
                protocol: protocol.as_str(),
                listener: listener.clone(),
            })
        };
        Self {
            declared: fleet
                .destinations
                .keys()
                .map(|name| (Arc::new(name.clone()), lacks(name)))
                .collect(),
            default,
        }
    }

    /// The one that all entries share.
    pub(crate) fn declared(&self, name: &DestinationName) -> Option<&Arc<DestinationName>> {
        self.declared.get_key_value(name).map(|(name, _)| name)
    }

    pub(crate) fn lacks(&self, name: &DestinationName) -> Option<&Uncovered> {
        self.declared.get(name)?.as_ref()
    }

    /// For messages.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.declared.keys().map(|name| name.as_str()).collect();
        names.join(", ")
    }
}
