//! A node that runs alone, from its mapping file (behaviour section 10).

use std::path::Path;
use std::sync::Arc;

use mailswitch_config::fleet::Files;
use mailswitch_config::table::mapping::MappingStore;
use mailswitch_config::{DestinationName, FleetConfig, Resource, ResourceKey, SiteName};
use mailswitch_proto::identifier::{Identifier, Normalization};

use super::file::{FileError, open, reload};
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

fn alone(path: &Path) -> Result<Arc<Knowledge>, FileError> {
    let store = MappingStore::File {
        path: path.to_owned(),
    };
    open(config(), &store, WaitPolicy::default(), Arc::new(Report::new().0))
}

fn goes_to(node: &Knowledge, login: &str) -> DestinationName {
    let identifier = Identifier::from_login(login, &node.identifier_rules()).unwrap();
    match node.sessions().look(&ActingFor::one(identifier, [])) {
        Look::Route(route) => route.destination,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_alone_routes_by_its_file_and_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mappings");
    std::fs::write(
        &path,
        "# moved\n\nAnn@example.org new since monday\nbob old\nbob new\n",
    )
    .unwrap();
    let node = alone(&path).unwrap();
    assert_eq!(node.readiness(), Readiness::Serving);
    assert_eq!(goes_to(&node, "ANN@example.org%root").as_str(), "new");
    assert_eq!(goes_to(&node, "bob").as_str(), "new", "the later line wins");
    assert_eq!(goes_to(&node, "cyd").as_str(), "old");
}

#[test]
fn a_line_that_cannot_be_used_is_named_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mappings");
    std::fs::write(&path, "ann new\n").unwrap();
    let node = alone(&path).unwrap();
    for (text, line, words) in [
        ("ann old\nbob\n", 2, "without a destination"),
        ("# x\nann nowhere\n", 2, "new, old"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = reload(&node, &path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("mappings:{line}: ")) && error.contains(words),
            "{error}"
        );
        assert_eq!(goes_to(&node, "ann").as_str(), "new");
    }
    std::fs::write(&path, "ann old\n").unwrap();
    reload(&node, &path).unwrap();
    assert_eq!(goes_to(&node, "ann").as_str(), "old");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(alone(&path), Err(FileError::Read { .. })));
}
