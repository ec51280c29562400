//! What is different for whom when a proxy becomes a node of a fleet. Only what holds for this very file is said.

use mailswitch_config::fleet::FleetConfig;
use mailswitch_config::node::Alone;
use mailswitch_config::table::destination::Host;
use mailswitch_config::table::mapping::MappingStore;
use mailswitch_proto::identifier::Normalization;
use serde::Serialize;

use super::mappings::Sorted;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `clients`, `scripts`, `this machine`, …
    pub whom: &'static str,
    /// What is different.
    pub what: String,
}

/// Everything that is different.
#[must_use]
pub fn changes(
    alone: &Alone,
    bare_domain: Option<&str>,
    has_admin: bool,
    sorted: Option<&Sorted>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut say = |whom, what: String| changes.push(Change { whom, what });
    match (&alone.fleet.normalization, bare_domain) {
        (Normalization::AsPresented, _) => say(
            "clients",
            "logins that differ only in upper and lower case are one from now on: Ann and ann go the same way".to_owned(),
        ),
        _ => say(
            "clients",
            "logins are compared in lower case as before; besides, however their letters and their domain are written \
             (composed or not, A-labels or not)"
                .to_owned(),
        ),
    }
    match bare_domain {
        Some(domain) => say("clients", format!("who signs in as alice is alice@{domain}: one mapping, one account")),
        None if sorted.is_some_and(has_bare_rows) => say(
            "clients",
            "alice and alice@example.org stay two logins, each with a mapping of its own; with --bare-domain \
             example.org they are one"
                .to_owned(),
        ),
        None => {}
    }
    say_of_store(&alone.mapping.store, &mut say);
    if has_admin {
        say(
            "scripts",
            "that change mappings over this proxy's management API change the fleet's instead: use mailswitchctl".to_owned(),
        );
    }
    say(
        "operators",
        "an account moves with `mailswitchctl cutover`, on every node at once. Until it is imported with all its logins \
         (`account import`), a login moves with `cutover --single`"
            .to_owned(),
    );
    say_of_machine(&alone.fleet, &mut say);
    changes
}

fn has_bare_rows(sorted: &Sorted) -> bool {
    sorted.rows.iter().any(|row| !row.identifier.contains('@'))
}

fn say_of_store(store: &MappingStore, say: &mut impl FnMut(&'static str, String)) {
    match store {
        MappingStore::File { path } => say(
            "operators",
            format!(
                "{} is read no more: who edits it changes nothing; `mailswitchctl mapping export` prints such a file",
                path.display()
            ),
        ),
        MappingStore::Redis(_) | MappingStore::Sql(_) => {
            say(
                "scripts",
                "that write into the store directly change nothing any more: use `mailswitchctl mapping set` or `cutover`"
                    .to_owned(),
            );
            say(
                "clients",
                "a store that fails no longer sends anybody to the default destination: each node holds every mapping"
                    .to_owned(),
            );
        }
    }
}

/// What one machine has and the next one has not.
fn say_of_machine(fleet: &FleetConfig, say: &mut impl FnMut(&'static str, String)) {
    for destination in fleet.destinations.values() {
        let name = &destination.name;
        if !destination.source_ips.is_empty() {
            say(
                "other nodes",
                format!(
                    "destination \"{name}\" has source_ips of this machine: write those of each site as \
                     [site.NAME.destination.{name}] source_ips = […]"
                ),
            );
        }
        if destination.client_certificate.is_some() {
            say(
                "other nodes",
                format!(
                    "destination \"{name}\" has a client certificate: its files must stand on every node"
                ),
            );
        }
        let loopback = match &destination.host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(host) => host == "localhost",
        };
        if loopback {
            say(
                "other nodes",
                format!(
                    "destination \"{name}\" is at {}, which is another machine on each node: write an address that all \
                     can reach",
                    destination.host
                ),
            );
        }
    }
}
