//! A node's file: the machine's own tables, and either everything else (alone) or the way to a control plane.

use std::path::Path;

use crate::Checked;
use mailswitch_proto::identifier::Normalization;

use crate::file;
use crate::finding::{Findings, Severity};
use crate::fleet::{self, FleetConfig};
use crate::protocol::choices;
use crate::read::{Document, Files, Place, Report, TableReader, value};
use crate::rule::{self, Facts, Served};
use crate::table::admin::Admin;
use crate::table::link::ControlPlaneLink;
use crate::table::listener::Listener;
use crate::table::mapping::{Mapping, MappingSource, MappingStore, Normalize};
use crate::table::metrics::Metrics;
use crate::table::server::Server;
use crate::table::telemetry::Telemetry;
use crate::table::tls::Tls;

/// What a node's file says.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// `[server]`.
    pub server: Server,
    /// `[tls]`.
    pub tls: Tls,
    /// `[listener.*]`, in the order of their names. Empty only with `[admin]`.
    pub listeners: Vec<Listener>,
    /// `[admin]`.
    pub admin: Option<Admin>,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
    /// `[metrics]`; none: not served.
    pub metrics: Option<Metrics>,
    /// `mapping.source`.
    pub source: Source,
}

/// Where a node has its routing from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// `file`, `redis` or `sql`: everything stands in this file.
    Alone(Box<Alone>),
    /// `control-plane`.
    ControlPlane(ControlPlaneLink),
}

/// What only the file of a node that runs alone holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alone {
    /// The tables that a fleet's control plane would hold. `[cutover]` has its defaults.
    pub fleet: FleetConfig,
    /// `[mapping]`.
    pub mapping: Mapping,
}

/// What the environment says beside the file (configuration section 1).
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `PROXY_ADMIN_TOKEN`.
    pub admin_token: Option<String>,
}

impl Environment {
    /// Of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            admin_token: std::env::var("PROXY_ADMIN_TOKEN")
                .ok()
                .filter(|token| !token.is_empty()),
        }
    }
}

impl NodeConfig {
    /// Reads and checks a node's file, and the files that it names.
    ///
    /// # Errors
    /// With everything that is wrong, and the warnings between.
    pub fn load(path: &Path, environment: &Environment) -> Result<Checked<Self>, Findings> {
        let text = file::read(path)?;
        Self::parse(&text, &path.display().to_string(), environment)
    }

    /// As `load`, of a text. `file` is its name in messages.
    ///
    /// # Errors
    /// As `load`.
    pub fn parse(toml: &str, file: &str, environment: &Environment) -> Result<Checked<Self>, Findings> {
        Self::parse_with(toml, file, environment, Files::Here)
    }

    /// Checks the text of another machine's file: what it names stands there, and is not read. Without `[admin]`, whose
    /// token may stand there too.
    ///
    /// # Errors
    /// As `load`.
    pub fn parse_of_another_machine(toml: &str, file: &str) -> Result<Checked<Self>, Findings> {
        Self::parse_with(toml, file, &Environment::default(), Files::Elsewhere)
    }

    fn parse_with(
        toml: &str,
        file: &str,
        environment: &Environment,
        files: Files,
    ) -> Result<Checked<Self>, Findings> {
        let (document, syntax) = Document::parse(toml, file);
        let report = Report::new(&document, Severity::Warning, files);
        let config = read(&report, environment);
        file::conclude(config, report.into_findings(syntax))
    }
}

pub(crate) fn read(report: &Report<'_>, environment: &Environment) -> Option<NodeConfig> {
    let mut root = TableReader::root(report);
    let server = Server::read(root.table("server"));
    let tls = Tls::read(root.table("tls"));
    let listeners: Vec<Listener> = root
        .named_tables("listener")
        .into_iter()
        .filter_map(|(name, table)| Listener::read(name.into(), table))
        .collect();
    let has_admin = root.has("admin");
    let admin = Admin::read(root.table("admin"), environment.admin_token.as_deref());
    let telemetry = Telemetry::read(root.table("telemetry"));
    let metrics = Metrics::read(root.table("metrics"), Metrics::NODE);
    let source = read_source(&mut root, &listeners);
    root.finish();

    if listeners.is_empty() && !has_admin && !report.has_errors_under(&Place::of(["listener"])) {
        report.missing(
            &Place::of(["listener"]),
            "this node would listen to nobody",
            "add [listener.NAME] with protocol, bind and tls, or [admin]",
        );
    }
    let others = [
        admin
            .as_ref()
            .map(|admin| (Place::of(["admin", "bind"]), "the management API", admin.bind)),
        metrics.map(|metrics| (Place::of(["metrics", "bind"]), "[metrics]", metrics.bind)),
    ];
    rule::listener::check(
        report,
        &rule::listener::Sockets {
            listeners: &listeners,
            others: others.into_iter().flatten().collect(),
        },
    );
    rule::certificate::check(report, &tls, &listeners, has_admin);
    Some(NodeConfig {
        server,
        tls,
        listeners,
        admin,
        telemetry,
        metrics,
        source: source?,
    })
}

