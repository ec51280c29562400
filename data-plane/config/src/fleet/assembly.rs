//! A node's configuration, made of the fleet's resources (design section 4: what cannot be used is named, the rest
//! stands).

use std::collections::{BTreeMap, BTreeSet};

use super::{Files, FleetConfig, ReportedListener, read_tables};
use crate::finding::{Finding, Findings, Severity};
use crate::name::SiteName;
use crate::read::{Document, Node, Place, Report, TableReader};
use crate::resource::{Resource, ResourceKey, is_named};
use crate::rule::{Facts, Served};
use crate::table::capabilities::Capabilities;
use crate::table::cutover::Cutover;
use crate::table::http::Http;
use crate::table::oauth::Oauth;
use crate::table::routing::Routing;

/// A configuration, and the resources that are not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembly {
    /// Of the resources that can be used. A destination that cannot is absent: what would go there gets the
    /// temporary failure.
    pub config: FleetConfig,
    /// Those that cannot, in the order of their keys.
    pub rejected: Vec<Rejected>,
    /// What is odd about the others: an unknown key of a newer control plane, for one.
    pub warnings: Findings,
}

/// A resource that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Which one.
    pub key: ResourceKey,
    /// Why.
    pub findings: Findings,
}

impl FleetConfig {
    /// Makes a site's configuration of the fleet's resources. Resources that cannot be used are named in
    /// `rejected` and left out; the others stand. (A node that has a good older version of a rejected resource
    /// calls this again with that one in its place.) `files` says whether client certificates stand on this machine.
    #[must_use]
    pub fn from_resources<'a>(
        resources: impl IntoIterator<Item = &'a Resource>,
        site: &SiteName,
        files: Files,
    ) -> Assembly {
        let gathered = Gathered::of(resources, site);
        let document = Document::of_root(FILE, gathered.root);
        let report = Report::new(&document, Severity::Warning, files);
        let mut root = TableReader::root(&report);
        let mut config = read_tables(&mut root);
        config.cutover = Cutover::read(root.table("cutover"));
        super::file::read_mapping(root.table("mapping"));
        root.finish();

        let mut rejected = gathered.rejected;
        let mut warnings = Vec::new();
        for noted in report.into_noted() {
            // An empty fleet has no default destination yet: nothing to reject.
            let owner = owner_of(&noted.place, &gathered.of_site);
            match noted.finding.severity {
                Severity::Error if gathered.present.contains(&owner) => {
                    rejected.entry(owner).or_default().push(noted.finding);
                }
                Severity::Error => {}
                Severity::Warning => warnings.push(noted.finding),
            }
        }
        for key in rejected.keys() {
            leave_out(&mut config, key);
        }
        Assembly {
            config,
            rejected: rejected
                .into_iter()
                .map(|(key, findings)| Rejected {
                    key,
                    findings: Findings::from(findings),
                })
                .collect(),
            warnings: Findings::from(warnings),
        }
    }
}

impl FleetConfig {
    /// What of the fleet's resources, as a site sees them, does not fit these listeners (the rules that need both sides). A
    /// node asks it of its own: the control plane checks what is applied against the nodes that it knows then, and a node
    /// may join later, or come back with other listeners.
    #[must_use]
    pub fn misfits<'a>(
        resources: impl IntoIterator<Item = &'a Resource>,
        site: &SiteName,
        listeners: &[ReportedListener],
    ) -> Findings {
        let gathered = Gathered::of(resources, site);
        let document = Document::of_root(FILE, gathered.root);
        let said = |served: &[Served]| {
            let report = Report::new(&document, Severity::Warning, Files::Elsewhere);
            let fleet = read_tables(&mut TableReader::root(&report));
            let facts = Facts {
                report: &report,
                fleet: &fleet,
                listeners: served,
                mapped: BTreeSet::new(),
            };
            facts.check();
            let noted = report.into_noted().into_iter();
            noted.map(|noted| noted.finding).collect::<Vec<_>>()
        };
        let served: Vec<Served> = listeners.iter().map(Served::from).collect();
        let in_any_case = said(&[]);
        let mut misfits = said(&served);
        misfits.retain(|finding| !in_any_case.contains(finding));
        Findings::from(misfits)
    }
}

