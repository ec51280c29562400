//! A fleet's file: to resources and back, compared, seen by a site, and what is refused in it.

mod support;

use insta::assert_snapshot;
use mailswitch_config::fleet::{Files, ReportedListener};
use mailswitch_config::protocol::Keyword as _;
use mailswitch_config::resource::{diff, to_toml};
use mailswitch_config::table::destination::Host;
use mailswitch_config::table::routing::OnUnknown;
use mailswitch_config::{FleetConfig, FleetFile, Protocol, Resource, SiteName, TlsMode};
use mailswitch_proto::identifier::{Identifier, Normalization};

const FLEET: &str = include_str!("examples/fleet.toml");

fn fleet(toml: &str) -> FleetFile {
    match FleetFile::parse(toml, "fleet.toml", &[]) {
        Ok(checked) => checked.config,
        Err(findings) => panic!("{findings}"),
    }
}

fn said(toml: &str, listeners: &[ReportedListener]) -> String {
    match FleetFile::parse(toml, "fleet.toml", listeners) {
        Ok(checked) => checked.warnings.to_string(),
        Err(findings) => findings.to_string(),
    }
}

fn listener(node: &str, name: &str, protocol: Protocol) -> ReportedListener {
    ReportedListener {
        node: node.to_owned(),
        name: name.into(),
        protocol,
        tls: TlsMode::Implicit,
    }
}

fn body<'a>(resources: &'a mut [Resource], key: &str) -> &'a mut String {
    let resource = resources
        .iter_mut()
        .find(|resource| resource.key.to_string() == key);
    &mut resource.expect("a resource of the file").body
}

fn swap(toml: &str, old: &str, new: &str) -> String {
    assert!(toml.contains(old), "{old:?} does not stand in the file");
    toml.replacen(old, new, 1)
}

#[test]
fn a_fleets_file_in_order_gives_no_finding() {
    let listeners = [
        listener("fra-1", "imaps", Protocol::Imap),
        listener("ber-1", "submission", Protocol::Submission),
        listener("ber-1", "mx", Protocol::Smtp),
    ];
    assert_eq!(said(FLEET, &listeners), "");
}

#[test]
fn a_fleets_file_becomes_resources_with_canonical_bodies() {
    let listed: Vec<String> = fleet(FLEET)
        .resources
        .iter()
        .map(|resource| format!("{} {}", resource.key, resource.body))
        .collect();
    assert_snapshot!(listed.join("\n"));
}

#[test]
fn applying_an_export_changes_nothing() {
    let resources = fleet(FLEET).resources;
    let exported = to_toml(&resources);
    assert_eq!(fleet(&exported).resources, resources);
    assert_snapshot!(exported);
}

#[test]
fn names_that_need_quotation_marks_survive_an_export() {
    let toml = FLEET
        .replace("destination.legacy", "destination.\"old server.\\\"1\\\"\"")
        .replace(
            "default_destination = \"legacy\"",
            "default_destination = 'old server.\"1\"'",
        );
    let resources = fleet(&toml).resources;
    assert_eq!(fleet(&to_toml(&resources)).resources, resources);
}

#[test]
fn the_order_and_the_spelling_of_tables_make_no_difference() {
    let one = fleet(
        "[routing]\ndefault_destination = \"a\"\n[destination.a]\nhost = \"a\"\nprotocol.imap = { tls = \"implicit\", port = 1 }\n",
    );
    let two = fleet(
        "destination.a.protocol.imap.port = 1\ndestination.a.protocol.imap.tls = \"implicit\"\ndestination.a.host = \"a\"\nrouting = { default_destination = \"a\" }\n",
    );
    assert_eq!(one.resources, two.resources);
}

#[test]
fn two_configurations_are_compared_key_by_key() {
    let before = fleet(FLEET).resources;
    let after = fleet(
        &FLEET
            .replace("\"new.example.org\"", "\"new2.example.org\"")
            .replace("unidentified = \"refuse\"\n", "")
            .replace("max_keepalive_requests = 100", "relay_idle = \"30s\"")
            .replace("destination = \"new\"\n\n[dest", "fallback = \"new\"\n\n[dest"),
    )
    .resources;
    let shown: Vec<String> = diff(&before, &after)
        .into_iter()
        .map(|one| {
            let side = |value: Option<String>| value.unwrap_or_else(|| "absent".to_owned());
            format!("{}: {} -> {}", one.key, side(one.before), side(one.after))
        })
        .collect();
    assert_snapshot!(shown.join("\n"));
    assert_eq!(diff(&before, &before), []);
}

