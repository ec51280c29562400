//! A control plane's file (design section 5).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Checked;
use crate::finding::Findings;
use crate::secret::StoreUrl;
use crate::table::metrics::Metrics;
use crate::table::telemetry::Telemetry;

/// What a control plane's file says.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlPlaneConfig {
    /// `[server]`.
    pub server: ControlPlaneServer,
    /// `[control_plane]`.
    pub control_plane: ControlPlane,
    /// `[web]`; none: not served.
    pub web: Option<Web>,
    /// `[database]`.
    pub database: Database,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
    /// `[metrics]`; none: not served.
    pub metrics: Option<Metrics>,
}

/// `[server]` of a control plane: the keys of a node's `[server]` that concern any process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneServer {
    /// Worker threads of the runtime; 0: one per processor.
    pub threads: usize,
    /// How long connected nodes and callers have to leave after the stop signal.
    pub shutdown_grace: Duration,
    /// `info`, or a filter such as `info,mailswitch=debug`. `RUST_LOG` replaces it.
    pub log_level: String,
}

impl Default for ControlPlaneServer {
    fn default() -> Self {
        Self {
            threads: 0,
            shutdown_grace: Duration::from_secs(30),
            log_level: "info".to_owned(),
        }
    }
}

/// `[control_plane]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlane {
    /// gRPC for nodes and `mailswitchctl`.
    pub bind: SocketAddr,
    /// How nodes and other replicas reach this one: `https://HOST:PORT`.
    pub advertise: String,
    /// Holds the private PostgreSQL and the replica's memory (promise D2).
    pub state_dir: PathBuf,
    /// Of the fleet's authority.
    pub ca: PathBuf,
    /// The replica's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// `[web]`: management API and console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// One socket.
    pub bind: SocketAddr,
}

/// `[database]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// No `url`: the private PostgreSQL of design section 3, in the state directory.
    Private,
    /// `url`: `postgres://` or `postgresql://`.
    External(StoreUrl),
}

impl ControlPlaneConfig {
    /// Reads and checks a control plane's file, and the files that it names.
    ///
    /// # Errors
    /// With everything that is wrong, and the warnings between.
    pub fn load(path: &Path) -> Result<Checked<Self>, Findings> {
        Err(crate::node::unread(path))
    }
}
