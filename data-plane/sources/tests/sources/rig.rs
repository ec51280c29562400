//! What every source's tests share: a configuration with two destinations, and short words for what is asked.

use std::sync::Arc;

use mailswitch_config::fleet::Files;
use mailswitch_config::table::listener::Listener;
use mailswitch_config::table::mapping::{Mapping, MappingStore};
use mailswitch_config::{DestinationName, FleetConfig, NodeConfig, Resource, ResourceKey, SiteName};
use mailswitch_proto::identifier::{Identifier, Normalization};
use mailswitch_sources::{Counted, Found, Mappings, OpenError, Setup};

/// `old` (the default), `new`, and `half`, which has no POP3.
pub(crate) fn fleet() -> FleetConfig {
    with_destinations(&["old", "new"], "old")
}

pub(crate) fn with_destinations(names: &[&str], default: &str) -> FleetConfig {
    let resource = |kind: &str, name: &str, body: String| Resource {
        key: ResourceKey {
            kind: kind.to_owned(),
            name: name.to_owned(),
            site: String::new(),
        },
        body,
    };
    let server = |name: &str, protocols: &str| {
        resource(
            "destination",
            name,
            format!(r#"{{"host":"{name}.example.org","protocol":{{{protocols}}}}}"#),
        )
    };
    let both = r#""imap":{"port":993,"tls":"implicit"},"pop3":{"port":995,"tls":"implicit"}"#;
    let mut resources: Vec<Resource> = names.iter().map(|name| server(name, both)).collect();
    resources.push(server("half", r#""imap":{"port":993,"tls":"implicit"}"#));
    resources.push(resource(
        "routing",
        "",
        format!(r#"{{"default_destination":"{default}"}}"#),
    ));
    let assembly = FleetConfig::from_resources(&resources, &SiteName::from(""), Files::Here);
    assert!(assembly.rejected.is_empty());
    FleetConfig {
        normalization: Normalization::Lowercase,
        ..assembly.config
    }
}

/// One for IMAP, one for POP3.
pub(crate) fn listeners() -> Vec<Listener> {
    let toml = r#"
        [listener.imaps]
        protocol = "imap"
        bind = ["127.0.0.1:0"]
        tls = "implicit"
        [listener.pop3s]
        protocol = "pop3"
        bind = ["127.0.0.1:0"]
        tls = "implicit"
        [mapping]
        source = "control-plane"
        [control_plane]
        endpoints = ["https://cp.example.org:7443"]
        node = "n"
        site = "s"
        ca = "ca.pem"
        cert = "cert.pem"
        key = "key.pem"
        state_dir = "/nowhere"
    "#;
    NodeConfig::parse_of_another_machine(toml, "node.toml")
        .unwrap()
        .config
        .listeners
}

pub(crate) async fn open(store: MappingStore) -> Result<Arc<Mappings>, OpenError> {
    open_with(&Mapping::new(store), &fleet()).await
}

pub(crate) async fn open_with(mapping: &Mapping, fleet: &FleetConfig) -> Result<Arc<Mappings>, OpenError> {
    let listeners = listeners();
    Mappings::open(Setup {
        mapping,
        fleet,
        listeners: &listeners,
    })
    .await
}

pub(crate) fn who(login: &str) -> Identifier {
    Identifier::normalized(login, &Normalization::Lowercase).unwrap()
}

pub(crate) fn named(name: &str) -> DestinationName {
    DestinationName::from(name)
}

/// As a login.
pub(crate) async fn login(mappings: &Mappings, login: &str) -> Found {
    mappings.route(&who(login), Counted::Login).await
}

/// Where a login goes.
pub(crate) async fn goes_to(mappings: &Mappings, of: &str) -> String {
    login(mappings, of).await.destination.unwrap().to_string()
}
