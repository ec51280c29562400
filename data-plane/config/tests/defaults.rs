//! The defaults and units of configuration 3, as somebody finds them who leaves the keys out, and values at the ends of
//! what the grammar takes.

mod support;

use std::time::Duration;

use mailswitch_config::node::Alone;
use mailswitch_config::table::capabilities::SaslMechanism;
use mailswitch_config::table::destination::{Host, Verification};
use mailswitch_config::table::http::{RouteFallback, RouteTarget};
use mailswitch_config::table::listener::{InboundForwarded, ProxyProtocol};
use mailswitch_config::table::mapping::MappingStore;
use mailswitch_config::table::routing::{OnUnknown, SmtpRouting};
use mailswitch_config::table::tls::TlsVersion;
use mailswitch_config::{Forwarding, NodeConfig, Protocol, Source};
use mailswitch_proto::identifier::Normalization;
use support::{Files, NODE, and, with};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn read(toml: &str) -> NodeConfig {
    let checked = Files::new().node(toml);
    checked.unwrap_or_else(|findings| panic!("{findings}")).config
}

fn alone(config: NodeConfig) -> Alone {
    match config.source {
        Source::Alone(alone) => *alone,
        Source::ControlPlane(_) => panic!("a node of a fleet"),
    }
}

#[test]
fn of_the_process_its_listeners_and_its_tls() {
    let config = read(NODE);
    let server = config.server;
    assert_eq!((server.threads, server.hostname), (0, None));
    assert_eq!(
        (server.shutdown_grace, server.bridge_idle),
        (secs(30), secs(1800))
    );
    assert_eq!(
        (server.backend_timeout, server.backend_connect_retries),
        (secs(10), 1)
    );
    assert_eq!((server.host_down_threshold, server.host_down_min_clients), (5, 2));
    assert_eq!((server.host_down_cooldown, server.proxy_ttl), (secs(30), 7));
    assert_eq!(server.log_level, "info");
    let listener = &config.listeners[0];
    assert_eq!(listener.proxy_protocol, ProxyProtocol::Off);
    assert!(listener.proxy_trusted.is_empty());
    assert_eq!((listener.max_connections, listener.max_auth_attempts), (8192, 3));
    assert_eq!(listener.preauth_timeout, secs(30));
    assert_eq!(listener.forwarded, InboundForwarded::Off);
    let protocols = config.tls.protocols;
    assert_eq!(protocols.min_version, TlsVersion::Tls12);
    assert!(!protocols.ignore_client_order && protocols.disable_cipher_suites.is_empty());
    assert!(config.admin.is_none() && config.metrics.is_none());
}

#[test]
fn of_a_certificate_and_of_the_management_api() {
    let config = read(&and(
        "[tls.certificate.a]\ncert = \"/etc/mailswitch/chain.pem\"\nkey = \"/etc/mailswitch/key.pem\"\n\
         [admin]\nbind = \"127.0.0.1:9443\"\nbearer_token_file = \"/etc/mailswitch/admin.token\"\nlockout_threshold = 0\n",
    ));
    let certificate = &config.tls.certificates[0];
    assert!(certificate.subjects.is_empty() && !certificate.default);
    let admin = config.admin.unwrap();
    assert_eq!(admin.lockout_threshold, 1, "0 acts as 1");
    assert_eq!(admin.lockout_duration, secs(300));
    assert_eq!(admin.token.expose().len(), 32, "its line end is not part of it");
}

