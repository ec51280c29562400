//! A single proxy's TOML file, cut in two: what belongs to the machine, and what belongs to the fleet (design section 5).
//! Tables move whole, with their comments; keys that mean nothing in a fleet are named and left behind.
//!
//! Both halves are read by the validator that their programs use, before anybody sees them.

mod unknown;

use mailswitch_config::fleet::ReportedListener;
use mailswitch_config::{Finding, Findings, NodeConfig, Severity, Source};
use serde::Serialize;
use toml_edit::{Decor, Document, DocumentMut, Item, Table, TableLike, value};

use self::unknown::without_unknown_keys;
use crate::exit::Failure;

/// The tables of a fleet, in the order in which they are shown.
const FLEET: [&str; 7] = [
    "routing",
    "destination",
    "http",
    "capabilities",
    "oauth",
    "cutover",
    "site",
];
/// Keys of `[mapping]` that mean something only to a node that runs alone, and why.
const LEFT_BEHIND: [(&str, &str); 8] = [
    ("normalize", "a fleet has one form of identifiers, in lower case"),
    ("file", "the fleet's mappings are kept by the control plane"),
    ("redis", "the fleet's mappings are kept by the control plane"),
    ("sql", "the fleet's mappings are kept by the control plane"),
    (
        "positive_ttl",
        "a node of a fleet has no cache: it holds every mapping",
    ),
    (
        "negative_ttl",
        "a node of a fleet has no cache: it holds every mapping",
    ),
    (
        "cache_max_entries",
        "a node of a fleet has no cache: it holds every mapping",
    ),
    ("lookup_timeout", "a node of a fleet asks nobody"),
];

/// What the node's `[control_plane]` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Each `https://HOST:PORT`.
    pub endpoints: Vec<String>,
    /// The name in its certificate.
    pub node: String,
    /// Where it stands; none: nowhere in particular.
    pub site: Option<String>,
    /// Holds `ca.pem`, `node-NAME.pem` and `node-NAME.key` on the node.
    pub pki: String,
    /// The node's own directory.
    pub state_dir: String,
}

/// Where a part of the file goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `[routing]`, `mapping.source`.
    pub what: String,
    /// Where it stands; none: it is new.
    pub line: Option<usize>,
    /// `node`, `fleet`; none: nowhere.
    pub to: Option<&'static str>,
    /// What is to be said of it.
    pub note: String,
}

/// Both halves.
#[derive(Debug)]
pub struct Split {
    /// As the node that runs alone reads it.
    pub before: NodeConfig,
    /// What is said of the file as it is.
    pub warnings: Findings,
    /// The node's file.
    pub node: String,
    /// The fleet's file.
    pub fleet: String,
    /// Where everything went, in the order of the file.
    pub parts: Vec<Part>,
}

/// Cuts a file. `bare_domain` is written into the fleet's `[routing]`.
///
/// # Errors
/// It is no file of a node that runs alone, or cannot be used.
pub fn split(text: &str, file: &str, link: &Link, bare_domain: Option<&str>) -> Result<Split, Failure> {
    let checked =
        NodeConfig::parse_of_another_machine(text, file).map_err(|findings| unusable(file, &findings))?;
    if let Source::ControlPlane(_) = checked.config.source {
        return Err(Failure::usage(format!("{file} is the file of a node in a fleet already"))
            .remedy("import takes the file of a proxy that runs alone: mapping.source \"file\", \"redis\" or \"sql\""));
    }
    let original = Document::parse(text).map_err(|error| Failure::usage(format!("{file}: {error}")))?;
    let lines = Lines(text);
    let mut parts = parts_of(original.as_table(), &lines);
    let node = node_file(original.clone().into_mut(), link, file, &mut parts);
    let mut fleet = fleet_tables(original.into_mut());
    if let Some(domain) = bare_domain {
        set_bare_domain(&mut fleet, domain, &mut parts);
    }
    let fleet = without_unknown_keys(fleet, file, &listeners(&checked.config, link), &mut parts)?;
    let node_name = format!("the node's half of {file}");
    NodeConfig::parse_of_another_machine(&node, &node_name)
        .map_err(|findings| unusable(&node_name, &findings))?;
    Ok(Split {
        before: checked.config,
        warnings: checked.warnings,
        node,
        fleet,
        parts,
    })
}

/// As `apply` takes findings: on stderr, all of them.
fn unusable(file: &str, findings: &Findings) -> Failure {
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    let mut failure = Failure::usage(format!("{file} cannot be used; nothing was imported"))
        .remedy("correct it; `mailswitchctl check` says more");
    failure.findings = errors.map(to_proto).collect();
    failure
}

fn to_proto(finding: &Finding) -> mailswitch_proto::control::v1::Finding {
    mailswitch_proto::control::v1::Finding {
        severity: finding.severity.to_string(),
        file: finding.file.clone(),
        line: finding.line.unwrap_or_default(),
        key: finding.key.clone(),
        value: finding.value.clone().unwrap_or_default(),
        message: finding.message.clone(),
        remedy: finding.remedy.clone(),
        row: 0,
    }
}

