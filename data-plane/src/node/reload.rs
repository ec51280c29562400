//! Reading the configuration anew while the node runs: SIGHUP, and `POST /config/reload` (configuration §4).
//!
//! Everything is read and checked before anything is changed; what cannot be used changes nothing. Connections that stand go
//! on; a login that has not resolved yet, and every further request of a kept connection, meets what is new. What only a
//! restart changes is listed, and stays as it was at the start.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use mailswitch_config::node::{Alone, Environment};
use mailswitch_config::table::link::ControlPlaneLink;
use mailswitch_config::table::listener::Listener;
use mailswitch_config::{Findings, ListenerName, NodeConfig, Source};
use mailswitch_sources::Prepared;
use mailswitch_telemetry::Levels;
use parking_lot::Mutex;

use super::{Machine, Node};
use crate::backend;
use crate::listen::Entry;
use crate::session::Front;
use crate::source::{self, Knowledge};
use crate::tls::InvalidServerTls;

/// Where the configuration was read, and what beside it follows a reload.
#[derive(Debug)]
pub struct Origin {
    /// The file.
    pub path: PathBuf,
    /// Of this process.
    pub environment: Environment,
    /// Which lines are logged; none: telemetry was not started.
    pub levels: Option<Levels>,
}

/// A configuration that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys whose value waits for a restart.
    pub restart_required: Vec<String>,
    /// What the file's reader wants to say about it.
    pub warnings: Vec<String>,
}

impl Reloaded {
    /// What whoever sent SIGHUP gets to know, also where only warnings are logged.
    fn log(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        match self.restart_required.as_slice() {
            [] => tracing::info!("the configuration was reloaded"),
            keys => tracing::warn!(
                restart_required = keys.join(" "),
                "the configuration was reloaded; the keys that are named wait for a restart"
            ),
        }
    }
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The node was not started from a file.
    #[error("it is not known from which file this node was started")]
    NoFile,
    /// The file, or what it names. Says everything at once.
    #[error("{0}")]
    Invalid(Findings),
    /// Certificates or TLS settings.
    #[error(transparent)]
    Tls(#[from] InvalidServerTls),
    /// The mappings.
    #[error(transparent)]
    Mappings(#[from] mailswitch_sources::OpenError),
    /// A node alone is asked to join a fleet, or the other way.
    #[error(
        "mapping.source: a node alone becomes one of a fleet, and a fleet's node one alone, only by a restart"
    )]
    AnotherKind,
    /// The task that reads went away: the process ends.
    #[error("the node stops")]
    Stopping,
}

/// A listener as it is served.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) front: ArcSwap<Front>,
    pub(super) entry: Arc<Entry>,
}

/// Takes new configurations, one at a time.
#[derive(Debug)]
pub struct Reloader {
    node: Arc<Node>,
    /// What the process was started with: what a restart would change differs from this.
    started: NodeConfig,
    doors: Vec<Arc<Door>>,
    origin: Mutex<Option<Arc<Origin>>>,
    /// The tables of `[admin]` that follow a reload.
    followers: Mutex<Vec<Follower>>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

struct Follower(Box<dyn Fn(&NodeConfig) + Send + Sync>);

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Follower")
    }
}

impl Reloader {
    pub(super) fn new(node: Arc<Node>, started: NodeConfig, doors: Vec<Arc<Door>>) -> Arc<Self> {
        Arc::new(Self {
            node,
            started,
            doors,
            origin: Mutex::default(),
            followers: Mutex::default(),
            one_at_a_time: tokio::sync::Mutex::default(),
        })
    }

    /// Where reloads read from now on.
    pub fn reads(&self, origin: Origin) {
        *self.origin.lock() = Some(Arc::new(origin));
    }

    /// Calls this with every configuration that was taken.
    pub(crate) fn tell(&self, follower: impl Fn(&NodeConfig) + Send + Sync + 'static) {
        self.followers.lock().push(Follower(Box::new(follower)));
    }

    /// Reads the configuration anew.
    ///
    /// # Errors
    /// Why it cannot be used; then nothing has changed.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let _one_at_a_time = self.one_at_a_time.lock().await;
        let reloaded = self.take().await;
        match &reloaded {
            Ok(reloaded) => reloaded.log(),
            Err(error) => tracing::error!(
                error = crate::error_chain(error),
                "the configuration was not reloaded: what was in force stays"
            ),
        }
        reloaded
    }

    async fn take(&self) -> Result<Reloaded, ReloadError> {
        let origin = self.origin.lock().clone().ok_or(ReloadError::NoFile)?;
        let reading = Arc::clone(&origin);
        let read = move || NodeConfig::load(&reading.path, &reading.environment);
        let checked = match tokio::task::spawn_blocking(read).await {
            Ok(checked) => checked.map_err(ReloadError::Invalid)?,
            Err(_) => return Err(ReloadError::Stopping),
        };
        let config = checked.config;
        let mappings = match (&self.started.source, &config.source) {
            (Source::Alone(_), Source::Alone(alone)) => {
                // Served is what was bound at the start.
                let listeners = &self.started.listeners;
                source::alone::prepare(&self.node.knowledge, alone, listeners).await?
            }
            (Source::ControlPlane(_), Source::ControlPlane(_)) => None,
            _ => return Err(ReloadError::AnotherKind),
        };
        // The last that can fail.
        self.node.tls.replace(&config.tls)?;
        let mut warnings: Vec<String> = checked.warnings.iter().map(ToString::to_string).collect();
        if let Some(levels) = &origin.levels
            && let Err(invalid) = levels.set(&config.server.log_level)
        {
            warnings.push(format!("server.log_level: {invalid}"));
        }
        self.node
            .backends()
            .set_limits(backend::Limits::from(&config.server));
        self.node
            .machine
            .store(Arc::new(Machine::from(config.server.clone())));
        for door in &self.doors {
            door.follow(&config.listeners);
        }
        if let (Source::Alone(alone), Some(mappings)) = (&config.source, mappings) {
            follow(&self.node.knowledge, alone, mappings);
        }
        self.followers
            .lock()
            .iter()
            .for_each(|Follower(tell)| tell(&config));
        Ok(Reloaded {
            restart_required: restart_required(&self.started, &config),
            warnings,
        })
    }
}

