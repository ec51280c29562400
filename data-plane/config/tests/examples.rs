//! Whole files: the worked examples of the reference, everything wrong at once, files that are no TOML.

mod support;

use insta::assert_snapshot;
use mailswitch_config::node::Environment;
use mailswitch_config::table::destination::{Host, Verification};
use mailswitch_config::table::http::{RouteFallback, RouteTarget};
use mailswitch_config::table::mapping::MappingStore;
use mailswitch_config::{Forwarding, NodeConfig, Protocol, Source, TlsMode};
use support::{Files, and, with};

const SHOP: &str = include_str!("examples/shop.toml");
const CLUB: &str = include_str!("examples/club.toml");
const CLUSTER: &str = include_str!("examples/cluster.toml");

fn alone(config: NodeConfig) -> mailswitch_config::node::Alone {
    match config.source {
        Source::Alone(alone) => *alone,
        Source::ControlPlane(_) => panic!("a node of a fleet"),
    }
}

#[test]
fn a_file_in_front_of_dovecot_and_postfix_is_read_without_a_finding() {
    let files = Files::new();
    let checked = files.node(SHOP).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(checked.warnings.to_string(), "");
    assert_eq!(checked.config.listeners.len(), 8);
    let fleet = alone(checked.config).fleet;
    let dovecot = fleet.destination("dovecot").unwrap();
    assert!(
        matches!(dovecot.verification, Verification::Pinned(pin) if pin.as_bytes()[..3] == [0x3b, 0x1f, 0])
    );
    assert_eq!(dovecot.host, Host::Name("dovecot.lan.example".to_owned()));
    assert_eq!(
        dovecot.endpoint(Protocol::Imap).unwrap().forwarding,
        Forwarding::Xclient
    );
    assert_eq!(dovecot.endpoint(Protocol::Smtp), None);
    let smtp = fleet
        .destination("fresh")
        .unwrap()
        .endpoint(Protocol::Smtp)
        .unwrap();
    assert_eq!(
        (smtp.port, smtp.tls, smtp.forwarding),
        (25, TlsMode::Plain, Forwarding::Proxy)
    );
}

#[test]
fn a_file_with_http_routes_is_read_without_a_finding() {
    let files = Files::new();
    let checked = files.node(CLUB).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(checked.warnings.to_string(), "");
    let alone = alone(checked.config);
    assert!(matches!(&alone.mapping.store, MappingStore::Redis(redis) if redis.key_prefix == "route:"));
    let routes = &alone.fleet.http.routes;
    assert_eq!(routes.len(), 7);
    assert!(matches!(&routes[0].target, RouteTarget::Pinned(name) if name.as_str() == "v1"));
    assert!(matches!(
        &routes[6].target,
        RouteTarget::Extracted(_, RouteFallback::Default)
    ));
}

#[test]
fn a_file_of_a_cluster_with_addresses_and_a_sql_store_is_read_without_a_finding() {
    let files = Files::new();
    let checked = files
        .node(CLUSTER)
        .unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(checked.warnings.to_string(), "");
    assert!(!format!("{:?}", checked.config).contains("hunter2"));
    let alone = alone(checked.config);
    assert!(matches!(&alone.mapping.store, MappingStore::Sql(sql) if sql.pool_size == 16));
    assert_eq!(alone.mapping.positive_ttl.as_secs(), 2700);
    let endpoint = alone
        .fleet
        .destination("n1")
        .unwrap()
        .endpoint(Protocol::Imap)
        .unwrap();
    assert_eq!(endpoint.forwarding, Forwarding::Proxy);
}

/// "Done when" 8 of the first milestone: each error names file, line, key, value and remedy; all in one run.
#[test]
fn everything_that_is_wrong_is_reported_in_one_run() {
    let files = Files::new();
    let said = files.about_node(include_str!("examples/broken.toml"));
    for line in said.lines() {
        let mut parts = line.splitn(3, ':');
        assert_eq!(parts.next(), Some("proxy.toml"), "{line}");
        assert!(parts.next().unwrap().parse::<u32>().is_ok(), "{line}");
        let rest = parts.next().unwrap();
        assert!(
            rest.starts_with(" error: ") || rest.starts_with(" warning: "),
            "{line}"
        );
        assert!(rest.contains("; "), "without a remedy: {line}");
    }
    for secret in ["hunter2", "hunter3", "hunter4", "hunter5"] {
        assert!(!said.contains(secret));
    }
    assert_snapshot!(said);
}

