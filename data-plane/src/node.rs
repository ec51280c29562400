//! A node that runs: everything is built and bound before anything is served, and a stop lets bridged sessions end.

pub mod reload;
mod renew;
mod start;
mod stop;

use std::sync::Arc;

use arc_swap::ArcSwap;
use mailswitch_config::DestinationName;
use mailswitch_config::table::server::Server;
use mailswitch_http_rules::Pseudonym;
use mailswitch_proto::identifier::{HashKey, Identifier};
use mailswitch_telemetry::Redactor;
use parking_lot::Mutex;

use crate::backend::Backends;
use crate::feed::Host;
use crate::policy::Policy;
use crate::session::control::Connections;
use crate::source::Knowledge;
use crate::table::Table;
use crate::tls::ServerTls;

pub use start::{Before, Running, StartError, start, start_behind};

/// What all sessions of a node use.
#[derive(Debug)]
pub struct Node {
    /// The registry with the table, and the configuration in force.
    pub knowledge: Arc<Knowledge>,
    /// What listeners present.
    pub tls: ServerTls,
    /// Every connection of a client.
    pub connections: Arc<Connections>,
    /// Who this process is in `Via`.
    pub pseudonym: Pseudonym,
    machine: ArcSwap<Machine>,
    policy: ArcSwap<Policy>,
    backends: Arc<Backends>,
    redaction: Redaction,
    renewing: Mutex<()>,
}

/// `[server]`, as it is in force.
#[derive(Debug)]
pub struct Machine {
    /// The table.
    pub server: Server,
    /// `server.hostname`.
    pub hostname: Option<Arc<str>>,
}

impl From<Server> for Machine {
    fn from(server: Server) -> Self {
        Self {
            hostname: server.hostname.as_deref().map(Arc::from),
            server,
        }
    }
}

/// Who shows logins.
#[derive(Debug)]
struct Redaction {
    redactor: Redactor,
    /// The fleet's key that the redactor was given last. None: a node alone, whose tags are the same on every one.
    fleet_key: Option<Mutex<Option<HashKey>>>,
}

impl Node {
    /// `[server]`, as it is in force.
    #[must_use]
    pub fn machine(&self) -> Arc<Machine> {
        self.machine.load_full()
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.keep_up();
        self.policy.load_full()
    }

    /// The destinations in force.
    #[must_use]
    pub fn backends(&self) -> &Arc<Backends> {
        self.keep_up();
        &self.backends
    }

    /// How logins are shown, under the fleet's key once it is known.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        if let Some(known) = &self.redaction.fleet_key {
            let key = self.knowledge.sessions().with_table(Table::hash_key);
            let mut known = known.lock();
            if *known != Some(key) {
                self.redaction.redactor.set_key(key.0);
                *known = Some(key);
            }
        }
        &self.redaction.redactor
    }

    /// One line of what is counted (behaviour §12): every minute, and at the end.
    fn say_figures(&self) {
        let sessions = self.knowledge.sessions();
        sessions
            .report()
            .revision(sessions.with_table(|table| table.position().revision));
        let active_connections = self.connections.count();
        let waiting = sessions.waiting();
        let Some(mappings) = self.knowledge.mappings() else {
            tracing::info!(active_connections, waiting, "figures");
            return;
        };
        let cache = mappings.stats();
        sessions.report().cached(cache.entries);
        tracing::info!(
            cache_hits = cache.hits,
            cache_misses = cache.misses,
            hit_rate_pct = format!("{:.1}", cache.hit_rate_pct()),
            cache_entries = cache.entries,
            active_connections,
            waiting,
            "figures"
        );
    }

    /// What is derived from the configuration is made anew when that has changed, by whoever needs it first: a
    /// change reaches every login that resolves after it.
    fn keep_up(&self) {
        let fleet = self.knowledge.config();
        if Arc::ptr_eq(&self.policy.load().fleet, &fleet) {
            return;
        }
        let _one_at_a_time = self.renewing.lock();
        let fleet = self.knowledge.config();
        if !Arc::ptr_eq(&self.policy.load().fleet, &fleet) {
            self.backends.update(&fleet);
            self.policy.store(Arc::new(Policy::new(fleet)));
        }
    }
}

impl Host for Node {
    fn reset_breaker(&self, destination: &DestinationName) -> Result<(), String> {
        if self.backends().get(destination).is_err() {
            return Err(format!("destination {destination} is not configured"));
        }
        self.backends.reset_breaker(destination);
        Ok(())
    }

    fn show(&self, identifier: &Identifier) -> String {
        self.redactor().identifier(identifier.as_str())
    }
}
