//! `docs/configuration.md` knows every key that the reader asks for, and no other.

use std::collections::BTreeSet;

use crate::finding::Severity;
use crate::node::Environment;
use crate::read::{Document, Files, Place, Report};

const DOCS: &str = include_str!("../../../docs/configuration.md");

/// Every optional table is present, so that its keys are asked for.
const NODE: &str = r#"
[tls.certificate.a]
[listener.a]
[mapping]
source = "file"
[mapping.file]
[mapping.redis]
[mapping.sql]
[admin]
[destination.a.protocol.imap]
[[http.route]]
extract = {}
"#;
const NODE_OF_A_FLEET: &str = "[mapping]\nsource = \"control-plane\"\n[control_plane]\n";
const CONTROL_PLANE: &str = "[web]\n";
const FLEET: &str = "[destination.a.protocol.imap]\n[[http.route]]\nextract = {}\n";

/// Of a table as a heading names it, a key.
type Key = (String, String);

fn asked(toml: &str, read: impl FnOnce(&Report<'_>)) -> BTreeSet<Key> {
    let (document, _) = Document::parse(toml, "documented.toml");
    let report = Report::new(&document, Severity::Warning, Files::Elsewhere);
    read(&report);
    let known = report.known();
    known
        .iter()
        .filter(|place| !known.iter().any(|other| other != *place && other.is_under(place)))
        .filter_map(key_of)
        .filter(|key| !is_table(key))
        .collect()
}

/// It has a heading of its own.
fn is_table((table, key): &Key) -> bool {
    DOCS.contains(&format!("\n### `{}.{key}", table.trim_end_matches(']')))
}

/// `destination.a.protocol.imap.port` as `[destination.NAME.protocol.PROTOCOL]` and `port`.
fn key_of(place: &Place) -> Option<Key> {
    let text = place.to_string();
    let text = text.replace("route[0]", "route");
    let (table, key) = text.rsplit_once('.')?;
    let table = match table {
        "http.route" => "[[http.route]]".to_owned(),
        table => format!(
            "[{}]",
            table
                .replace("destination.a", "destination.NAME")
                .replace("protocol.imap", "protocol.PROTOCOL")
                .replace("certificate.a", "certificate.NAME")
                .replace("listener.a", "listener.NAME")
        ),
    };
    Some((table, key.to_owned()))
}

/// What a chapter lists.
fn documented(chapter: &str) -> BTreeSet<Key> {
    let chapter = DOCS
        .split("\n## ")
        .find(|text| text.starts_with(chapter))
        .expect("the chapter");
    chapter
        .split("\n### ")
        .skip(1)
        .flat_map(|section| {
            let (heading, rows) = section.split_once('\n').expect("a heading and rows");
            let table = heading.split('`').nth(1).expect("a table in the heading");
            rows.lines()
                .filter_map(|row| row.strip_prefix("| `"))
                .filter_map(|row| row.split('`').next())
                .map(|key| (table.to_owned(), key.to_owned()))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn of_nodes() -> BTreeSet<Key> {
    let environment = Environment::default();
    let mut keys = asked(NODE, |report| {
        crate::node::read(report, &environment);
    });
    keys.extend(asked(NODE_OF_A_FLEET, |report| {
        crate::node::read(report, &environment);
    }));
    keys
}

fn of_fleets() -> BTreeSet<Key> {
    asked(FLEET, |report| {
        crate::fleet::read_fleet(report, &[]);
    })
}

#[test]
fn every_key_of_a_nodes_file_is_documented_and_no_other() {
    let documented_here = documented("Tables of a node");
    let known = of_nodes();
    let of_both: BTreeSet<Key> = documented_here
        .union(&documented("Tables of a fleet"))
        .cloned()
        .collect();
    assert_eq!(known.difference(&of_both).collect::<Vec<_>>(), [] as [&Key; 0]);
    assert_eq!(
        documented_here.difference(&known).collect::<Vec<_>>(),
        [] as [&Key; 0]
    );
}

#[test]
fn every_key_of_a_control_planes_file_is_documented_and_no_other() {
    let documented_here = documented("Tables of a control plane");
    let known = asked(CONTROL_PLANE, |report| {
        crate::control_plane::read(report);
    });
    let of_both: BTreeSet<Key> = documented_here
        .union(&documented("Tables of a node"))
        .cloned()
        .collect();
    assert_eq!(known.difference(&of_both).collect::<Vec<_>>(), [] as [&Key; 0]);
    assert_eq!(
        documented_here.difference(&known).collect::<Vec<_>>(),
        [] as [&Key; 0]
    );
}

#[test]
fn every_key_of_a_fleets_file_is_documented_and_no_other() {
    let documented_here = documented("Tables of a fleet");
    let known = of_fleets();
    // Keys of `[mapping]` are asked for to refuse them with a reason.
    let of_both: BTreeSet<Key> = documented_here
        .union(&documented("Tables of a node"))
        .cloned()
        .collect();
    assert_eq!(known.difference(&of_both).collect::<Vec<_>>(), [] as [&Key; 0]);
    assert_eq!(
        documented_here.difference(&known).collect::<Vec<_>>(),
        [] as [&Key; 0]
    );
}

/// Each rule of the reference has its row, and a test that begins with its number.
#[test]
fn every_rule_is_documented_and_tested() {
    const TESTS: &str = include_str!("../tests/rules.rs");
    let rows: Vec<&str> = DOCS
        .lines()
        .filter_map(|line| line.strip_prefix("| V"))
        .filter_map(|row| row.split(" |").next())
        .flat_map(|numbers| numbers.split(", V"))
        .collect();
    let numbers: Vec<String> = (1..=26).map(|number: u8| number.to_string()).collect();
    assert_eq!(rows, numbers);
    for number in numbers {
        let named = |name: &str| name.split('_').any(|word| word == format!("v{number}"));
        let tests = TESTS.lines().filter_map(|line| line.strip_prefix("fn "));
        assert!(
            tests.into_iter().any(named),
            "no test of rules.rs is named after V{number}"
        );
    }
}