#[test]
fn of_a_destination_and_of_routing() {
    let fleet = alone(read(NODE)).fleet;
    let legacy = fleet.destination("legacy").unwrap();
    assert_eq!(legacy.host, Host::Name("legacy.example.org".to_owned()));
    assert_eq!(
        legacy.tls_server_name.as_ref().unwrap().to_str(),
        "legacy.example.org"
    );
    assert_eq!(legacy.verification, Verification::Platform);
    assert!(legacy.client_certificate.is_none() && legacy.source_ips.is_empty());
    assert!(!legacy.forwarded && !legacy.hide_auth_errors && !legacy.allow_plaintext_auth);
    assert_eq!(
        legacy.endpoint(Protocol::Imap).unwrap().forwarding,
        Forwarding::Proxy
    );
    let routing = &fleet.routing;
    assert_eq!(routing.smtp_passthrough_destination, None);
    assert_eq!(routing.master_user_separators, ["%"]);
    assert_eq!(
        (routing.unidentified, routing.unknown),
        (OnUnknown::Default, OnUnknown::Default)
    );
    assert_eq!(routing.smtp_routing, SmtpRouting::Passthrough);
    assert_eq!(fleet.normalization, Normalization::AsPresented);
    assert_eq!(fleet.oauth.jwt_username_claim, "email");
}

#[test]
fn forwarding_is_that_of_the_leg_else_of_the_destination_else_of_proxy_protocol() {
    for (keys, leg, expected) in [
        ("", "", Forwarding::Proxy),
        ("proxy_protocol = false\n", "", Forwarding::None),
        (
            "proxy_protocol = false\nforwarding = \"xclient\"\n",
            "",
            Forwarding::Xclient,
        ),
        (
            "forwarding = \"xclient\"\n",
            "\nforwarding = \"none\"",
            Forwarding::None,
        ),
    ] {
        let toml = with(
            "host = \"legacy.example.org\"\n",
            &format!("host = \"legacy.example.org\"\n{keys}"),
        )
        .replacen("port = 993", &format!("port = 993{leg}"), 1);
        let fleet = alone(read(&toml)).fleet;
        let legacy = fleet.destination("legacy").unwrap();
        assert_eq!(
            legacy.endpoint(Protocol::Imap).unwrap().forwarding,
            expected,
            "{keys}{leg}"
        );
    }
}

#[test]
fn of_the_mapping_and_its_stores() {
    let mapping = alone(read(NODE)).mapping;
    assert_eq!(
        (mapping.positive_ttl, mapping.negative_ttl),
        (secs(600), secs(30))
    );
    assert_eq!(
        (mapping.cache_max_entries, mapping.lookup_timeout),
        (1_000_000, secs(5))
    );
    for (pool, expected) in [("", 16), ("\npool_size = 0", 1), ("\npool_size = 3", 3)] {
        let redis = with(
            "source = \"file\"",
            &format!("source = \"redis\"\n[mapping.redis]\nurl = \"rediss://127.0.0.1/0\"{pool}"),
        );
        let MappingStore::Redis(redis) = alone(read(&redis)).mapping.store else {
            panic!("another store");
        };
        assert_eq!((redis.pool_size, redis.key_prefix.as_str()), (expected, "route:"));
        let sql = with(
            "source = \"file\"",
            &format!(
                "source = \"sql\"\n[mapping.sql]\nurl = \"mysql://db/mail\"\nquery = \"SELECT 1\"{pool}"
            ),
        );
        let MappingStore::Sql(sql) = alone(read(&sql)).mapping.store else {
            panic!("another store");
        };
        assert_eq!(sql.pool_size, expected);
        assert!(sql.upsert_query.is_none() && sql.delete_query.is_none());
    }
}

/// A file of the reference may hold the sections of stores that it does not use.
#[test]
fn sections_of_stores_that_are_not_selected_do_not_matter() {
    let config = read(&and("[mapping.redis]\nurl = \"redis://127.0.0.1/0\"\n"));
    assert!(matches!(alone(config).mapping.store, MappingStore::File { .. }));
}