#[test]
fn a_site_sees_its_own_values_over_those_of_the_fleet() {
    let resources = fleet(FLEET).resources;
    let host = |site: &str| {
        let assembly = FleetConfig::from_resources(&resources, &site.into(), Files::Elsewhere);
        assert_eq!(assembly.rejected, []);
        assert_eq!(assembly.warnings.to_string(), "");
        let new = assembly.config.destination("new").unwrap().clone();
        (new.host.clone(), new.endpoint(Protocol::Imap).unwrap().port)
    };
    assert_eq!(host("ber"), (Host::Name("new.ber.example.org".to_owned()), 1993));
    assert_eq!(host("fra"), (Host::Name("new.example.org".to_owned()), 993));
    assert_eq!(host(""), host("fra"));
}

#[test]
fn a_node_makes_of_resources_what_the_file_said() {
    let file = fleet(FLEET);
    for site in ["fra", "ber"] {
        let site = SiteName::from(site);
        let made = FleetConfig::from_resources(&file.resources, &site, Files::Elsewhere).config;
        assert_eq!(&made, file.sites.get(&site).unwrap_or(&file.config));
    }
    assert_eq!(file.config.routing.unidentified, OnUnknown::Refuse);
    assert_eq!(
        file.config.normalization,
        Normalization::Fleet {
            bare_domain: Some("example.org".to_owned())
        }
    );
    let login = Identifier::from_login("Alice%admin", &file.config.identifier_rules()).unwrap();
    assert_eq!(login.as_str(), "alice@example.org");
}

#[test]
fn a_fleet_without_resources_has_no_destination_and_nothing_to_complain_about() {
    let assembly = FleetConfig::from_resources([], &"".into(), Files::Elsewhere);
    assert_eq!(assembly.rejected, []);
    assert_eq!(assembly.config, FleetConfig::empty());
}

#[test]
fn a_resource_that_cannot_be_used_is_named_and_the_others_stand() {
    let mut resources = fleet(FLEET).resources;
    *body(&mut resources, "destination.new") = "{\"host\":7}".to_owned();
    *body(&mut resources, "cutover") = "not json".to_owned();
    let assembly = FleetConfig::from_resources(&resources, &"fra".into(), Files::Elsewhere);
    let rejected: Vec<String> = assembly.rejected.iter().map(|one| one.key.to_string()).collect();
    assert_eq!(rejected, ["cutover", "destination.new"]);
    assert_eq!(
        assembly.rejected[1].findings.to_string(),
        "fleet: error: destination.new.host = 7: a whole number stands where a string belongs; \
         write it between quotation marks"
    );
    assert!(assembly.config.destination("new").is_none());
    assert!(assembly.config.destination("legacy").is_some());
    assert_eq!(assembly.config.routing.default_destination, Some("legacy".into()));
    assert_eq!(assembly.config.http.routes.len(), 1);
}

#[test]
fn what_one_site_gets_wrong_is_rejected_there_and_stands_elsewhere() {
    let mut resources = fleet(FLEET).resources;
    *body(&mut resources, "site.ber.destination.new") = "{\"host\":\"192.0.2.1\"}".to_owned();
    let at = |site: &str| FleetConfig::from_resources(&resources, &site.into(), Files::Elsewhere);
    let ber = at("ber");
    let rejected: Vec<String> = ber.rejected.iter().map(|one| one.key.to_string()).collect();
    assert_eq!(rejected, ["site.ber.destination.new"]);
    assert!(
        ber.config.destination("new").is_none(),
        "it must not go to the fleet's host instead"
    );
    assert_eq!(at("fra").rejected, []);
}

#[test]
fn a_key_of_a_newer_control_plane_is_a_warning_to_a_node() {
    let mut resources = fleet(FLEET).resources;
    *body(&mut resources, "routing") = "{\"default_destination\":\"legacy\",\"colour\":\"blue\"}".to_owned();
    let assembly = FleetConfig::from_resources(&resources, &"fra".into(), Files::Elsewhere);
    assert_eq!(assembly.rejected, []);
    assert!(assembly.warnings.to_string().contains("routing.colour"));
    assert_eq!(assembly.config.routing.default_destination, Some("legacy".into()));
}