/// Each top-level table, in the order of the file.
fn parts_of(root: &Table, lines: &Lines<'_>) -> Vec<Part> {
    let mut parts: Vec<Part> = root
        .iter()
        .filter(|(name, _)| *name != "mapping")
        .map(|(name, item)| Part {
            what: shown(name, item),
            line: line_of(root, name, item, lines),
            to: Some(if FLEET.contains(&name) { "fleet" } else { "node" }),
            note: String::new(),
        })
        .collect();
    if let Some(mapping) = root.get("mapping").and_then(Item::as_table_like) {
        let line = |key: &str| {
            let span = mapping.key(key).and_then(toml_edit::Key::span);
            span.map(|span| lines.line(span.start))
        };
        parts.extend(mapping.iter().map(|(key, _)| {
            let reason = LEFT_BEHIND
                .iter()
                .find(|(known, _)| *known == key)
                .map(|(_, why)| *why);
            let unknown = "this key is unknown, and had no effect";
            Part {
                what: format!("mapping.{key}"),
                line: line(key),
                to: (key == "source").then_some("node"),
                note: match key {
                    "source" => "now \"control-plane\"".to_owned(),
                    _ => reason.unwrap_or(unknown).to_owned(),
                },
            }
        }));
    }
    parts.sort_by_key(|part| part.line);
    parts
}

/// `[destination] legacy, new` or `[routing]`.
fn shown(name: &str, item: &Item) -> String {
    let names = |item: &Item| -> String {
        let names: Vec<String> = item
            .as_table_like()
            .into_iter()
            .flat_map(TableLike::iter)
            .map(|(name, _)| name.to_owned())
            .collect();
        names.join(", ")
    };
    match name {
        "destination" | "listener" | "capabilities" | "site" => format!("[{name}] {}", names(item)),
        "http" => match item.get("route").and_then(Item::as_array_of_tables) {
            Some(routes) if routes.len() == 1 => "[http] with 1 route".to_owned(),
            Some(routes) => format!("[http] with {} routes", routes.len()),
            None => "[http]".to_owned(),
        },
        _ if item.as_table_like().is_some() => format!("[{name}]"),
        _ => name.to_owned(),
    }
}

/// Of the first header or key that made it.
fn line_of(root: &Table, name: &str, item: &Item, lines: &Lines<'_>) -> Option<usize> {
    let own = root.key(name).and_then(toml_edit::Key::span);
    let span = own.or_else(|| item.span());
    span.map(|span| lines.line(span.start))
}

struct Lines<'t>(&'t str);

impl Lines<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.0.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }
}

fn node_file(mut document: DocumentMut, link: &Link, file: &str, parts: &mut Vec<Part>) -> String {
    for table in FLEET {
        document.remove(table);
    }
    if let Some(mapping) = document.get_mut("mapping").and_then(Item::as_table_like_mut) {
        let keys: Vec<String> = mapping.iter().map(|(key, _)| key.to_owned()).collect();
        for key in keys.iter().filter(|key| *key != "source") {
            mapping.remove(key);
        }
        if let Some(source) = mapping.get_mut("source").and_then(Item::as_value_mut) {
            let decor = source.decor().clone();
            *source = "control-plane".into();
            *source.decor_mut() = decor;
        }
    }
    if document.contains_key("control_plane") {
        for part in parts.iter_mut().filter(|part| part.what == "[control_plane]") {
            part.note = "kept as it is: it has an effect now".to_owned();
        }
    } else {
        document.insert("control_plane", Item::Table(control_plane(link)));
        parts.push(Part {
            what: "[control_plane]".to_owned(),
            line: None,
            to: Some("node"),
            note: format!("new: node \"{}\" at {}", link.node, link.endpoints.join(", ")),
        });
    }
    with_head(
        &document,
        &format!("# The node's half of {file}: what belongs to this machine.\n"),
    )
}

fn control_plane(link: &Link) -> Table {
    let mut table = Table::new();
    *table.decor_mut() = Decor::new("\n", "");
    let endpoints: toml_edit::Array = link.endpoints.iter().map(String::as_str).collect();
    table.insert("endpoints", value(endpoints));
    table.insert("node", value(&link.node));
    if let Some(site) = &link.site {
        table.insert("site", value(site));
    }
    table.insert("ca", value(format!("{}/ca.pem", link.pki)));
    table.insert("cert", value(format!("{}/node-{}.pem", link.pki, link.node)));
    table.insert("key", value(format!("{}/node-{}.key", link.pki, link.node)));
    table.insert("state_dir", value(&link.state_dir));
    table
}

fn fleet_tables(mut document: DocumentMut) -> DocumentMut {
    document.set_trailing("");
    document.retain(|name, _| FLEET.contains(&name));
    document
}

fn set_bare_domain(fleet: &mut DocumentMut, domain: &str, parts: &mut Vec<Part>) {
    if let Some(routing) = fleet.get_mut("routing").and_then(Item::as_table_like_mut) {
        routing.insert("bare_domain", value(domain));
        parts.push(Part {
            what: "routing.bare_domain".to_owned(),
            line: None,
            to: Some("fleet"),
            note: format!("new: alice is alice@{domain}"),
        });
    }
}

