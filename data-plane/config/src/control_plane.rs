//! A control plane's file (design section 5).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Checked;
use crate::file;
use crate::finding::{Findings, Severity};
use crate::read::{Document, Files, Place, Report, TableReader, url, value};
use crate::rule;
use crate::secret::StoreUrl;
use crate::table::link::Identity;
use crate::table::metrics::Metrics;
use crate::table::server::{MAX_THREADS, log_level};
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
        let text = file::read(path)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// As `load`, of a text. `file` is its name in messages.
    ///
    /// # Errors
    /// As `load`.
    pub fn parse(toml: &str, file: &str) -> Result<Checked<Self>, Findings> {
        let (document, syntax) = Document::parse(toml, file);
        let report = Report::new(&document, Severity::Warning, Files::Here);
        let config = read(&report);
        file::conclude(config, report.into_findings(syntax))
    }
}

pub(crate) fn read(report: &Report<'_>) -> Option<ControlPlaneConfig> {
    let mut root = TableReader::root(report);
    let server = ControlPlaneServer::read(root.table("server"));
    let control_plane = ControlPlane::read(root.table("control_plane"));
    let web = Web::read(root.table("web"));
    let database = Database::read(root.table("database"));
    let telemetry = Telemetry::read(root.table("telemetry"));
    let metrics = Metrics::read(root.table("metrics"), Metrics::CONTROL_PLANE);
    root.finish();
    let control_plane = control_plane?;
    let others = [
        Some((
            Place::of(["control_plane", "bind"]),
            "[control_plane]",
            control_plane.bind,
        )),
        web.as_ref()
            .map(|web| (Place::of(["web", "bind"]), "[web]", web.bind)),
        metrics.map(|metrics| (Place::of(["metrics", "bind"]), "[metrics]", metrics.bind)),
    ];
    rule::listener::check(
        report,
        &rule::listener::Sockets {
            listeners: &[],
            others: others.into_iter().flatten().collect(),
        },
    );
    Some(ControlPlaneConfig {
        server,
        control_plane,
        web,
        database,
        telemetry,
        metrics,
    })
}

impl ControlPlaneServer {
    fn read(mut table: TableReader<'_, '_>) -> Self {
        let absent = Self::default();
        let server = Self {
            threads: table.number("threads", absent.threads, 0, MAX_THREADS),
            shutdown_grace: table.duration("shutdown_grace", absent.shutdown_grace),
            log_level: log_level(&mut table).unwrap_or(absent.log_level),
        };
        table.finish();
        server
    }
}

impl ControlPlane {
    fn read(mut table: TableReader<'_, '_>) -> Option<Self> {
        let bind = table.require(
            "bind",
            "write one address with a port: \"0.0.0.0:7443\"",
            |node| value::parsed(node, "address with a port", "0.0.0.0:7443"),
        );
        let advertise = table.require(
            "advertise",
            "write the address that nodes reach this program at: \"https://cp1.example.org:7443\"",
            |node| url::http(node, &["https"], "https://cp1.example.org:7443"),
        );
        let state_dir = table.require(
            "state_dir",
            "name a directory of the program's own, such as \"/var/lib/mailswitch/control-plane\"",
            value::filled,
        );
        let identity = Identity::read(&mut table);
        table.finish();
        let identity = identity?;
        Some(Self {
            bind: bind?,
            advertise: advertise?,
            state_dir: state_dir?.into(),
            ca: identity.ca,
            cert: identity.cert,
            key: identity.key,
        })
    }
}

impl Web {
    fn read(mut table: TableReader<'_, '_>) -> Option<Self> {
        if !table.is_present() {
            return None;
        }
        let bind = table.require(
            "bind",
            "write one address with a port: \"0.0.0.0:7444\"",
            |node| value::parsed(node, "address with a port", "0.0.0.0:7444"),
        );
        table.finish();
        Some(Self { bind: bind? })
    }
}

impl Database {
    fn read(mut table: TableReader<'_, '_>) -> Self {
        let url = table.get("url", |node| url::store(node, &["postgres", "postgresql"]));
        table.finish();
        url.map_or(Self::Private, Self::External)
    }
}