/// `mapping.source` decides which tables mean something.
fn read_source(root: &mut TableReader<'_, '_>, listeners: &[Listener]) -> Option<Source> {
    let mut mapping = root.table("mapping");
    let source = mapping.require(
        "source",
        &format!("write {}", choices::<MappingSource>()),
        value::keyword,
    );
    match source {
        Some(MappingSource::ControlPlane) => {
            refuse_tables_of_the_fleet(root, &mut mapping);
            mapping.finish();
            if !root.has("control_plane") {
                root.report.missing(
                    &root.at("control_plane"),
                    "the source is \"control-plane\", and there is no [control_plane]",
                    "add [control_plane] with endpoints, node, ca, cert, key and state_dir",
                );
                return None;
            }
            ControlPlaneLink::read(root.table("control_plane")).map(Source::ControlPlane)
        }
        source => {
            let alone = read_alone(root, mapping, source, listeners);
            warn_of_fleet_keys(root);
            alone.map(|alone| Source::Alone(Box::new(alone)))
        }
    }
}

/// `source` is none when it cannot be read: the other tables are checked all the same.
fn read_alone(
    root: &mut TableReader<'_, '_>,
    mut table: TableReader<'_, '_>,
    source: Option<MappingSource>,
    listeners: &[Listener],
) -> Option<Alone> {
    let report = root.report;
    let normalize = table.keyword("normalize", Normalize::None);
    // Without a source, its keys are read as those of any.
    let mapping = Mapping::read(&mut table, source.unwrap_or(MappingSource::ControlPlane));
    table.finish();
    let mut fleet = fleet::read_tables(root);
    fleet.normalization = match normalize {
        Normalize::None => Normalization::AsPresented,
        Normalize::Lowercase => Normalization::Lowercase,
    };
    let served: Vec<Served> = listeners.iter().map(Served::from).collect();
    let file = match &mapping {
        Some(Mapping {
            store: MappingStore::File { path },
            ..
        }) if report.files == Files::Here => {
            rule::mapping::read(report, &fleet, path).map(|file| (path, file))
        }
        _ => None,
    };
    let entries = file.iter().flat_map(|(_, file)| &file.entries);
    let facts = Facts {
        report,
        fleet: &fleet,
        listeners: &served,
        mapped: entries.map(|entry| entry.destination.as_str()).collect(),
    };
    facts.check();
    if let Some((path, file)) = &file {
        rule::mapping::check(&facts, path, file);
    }
    Some(Alone {
        fleet,
        mapping: mapping?,
    })
}

/// Design section 5: what the control plane holds does not stand in a node's file as well.
fn refuse_tables_of_the_fleet(root: &mut TableReader<'_, '_>, mapping: &mut TableReader<'_, '_>) {
    let remedy = "move it to the fleet's file, and apply that: mailswitchctl apply -f fleet.toml";
    for key in ["routing", "destination"] {
        if root.has(key) {
            root.report.error(
                &root.at(key),
                "with source = \"control-plane\" this table belongs to the fleet",
                remedy,
            );
        }
    }
    for key in ["http", "capabilities", "oauth", "cutover", "site"] {
        if root.has(key) {
            root.report.warning(
                &root.at(key),
                "with source = \"control-plane\" this table belongs to the fleet, and has no effect here",
                remedy,
            );
        }
    }
    if mapping.has("normalize") {
        mapping.report.warning(
            &mapping.at("normalize"),
            "a fleet compares logins in one form of its own, so this has no effect",
            "remove it",
        );
    }
    for key in [
        "positive_ttl",
        "negative_ttl",
        "cache_max_entries",
        "lookup_timeout",
        "file",
        "redis",
        "sql",
    ] {
        if mapping.has(key) {
            mapping.report.warning(
                &mapping.at(key),
                "with source = \"control-plane\" the node holds all mappings in memory, so this has no effect",
                "remove it",
            );
        }
    }
}

fn warn_of_fleet_keys(root: &mut TableReader<'_, '_>) {
    for key in ["control_plane", "cutover", "site"] {
        if root.has(key) {
            root.report.warning(
                &root.at(key),
                "this node runs alone, so this table has no effect",
                "remove it, or write source = \"control-plane\" in [mapping]",
            );
        }
    }
    for key in ["bare_domain", "unknown"] {
        let place = Place::of(["routing", key]);
        if root.report.document.find(&place).is_some() {
            root.report.warning(
                &place,
                "this node runs alone, so this key has no effect",
                "remove it: only a fleet knows accounts",
            );
        }
    }
}
