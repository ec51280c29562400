//! A node that runs alone, from its mapping file (behaviour section 10).

use std::path::Path;
use std::sync::Arc;

use mailswitch_config::fleet::Files;
use mailswitch_config::node::Alone;
use mailswitch_config::table::mapping::{Mapping, MappingStore};
use mailswitch_config::{DestinationName, FleetConfig, Resource, ResourceKey, SiteName};
use mailswitch_proto::identifier::{Identifier, Normalization};
use mailswitch_sources::{Counted, OpenError};

use super::alone::open;
use super::{Knowledge, Readiness};
use crate::report::Report;
use crate::route::Look;
use crate::sessions::{ActingFor, WaitPolicy};

fn config() -> FleetConfig {
    let resource = |kind: &str, name: &str, body: &str| Resource {
        key: ResourceKey {
            kind: kind.to_owned(),
            name: name.to_owned(),
            site: String::new(),
        },
        body: body.to_owned(),
    };
    let server =
        |host: &str| format!(r#"{{"host":"{host}","protocol":{{"imap":{{"port":993,"tls":"implicit"}}}}}}"#);
    let resources = [
        resource("destination", "old", &server("old.example.org")),
        resource("destination", "new", &server("new.example.org")),
        resource("routing", "", r#"{"default_destination":"old"}"#),
    ];
    let assembly = FleetConfig::from_resources(&resources, &SiteName::from(""), Files::Here);
    assert!(assembly.rejected.is_empty());
    FleetConfig {
        normalization: Normalization::Lowercase,
        ..assembly.config
    }
}

async fn alone(path: &Path) -> Result<Arc<Knowledge>, OpenError> {
    let store = MappingStore::File {
        path: path.to_owned(),
    };
    let alone = Alone {
        fleet: config(),
        mapping: Mapping::new(store),
    };
    open(&alone, &[], WaitPolicy::default(), Arc::new(Report::new().0)).await
}

async fn goes_to(node: &Knowledge, login: &str) -> DestinationName {
    let identifier = Identifier::from_login(login, &node.identifier_rules()).unwrap();
    let acting_for = ActingFor::one(identifier.clone(), []);
    assert_eq!(node.sessions().look(&acting_for), Look::AskSource);
    let found = node.mappings().unwrap().route(&identifier, Counted::Login).await;
    match Look::of(Some(&found)) {
        Look::Route(route) => route.destination,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_alone_routes_by_its_file_and_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mappings");
    std::fs::write(
        &path,
        "# moved\n\nAnn@example.org new since monday\nbob old\nbob new\n@whole.example new\n",
    )
    .unwrap();
    let node = alone(&path).await.unwrap();
    assert_eq!(node.readiness(), Readiness::Serving);
    assert_eq!(goes_to(&node, "ANN@example.org%root").await.as_str(), "new");
    assert_eq!(goes_to(&node, "bob").await.as_str(), "new", "the later line wins");
    assert_eq!(goes_to(&node, "eve@whole.example").await.as_str(), "new");
    assert_eq!(goes_to(&node, "cyd").await.as_str(), "old");
}

#[tokio::test]
async fn a_login_without_an_identifier_asks_no_source() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mappings");
    std::fs::write(&path, "").unwrap();
    let node = alone(&path).await.unwrap();
    match node.sessions().look(&ActingFor::nobody()) {
        Look::Route(route) => assert_eq!(route.destination.as_str(), "old"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_whose_mappings_cannot_be_had_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = alone(&missing).await.unwrap_err().to_string();
    assert!(
        error.contains("missing: the mapping file cannot be read"),
        "{error}"
    );
}
