//! Reading a fleet's file: as every site would see it, so that what one site alone gets wrong is found as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{FleetConfig, FleetFile, ReportedListener, read_tables};
use crate::Checked;
use crate::finding::{Finding, Findings, Severity};
use crate::name::SiteName;
use crate::read::{Document, Files, Noted, Place, Report, TableReader, value};
use crate::resource;
use crate::rule::{Facts, Served, listed};
use crate::table::cutover::Cutover;
use crate::table::mapping::Normalize;

impl FleetFile {
    /// Reads and checks a fleet's file.
    ///
    /// # Errors
    /// As `parse`, or when it cannot be read.
    pub fn load(path: &Path, listeners: &[ReportedListener]) -> Result<Checked<Self>, Findings> {
        let text = crate::file::read(path)?;
        Self::parse(&text, &path.display().to_string(), listeners)
    }

    /// Checks the text of a fleet's file. `file` is its name in messages; `listeners` are those that the nodes of
    /// the fleet reported, for the rules that need both sides.
    ///
    /// # Errors
    /// With everything that is wrong, and the warnings between.
    pub fn parse(toml: &str, file: &str, listeners: &[ReportedListener]) -> Result<Checked<Self>, Findings> {
        let (document, mut findings) = Document::parse(toml, file);
        let served: Vec<Served> = listeners.iter().map(Served::from).collect();
        let report = Report::new(&document, Severity::Error, Files::Elsewhere);
        let config = read_fleet(&report, &served);
        let base: Vec<Finding> = report
            .into_noted()
            .into_iter()
            .map(|noted| noted.finding)
            .collect();
        let mut sites = BTreeMap::new();
        for site in site_names(&document) {
            let Some(seen) = as_seen_by(&document, site) else {
                continue;
            };
            let report = Report::new(&seen, Severity::Error, Files::Elsewhere);
            let config = read_fleet(&report, &served);
            findings.extend(only_of_site(&document, site, report.into_noted(), &base));
            sites.insert(SiteName::from(site), config);
        }
        findings.extend(base);
        let file = Self {
            resources: resource::split(&document),
            config,
            sites,
        };
        crate::file::conclude(Some(file), Findings::from(findings))
    }
}

/// Every table of a fleet's file. Overrides of sites are only looked at for what they name.
pub(crate) fn read_fleet(report: &Report<'_>, served: &[Served]) -> FleetConfig {
    let mut root = TableReader::root(report);
    let mut config = read_tables(&mut root);
    config.cutover = Cutover::read(root.table("cutover"));
    read_mapping(root.table("mapping"));
    read_sites(&mut root);
    refuse_tables_of_a_node(&mut root);
    root.finish();
    let facts = Facts {
        report,
        fleet: &config,
        listeners: served,
        mapped: BTreeSet::new(),
    };
    facts.check();
    config
}

pub(super) fn read_mapping(mut table: TableReader<'_, '_>) {
    let normalize = table.get("normalize", value::keyword::<Normalize>);
    if normalize == Some(Normalize::None) {
        table.report.warning(
            &table.at("normalize"),
            "a fleet compares logins in lower case in any case, so this has no effect",
            "remove it, or write \"lowercase\"",
        );
    }
    for key in MAPPING_KEYS_OF_A_NODE {
        if table.has(key) {
            table.report.error(
                &table.at(key),
                "mappings of a fleet are held by its control plane",
                "remove it, and import the mappings: mailswitchctl mapping import",
            );
        }
    }
    table.finish();
}

const MAPPING_KEYS_OF_A_NODE: [&str; 8] = [
    "source",
    "file",
    "redis",
    "sql",
    "positive_ttl",
    "negative_ttl",
    "cache_max_entries",
    "lookup_timeout",
];

fn read_sites(root: &mut TableReader<'_, '_>) {
    let document = root.report.document;
    for (_, mut site) in root.named_tables("site") {
        let declared = crate::rule::declared(document);
        for (name, destination) in site.named_tables("destination") {
            if !declared.contains(&name.as_str()) {
                destination.report.error(
                    &destination.place,
                    format!(
                        "there is no destination \"{name}\" for the whole fleet, which this would change"
                    ),
                    format!(
                        "add {}, or name a declared one: {}",
                        Place::of(["destination", name.as_str()]),
                        listed(&declared)
                    ),
                );
            }
        }
        site.finish();
    }
}

fn refuse_tables_of_a_node(root: &mut TableReader<'_, '_>) {
    for key in [
        "server",
        "tls",
        "listener",
        "admin",
        "control_plane",
        "telemetry",
        "metrics",
        "web",
        "database",
    ] {
        if root.has(key) {
            root.report.error(
                &root.at(key),
                "this table belongs to a program, not to the fleet",
                "move it to the program's own file",
            );
        }
    }
}

fn site_names(document: &Document) -> Vec<&str> {
    document
        .find(&Place::of(["site"]))
        .and_then(|node| node.entries())
        .map(|sites| sites.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// The document with a site's destinations laid over those of the fleet.
fn as_seen_by(document: &Document, site: &str) -> Option<Document> {
    let over = document.find(&Place::of(["site", site, "destination"]))?;
    let mut seen = document.clone();
    seen.overlay_table("destination", over);
    Some(seen)
}

/// What is wrong at a site and nowhere else, named by the key that the operator wrote.
fn only_of_site(document: &Document, site: &str, noted: Vec<Noted>, base: &[Finding]) -> Vec<Finding> {
    noted
        .into_iter()
        .filter(|noted| !base.contains(&noted.finding))
        .map(|Noted { place, mut finding }| {
            let written = Place::of(["site", site]).join(&place);
            if document.find(&written).is_some() {
                finding.key = written.to_string();
            } else {
                finding.message = format!("at site {site}: {}", finding.message);
            }
            finding
        })
        .collect()
}