#[test]
fn of_what_is_advertised() {
    let capabilities = alone(read(NODE)).fleet.capabilities;
    let all = [
        SaslMechanism::Plain,
        SaslMechanism::Login,
        SaslMechanism::OauthBearer,
        SaslMechanism::Xoauth2,
    ];
    for authentication in [
        &capabilities.imap.authentication,
        &capabilities.pop3.authentication,
        &capabilities.submission.authentication,
        &capabilities.managesieve.authentication,
    ] {
        assert_eq!(authentication.sasl, all);
        assert!(!authentication.allow_plain_auth_without_tls);
    }
    assert_eq!(
        capabilities.imap.advertise.join(" "),
        "IMAP4rev2 IMAP4rev1 ENABLE SASL-IR LITERAL+ ID UTF8=ACCEPT JMAPACCESS"
    );
    assert_eq!(capabilities.imap.banner, "Mailswitch IMAP4rev2 at your service.");
    assert_eq!(capabilities.pop3.banner, "Mailswitch POP3 at your service.");
    assert_eq!(capabilities.submission.banner, "at your service.");
    assert_eq!(
        capabilities.submission.ehlo.join(" "),
        "ENHANCEDSTATUSCODES 8BITMIME BINARYMIME SMTPUTF8 PIPELINING CHUNKING REQUIRETLS SIZE"
    );
    assert_eq!(capabilities.managesieve.implementation, "Mailswitch ManageSieve");
    // In the order of the reference.
    let sieve = &capabilities.managesieve.sieve;
    assert_eq!(
        (
            sieve.len(),
            sieve[0].as_str(),
            sieve[20].as_str(),
            sieve[46].as_str()
        ),
        (47, "body", "fcc", "virustest")
    );
}

#[test]
fn of_http_and_its_routes() {
    let http = alone(read(&and(
        "[[http.route]]\nmatch = \"/a\"\n[[http.route]]\nmatch = \"/b\"\nextract = { from = \"authorization\" }\n",
    )))
    .fleet
    .http;
    assert_eq!((http.max_head_size, http.body_extract_cap), (65_536, 65_536));
    assert_eq!((http.keepalive_timeout, http.relay_idle), (secs(75), secs(60)));
    assert_eq!(http.max_keepalive_requests, 1000);
    assert_eq!(
        http.routes[0].target,
        RouteTarget::Fallback(RouteFallback::Default)
    );
    assert!(matches!(
        &http.routes[1].target,
        RouteTarget::Extracted(_, RouteFallback::Default)
    ));
}

#[test]
fn fallback_default_is_the_default_destination_unless_one_is_called_so() {
    let route = "[[http.route]]\nmatch = \"/a\"\nfallback = \"default\"\n";
    let target = |toml: &str| alone(read(toml)).fleet.http.routes.remove(0).target;
    assert_eq!(target(&and(route)), RouteTarget::Fallback(RouteFallback::Default));
    let declared = and(route)
        + "[destination.default]\nhost = \"d.example.org\"\nprotocol.http = { port = 443, tls = \"implicit\" }\n\
           protocol.imap = { port = 993, tls = \"implicit\" }\n";
    assert_eq!(
        target(&declared),
        RouteTarget::Fallback(RouteFallback::Destination("default".into()))
    );
}

#[test]
fn empty_separators_are_ignored_and_none_turn_master_logins_off() {
    let separators = |list: &str| {
        let toml = with(
            "default_destination = \"legacy\"",
            &format!("default_destination = \"legacy\"\nmaster_user_separators = {list}"),
        );
        alone(read(&toml)).fleet.routing.master_user_separators
    };
    assert_eq!(separators("[\"\", \"*\", \"#\"]"), ["*", "#"]);
    assert!(separators("[]").is_empty());
}

#[test]
fn every_unit_is_read_and_what_no_clock_holds_is_as_good_as_for_ever() {
    for (text, expected) in [
        ("250ms", Duration::from_millis(250)),
        (" 45 s ", secs(45)),
        ("2m", secs(120)),
        ("1h", secs(3600)),
        ("3d", secs(259_200)),
        ("0s", secs(0)),
        ("18446744073709551615s", secs(36_525 * 86_400)),
    ] {
        let server = read(&and(&format!("[server]\nbridge_idle = \"{text}\"\n"))).server;
        assert_eq!(server.bridge_idle, expected, "{text}");
        // It can be added to any time.
        let _ = std::time::Instant::now() + server.bridge_idle;
    }
}