/// What findings about resources name as their file.
const FILE: &str = "fleet";

/// Resources put together to one document.
struct Gathered {
    root: BTreeMap<String, Node>,
    present: Vec<ResourceKey>,
    /// What the site changes: to tell whose fault something is.
    of_site: BTreeMap<String, (ResourceKey, Node)>,
    rejected: BTreeMap<ResourceKey, Vec<Finding>>,
}

impl Gathered {
    fn of<'a>(resources: impl IntoIterator<Item = &'a Resource>, site: &SiteName) -> Self {
        let mut gathered = Self {
            root: BTreeMap::new(),
            present: Vec::new(),
            of_site: BTreeMap::new(),
            rejected: BTreeMap::new(),
        };
        for resource in resources {
            let everywhere = resource.key.site.is_empty();
            if !everywhere && resource.key.site != site.as_str() {
                continue;
            }
            match resource.table() {
                Err(why) => gathered.reject(&resource.key, why),
                Ok(table) if everywhere => gathered.insert(&resource.key, table),
                Ok(table) => {
                    let at_site = (resource.key.clone(), table);
                    gathered.of_site.insert(resource.key.name.clone(), at_site);
                }
            }
        }
        gathered.lay_over();
        gathered
    }

    fn insert(&mut self, key: &ResourceKey, table: Node) {
        self.present.push(key.clone());
        if is_named(&key.kind) {
            let tables = self
                .root
                .entry(key.kind.clone())
                .or_insert_with(Node::empty_table);
            tables.insert(&key.name, table);
        } else {
            self.root.insert(key.kind.clone(), table);
        }
    }

    fn lay_over(&mut self) {
        for (name, (key, table)) in self.of_site.clone() {
            let place = [ResourceKey::new("destination", &name)];
            if !self.present.contains(&place[0]) {
                self.reject(
                    &key,
                    "there is no destination of this name for the whole fleet".to_owned(),
                );
                continue;
            }
            self.present.push(key);
            let mut over = Node::empty_table();
            over.insert(&name, table);
            if let Some(destinations) = self.root.get_mut("destination") {
                destinations.overlay(&over);
            }
        }
    }

    fn reject(&mut self, key: &ResourceKey, why: String) {
        let finding = Finding {
            severity: Severity::Error,
            file: FILE.to_owned(),
            line: None,
            key: key.to_string(),
            value: None,
            message: why,
            remedy: "apply it anew: mailswitchctl apply -f fleet.toml".to_owned(),
        };
        self.rejected.entry(key.clone()).or_default().push(finding);
    }
}

/// Whose table a place belongs to.
fn owner_of(place: &Place, of_site: &BTreeMap<String, (ResourceKey, Node)>) -> ResourceKey {
    let kind = place.key_at(0).unwrap_or_default();
    if !is_named(kind) {
        return ResourceKey::new(kind, "");
    }
    let name = place.key_at(1).unwrap_or_default();
    match of_site.get(name) {
        Some((key, table)) if kind == "destination" && table.has_below(place, 2) => key.clone(),
        _ => ResourceKey::new(kind, name),
    }
}

/// The defaults, or nothing, in the place of what cannot be used.
fn leave_out(config: &mut FleetConfig, key: &ResourceKey) {
    let absent = Capabilities::default();
    match (key.kind.as_str(), key.name.as_str()) {
        ("destination", name) => {
            config.destinations.remove(name);
        }
        ("routing", _) => config.routing = Routing::default(),
        ("http", _) => config.http = Http::default(),
        ("oauth", _) => config.oauth = Oauth::default(),
        ("cutover", _) => config.cutover = Cutover::default(),
        ("capabilities", "imap") => config.capabilities.imap = absent.imap,
        ("capabilities", "pop3") => config.capabilities.pop3 = absent.pop3,
        ("capabilities", "submission") => config.capabilities.submission = absent.submission,
        ("capabilities", "managesieve") => config.capabilities.managesieve = absent.managesieve,
        _ => {}
    }
}