#[test]
fn an_unknown_key_is_a_warning_that_names_the_nearest_known_one() {
    let toml = with("[mapping]", "[mapping]\nnormalise = \"lowercase\"")
        + "[server]\nhostnam = \"mail\"\n[capabilites.imap]\n[metrics]\nbind = \"127.0.0.1:1\"\nsecret = \"hunter2\"\n";
    let said = Files::new().about_node(&toml);
    assert!(Files::new().node(&toml).is_ok());
    assert!(!said.contains("hunter2"));
    assert_snapshot!(said);
}

#[test]
fn a_file_that_is_no_toml_is_reported_with_every_such_line_and_what_else_is_wrong() {
    let toml = "[server]\nthreads = = 4\nhostname = \"mail\n[listener.imap]\nprotocol = \"imap4\"\ntls = \"plain\"\n";
    assert_snapshot!(Files::new().about_node(toml));
}

#[test]
fn values_of_the_wrong_kind_say_which_belongs_there() {
    let toml = with(
        "bind = [\"127.0.0.1:1143\"]",
        "bind = \"127.0.0.1\"\npreauth_timeout = 30\nmax_connections = 0",
    )
    .replace("port = 993", "port = \"993\"")
        + "[server]\nshutdown_grace = \"30\"\nbridge_idle = \"1h30m\"\nthreads = -1\nhost_down_threshold = 2.5\n[tls]\ncertificate = 3\n";
    assert_snapshot!(Files::new().about_node(&toml));
}

#[test]
fn a_file_without_anything_says_what_a_node_needs() {
    assert_snapshot!(Files::new().about_node(""));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let path = std::path::Path::new("/nonexistent/proxy.toml");
    let findings = NodeConfig::load(path, &Environment::default()).unwrap_err();
    assert_eq!(
        findings.to_string(),
        "/nonexistent/proxy.toml: error: this file cannot be read: No such file or directory (os error 2); \
         name a file that the program's user may read"
    );
}

#[test]
fn a_node_of_a_fleet_says_where_its_control_planes_are() {
    let files = Files::new();
    let checked = files
        .node(include_str!("examples/fleet-node.toml"))
        .unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(checked.warnings.to_string(), "");
    let Source::ControlPlane(link) = checked.config.source else {
        panic!("a node on its own");
    };
    assert_eq!(
        link.endpoints,
        ["https://cp1.example.org:7443", "https://cp2.example.org:7443"]
    );
    assert_eq!((link.node.as_str(), link.site.as_str()), ("fra-1", "fra"));
}

#[test]
fn what_belongs_to_the_fleet_is_refused_in_a_file_of_its_nodes() {
    let files = Files::new();
    let toml = include_str!("examples/fleet-node.toml").replace(
        "source = \"control-plane\"",
        "source = \"control-plane\"
positive_ttl = \"10s\"
[routing]
default_destination = \"legacy\"
[destination.legacy]
host = \"legacy.example.org\"
[oauth]
jwt_username_claim = \"upn\"",
    );
    assert_snapshot!(files.about_node(&toml));
}

#[test]
fn a_node_of_a_fleet_without_a_way_to_it_says_what_is_missing() {
    let empty = with("source = \"file\"", "source = \"control-plane\"");
    let partial = and("").replace("source = \"file\"", "source = \"control-plane\"")
        + "[control_plane]\nendpoints = [\"http://cp1:7443\", \"https://cp1\", \"https://u:hunter2@cp1:1\"]\n";
    let files = Files::new();
    let said = format!("{}\n\n{}", files.about_node(&empty), files.about_node(&partial));
    assert!(!said.contains("hunter2"));
    assert_snapshot!(said);
}

/// Files get cut by full disks and by editors. Neither a cut nor a line that is lost may show a secret or end in a panic.
#[test]
fn no_cut_of_a_file_shows_a_secret() {
    let files = Files::new();
    let whole = include_str!("examples/broken.toml");
    let check = |toml: &str| {
        let said = files.about_node(toml);
        assert!(!said.contains("hunter"), "{said}\n---\n{toml}");
    };
    for (end, _) in whole.char_indices() {
        check(&whole[..end]);
    }
    let lines: Vec<&str> = whole.lines().collect();
    for lost in 0..lines.len() {
        let mut left = lines.clone();
        left.remove(lost);
        check(&left.join("\n"));
    }
}
