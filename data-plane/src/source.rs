//! Where a node has its routing from.
//!
//! - `fleet`: a control plane. The table is complete and in memory; a look never waits.
//! - `alone`: a file, Redis or SQL of its own. The mappings are in the crate `mailswitch_sources`, a file per source and
//!   one for the cache; a look asks them, and its session waits for the answer and for nobody else.

pub mod alone;
pub mod fleet;
pub(crate) mod resources;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use mailswitch_config::FleetConfig;
use mailswitch_proto::identifier::Rules;
use mailswitch_sources::Mappings;

use crate::sessions::Sessions;
use crate::table::Serving;

/// What a node knows: its sessions with their table, and the configuration in force.
#[derive(Debug)]
pub struct Knowledge {
    sessions: Arc<Sessions>,
    config: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<FleetConfig>,
    rules: Arc<Rules>,
}

/// Whether the node can do its work, for `/readyz` and for whoever starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It admits sessions.
    Serving,
    /// It is drained.
    Draining,
    /// It has left the fleet (N2).
    Left,
    /// It has no table, or not yet the one of its registration (N4, N5).
    NotSynced,
}

impl Knowledge {
    pub(crate) fn new(sessions: Arc<Sessions>, config: FleetConfig) -> Arc<Self> {
        let knowledge = Self {
            sessions,
            config: ArcSwap::from_pointee(Current::of(config)),
        };
        Arc::new(knowledge)
    }

    /// The sessions of this node.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// The mappings of a node that runs alone, for its management API. In a fleet the control plane has them.
    #[must_use]
    pub fn mappings(&self) -> Option<&Arc<Mappings>> {
        self.sessions.mappings()
    }

    /// The destinations, capabilities and so on that are in force now. A connection asks anew for each login.
    #[must_use]
    pub fn config(&self) -> Arc<FleetConfig> {
        self.config.load().config.clone()
    }

    /// How a presented login becomes an identifier, now.
    #[must_use]
    pub fn identifier_rules(&self) -> Arc<Rules> {
        self.config.load().rules.clone()
    }

    /// Whether it serves.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if self.sessions.has_left() {
            return Readiness::Left;
        }
        if self.sessions.is_draining() {
            return Readiness::Draining;
        }
        self.sessions.with_table(|table| match table.serving() {
            Serving::NotSynced => Readiness::NotSynced,
            Serving::From(revision) if table.position().revision < revision => Readiness::NotSynced,
            Serving::From(_) | Serving::Yes => Readiness::Serving,
        })
    }

    /// Another configuration is in force.
    pub fn set_config(&self, config: FleetConfig) {
        let before = self.identifier_rules();
        self.config.store(Arc::new(Current::of(config)));
        self.sessions.follow_rules(&before, &self.identifier_rules());
    }
}

impl Current {
    fn of(config: FleetConfig) -> Self {
        Self {
            rules: Arc::new(config.identifier_rules()),
            config: Arc::new(config),
        }
    }
}