/// Destinations, routing, routes, capabilities and mappings.
fn follow(knowledge: &Knowledge, alone: &Alone, mappings: Prepared) {
    source::alone::adopt(knowledge, alone, mappings);
    knowledge.set_config(alone.fleet.clone());
}

impl Door {
    /// What of a listener's table needs no other socket, and no other first byte.
    fn follow(&self, listeners: &[Listener]) {
        let front = self.front.load_full();
        let Some(now) = listeners.iter().find(|listener| listener.name == *front.name) else {
            return;
        };
        let before = &*front.listener;
        let listener = Listener {
            max_connections: now.max_connections,
            preauth_timeout: now.preauth_timeout,
            max_auth_attempts: now.max_auth_attempts,
            forwarded: now.forwarded,
            proxy_trusted: now.proxy_trusted.clone(),
            ..before.clone()
        };
        self.entry
            .max_connections
            .store(listener.max_connections, Ordering::Relaxed);
        if listener != *before {
            self.front.store(Arc::new(Front {
                listener: Arc::new(listener),
                name: Arc::clone(&front.name),
                speaks: front.speaks,
                node: Arc::clone(&front.node),
            }));
        }
    }
}

/// The keys that differ from those that the process was started with, and that nothing but a restart changes.
fn restart_required(started: &NodeConfig, now: &NodeConfig) -> Vec<String> {
    let mut keys = Differing(Vec::new());
    keys.compare("server.threads", &started.server.threads, &now.server.threads);
    keys.compare("telemetry", &started.telemetry, &now.telemetry);
    keys.compare("metrics", &started.metrics, &now.metrics);
    match (&started.admin, &now.admin) {
        (Some(before), Some(now)) => {
            keys.compare("admin.bind", &before.bind, &now.bind);
            keys.compare("admin.bearer_token", &before.token, &now.token);
        }
        (before, now) => keys.compare("admin", &before.is_some(), &now.is_some()),
    }
    keys.listeners(&started.listeners, &now.listeners);
    match (&started.source, &now.source) {
        (Source::Alone(before), Source::Alone(now)) => {
            let (before, now) = (&before.mapping, &now.mapping);
            keys.compare(
                "mapping.cache_max_entries",
                &before.cache_max_entries,
                &now.cache_max_entries,
            );
            keys.compare("mapping.positive_ttl", &before.positive_ttl, &now.positive_ttl);
            keys.compare("mapping.negative_ttl", &before.negative_ttl, &now.negative_ttl);
        }
        (Source::ControlPlane(before), Source::ControlPlane(now)) => keys.link(before, now),
        // Refused before.
        _ => {}
    }
    keys.0
}

struct Differing(Vec<String>);

impl Differing {
    fn compare<T: PartialEq>(&mut self, key: &str, before: &T, now: &T) {
        if before != now {
            self.0.push(key.to_owned());
        }
    }

    fn listeners(&mut self, started: &[Listener], now: &[Listener]) {
        let named = |all: &[Listener], name: &ListenerName| all.iter().find(|one| one.name == *name).cloned();
        for before in started {
            let name = &before.name;
            let Some(now) = named(now, name) else {
                self.0.push(format!("listener.{name}"));
                continue;
            };
            self.compare(
                &format!("listener.{name}.protocol"),
                &before.protocol,
                &now.protocol,
            );
            self.compare(&format!("listener.{name}.bind"), &before.bind, &now.bind);
            self.compare(&format!("listener.{name}.tls"), &before.tls, &now.tls);
            self.compare(
                &format!("listener.{name}.proxy_protocol"),
                &before.proxy_protocol,
                &now.proxy_protocol,
            );
        }
        let new = now.iter().filter(|one| named(started, &one.name).is_none());
        self.0.extend(new.map(|one| format!("listener.{}", one.name)));
    }

    fn link(&mut self, before: &ControlPlaneLink, now: &ControlPlaneLink) {
        self.compare("control_plane.endpoints", &before.endpoints, &now.endpoints);
        self.compare("control_plane.node", &before.node, &now.node);
        self.compare("control_plane.site", &before.site, &now.site);
        self.compare("control_plane.ca", &before.ca, &now.ca);
        self.compare("control_plane.cert", &before.cert, &now.cert);
        self.compare("control_plane.key", &before.key, &now.key);
        self.compare("control_plane.state_dir", &before.state_dir, &now.state_dir);
    }
}