#[test]
fn a_client_certificate_that_only_this_machine_lacks_rejects_its_destination_here() {
    let toml = swap(
        FLEET,
        "host = \"legacy.example.org\"",
        "host = \"legacy.example.org\"\ntls_client_cert = \"/nonexistent/c.pem\"\ntls_client_key = \"/nonexistent/k.pem\"",
    );
    let resources = fleet(&toml).resources;
    let at = |files| FleetConfig::from_resources(&resources, &"fra".into(), files);
    assert_eq!(at(Files::Elsewhere).rejected, []);
    let rejected = at(Files::Here).rejected;
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].key.to_string(), "destination.legacy");
    assert!(rejected[0].findings.to_string().contains("cannot be read"));
}

#[test]
fn an_unknown_key_is_an_error_in_what_is_applied() {
    let toml = swap(
        FLEET,
        "host = \"legacy.example.org\"",
        "host = \"legacy.example.org\"\nforwardng = \"proxy\"",
    ) + "[routng]\n[destination.new.protocol.jmap]\nport = 1\ntls = \"implicit\"\n";
    assert_snapshot!(said(&toml, &[]));
}

#[test]
fn what_belongs_to_a_program_or_to_a_lone_node_is_refused_in_a_fleets_file() {
    let toml = swap(
        FLEET,
        "normalize = \"lowercase\"",
        "normalize = \"none\"\nsource = \"file\"\nfile.path = \"x\"",
    ) + "[server]\nhostname = \"x\"\n[listener.imap]\n";
    assert_snapshot!(said(&toml, &[]));
}

#[test]
fn what_only_one_site_gets_wrong_is_named_by_the_key_that_was_written() {
    let toml = FLEET.replace(
        "host = \"new.ber.example.org\"",
        "host = \"192.0.2.1\"\nhots = \"x\"",
    ) + "[site.ber.destination.old]\nhost = \"old\"\n[site.fra.routing]\n[site.ber.destination.legacy]\nhost = true\n";
    assert_snapshot!(said(&toml, &[]));
}

#[test]
fn the_listeners_of_the_nodes_are_checked_against_what_is_applied() {
    let toml = swap(FLEET, "smtp_passthrough_destination = \"new\"\n", "");
    let listeners = [
        listener("fra-1", "pop3s", Protocol::Pop3),
        listener("ber-1", "pop3s", Protocol::Pop3),
        listener("ber-1", "mx", Protocol::Smtp),
        listener("ber-1", "imaps", Protocol::Imap),
    ];
    assert_snapshot!(said(&toml, &listeners));
}

#[test]
fn the_times_of_a_cutover_are_bounded() {
    let toml = swap(
        FLEET,
        "max_hold = \"5m\"",
        "hold_login_timeout = \"61s\"\nmax_hold = \"10s\"\nlease = \"0s\"\nheld_reply = \"later\"",
    );
    assert_snapshot!(said(&toml, &[]));
}

#[test]
fn every_protocol_has_an_endpoint_that_says_itself() {
    for protocol in Protocol::ALL {
        let toml = format!(
            "[routing]\ndefault_destination = \"a\"\n[destination.a]\nhost = \"a\"\nprotocol.{protocol} = {{ port = 1, tls = \"implicit\" }}\n"
        );
        assert!(
            fleet(&toml)
                .config
                .destination("a")
                .unwrap()
                .endpoint(*protocol)
                .is_some()
        );
    }
}

#[test]
fn a_node_is_told_which_of_its_listeners_the_fleet_has_nothing_for_and_nothing_else() {
    let resources = fleet(FLEET).resources;
    let misfits = |listeners: &[ReportedListener]| {
        FleetConfig::misfits(&resources, &SiteName::from("fra"), listeners).to_string()
    };
    assert_eq!(misfits(&[listener("fra-1", "imaps", Protocol::Imap)]), "");
    let listeners = [
        listener("fra-1", "imaps", Protocol::Imap),
        listener("fra-1", "lmtp", Protocol::Lmtp),
        listener("fra-1", "sieve", Protocol::ManageSieve),
    ];
    assert_snapshot!(misfits(&listeners));
}