fn with_head(document: &DocumentMut, head: &str) -> String {
    let body = document.to_string();
    format!("{head}\n{}", body.trim_start_matches('\n'))
}

fn listeners(config: &NodeConfig, link: &Link) -> Vec<ReportedListener> {
    config
        .listeners
        .iter()
        .map(|listener| ReportedListener {
            node: link.node.clone(),
            name: listener.name.clone(),
            protocol: listener.protocol,
            tls: listener.tls,
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use mailswitch_config::FleetConfig;

    use mailswitch_config::FleetFile;

    use super::*;

    const EXAMPLES: [&str; 3] = [
        include_str!("../../../data-plane/config/tests/examples/shop.toml"),
        include_str!("../../../data-plane/config/tests/examples/club.toml"),
        include_str!("../../../data-plane/config/tests/examples/cluster.toml"),
    ];

    fn link() -> Link {
        Link {
            endpoints: vec!["https://cp1.example.org:7443".to_owned()],
            node: "fra-1".to_owned(),
            site: Some("fra".to_owned()),
            pki: "/etc/mailswitch/pki".to_owned(),
            state_dir: "/var/lib/mailswitch/node".to_owned(),
        }
    }

    /// Both halves mean what the file meant.
    fn says_the_same(text: &str) -> Split {
        let split =
            split(text, "proxy.toml", &link(), None).unwrap_or_else(|failure| panic!("{}", failure.text()));
        let node = NodeConfig::parse_of_another_machine(&split.node, "node")
            .unwrap()
            .config;
        let Source::ControlPlane(_) = node.source else {
            panic!("{}", split.node);
        };
        let before = &split.before;
        assert_eq!(
            (&before.server, &before.tls, &before.listeners, &before.admin),
            (&node.server, &node.tls, &node.listeners, &node.admin)
        );
        let Source::Alone(alone) = &before.source else {
            panic!("not alone");
        };
        let fleet = FleetFile::parse(&split.fleet, "fleet", &[])
            .unwrap()
            .config
            .config;
        let expected = FleetConfig {
            normalization: fleet.normalization.clone(),
            cutover: fleet.cutover.clone(),
            ..alone.fleet.clone()
        };
        assert_eq!(fleet, expected);
        split
    }

    #[test]
    fn both_halves_of_each_example_mean_what_the_file_meant() {
        for example in EXAMPLES {
            says_the_same(example);
        }
    }

    #[test]
    fn every_table_of_the_file_is_named_with_its_line_and_where_it_went() {
        for example in EXAMPLES {
            let split = says_the_same(example);
            let root: toml::Table = example.parse().unwrap();
            for name in root.keys() {
                let named = |part: &Part| {
                    part.line.is_some()
                        && (part.what.starts_with(&format!("[{name}]"))
                            || part.what.starts_with(&format!("{name}.")))
                };
                assert!(split.parts.iter().any(named), "{name}: {:?}", split.parts);
            }
        }
    }

    #[test]
    fn comments_and_the_form_of_a_table_go_with_it() {
        let split = says_the_same(EXAMPLES[0]);
        assert!(
            split.fleet.contains("# MX traffic always to the new server"),
            "{}",
            split.fleet
        );
        assert!(
            split.node.contains("imaps       = { protocol = \"imap\","),
            "{}",
            split.node
        );
    }

    #[test]
    fn dotted_keys_and_inline_tables_are_cut_like_headers() {
        let text = "routing.default_destination = \"a\"\nmapping = { source = \"file\", file = { path = \"m\" } }\n\
                    listener.i = { protocol = \"imap\", bind = [\"127.0.0.1:1143\"], tls = \"plain\" }\n\
                    destination.a = { host = \"a.example\", protocol.imap = { port = 993, tls = \"implicit\" } }\n";
        let split = says_the_same(text);
        assert!(!split.node.contains("path"), "{}", split.node);
    }

    #[test]
    fn a_key_that_nobody_knows_is_left_out_and_named_without_its_value() {
        let text = EXAMPLES[1]
            .replace("[routing]", "[routing]\nmode = \"hunter2\"")
            .replace(
                "match = \"/authorize\"\n",
                "match = \"/authorize\"\nprio = \"hunter2\"\n",
            );
        let split = says_the_same(&text);
        let left: Vec<&str> = split
            .parts
            .iter()
            .filter(|part| part.note.contains("unknown"))
            .map(|part| part.what.as_str())
            .collect();
        assert_eq!(left, ["routing.mode", "http.route[1].prio"]);
        assert!(!split.fleet.contains("hunter2"), "{}", split.fleet);
        assert!(
            split
                .fleet
                .contains("# Left out, because nobody knows it: routing.mode")
        );
    }

    #[test]
    fn a_file_of_a_node_in_a_fleet_is_refused() {
        let node = says_the_same(EXAMPLES[0]).node;
        let failure = split(&node, "node.toml", &link(), None).unwrap_err();
        assert!(failure.what.contains("in a fleet already"), "{failure:?}");
    }
}
