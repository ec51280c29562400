//! `/destinations`, `/destinations/reset` and the connections of `/stats` (management API 3.1, 3.2).

use serde_json::json;

use crate::rig::{Differences, World, world};

/// A login whose backend closes at once.
async fn failed_login(world: &World) {
    let mut client = world.client().await;
    client.say("a LOGIN ann@x.example secret\r\n").await;
    for _ in 0..2 {
        drop(world.old.silent().await);
    }
    client.expect("a NO [UNAVAILABLE]").await;
}

#[tokio::test]
async fn every_destination_is_listed_in_the_order_of_their_names_with_the_state_of_its_breaker() {
    let world = world(Differences {
        server: "host_down_threshold = 2\nhost_down_min_clients = 1",
        tables: "[destination.alpha]\nhost = \"127.0.0.1\"\nallow_plaintext_auth = true\n\
                 protocol.imap = { port = 9, tls = \"plain\", forwarding = \"none\" }\n",
        ..Differences::default()
    })
    .await;
    let quiet = |name: &str| {
        json!({ "destination": name, "consecutive_failures": 0, "failure_sources": 0,
                "host_level_failure": false, "down": false, "protocols": [] })
    };
    let listed = world.api.get("/destinations").await;
    assert_eq!(listed.status, 200);
    assert_eq!(
        listed.json(),
        json!({ "destinations": [quiet("alpha"), quiet("new"), quiet("old")] })
    );
    failed_login(&world).await;
    let old = &world.api.get("/destinations").await.json()["destinations"][2];
    assert_eq!(old["consecutive_failures"], 1);
    assert_eq!(
        (&old["failure_sources"], &old["down"]),
        (&json!(1), &json!(false))
    );
    failed_login(&world).await;
    let old = &world.api.get("/destinations").await.json()["destinations"][2];
    assert_eq!(old["down"], true, "{old}");
    assert_eq!(old["host_level_failure"], false);
    assert_eq!(old["protocols"][0]["protocol"], "imap");
    // The API does not say who.
    assert!(!old.to_string().contains("127.0.0.1"), "{old}");

    let reset = world.api.post("/destinations/reset?destination=old").await;
    reset.expect(200, "ok\n");
    assert_eq!(
        world.api.get("/destinations").await.json()["destinations"][2],
        quiet("old")
    );
    world.session("ann@x.example", &world.old).await;
}

#[tokio::test]
async fn a_host_that_takes_no_connection_is_told_from_one_that_closes_them() {
    let world = world(Differences {
        // Port 9 of this machine: nobody listens.
        tables: "[destination.dead]\nhost = \"127.0.0.1\"\nallow_plaintext_auth = true\n\
                 protocol.imap = { port = 9, tls = \"plain\", forwarding = \"none\" }\n",
        moved: "bob@x.example dead\n",
        ..Differences::default()
    })
    .await;
    failed_login(&world).await;
    let mut client = world.client().await;
    client.say("b LOGIN bob@x.example secret\r\n").await;
    client.expect("b NO [UNAVAILABLE]").await;
    let listed = world.api.get("/destinations").await.json();
    // A failure of the host is no client's.
    for (number, name, host_level, sources) in [(0, "dead", true, 0), (2, "old", false, 1)] {
        let destination = &listed["destinations"][number];
        assert_eq!(destination["destination"], name);
        assert_eq!(destination["host_level_failure"], host_level, "{destination}");
        assert_eq!(destination["failure_sources"], sources, "{destination}");
        assert_eq!(destination["consecutive_failures"], 1, "{destination}");
    }
}

#[tokio::test]
async fn a_reset_names_a_destination_that_there_is() {
    let world = world(Differences::default()).await;
    let missing = world.api.post("/destinations/reset").await;
    missing.expect(400, "missing parameter: destination\n");
    let unknown = world.api.post("/destinations/reset?destination=OLD").await;
    unknown.expect(404, "unknown destination: OLD\n");
}

#[tokio::test]
async fn stats_count_the_connections_of_clients_and_not_those_of_the_api() {
    let world = world(Differences::default()).await;
    let stats = async || world.api.get("/stats").await.json();
    let mut fields: Vec<String> = stats().await.as_object().unwrap().keys().cloned().collect();
    fields.sort();
    for field in [
        "active_connections",
        "cache_entries",
        "cache_hits",
        "cache_misses",
        "hit_rate_pct",
    ] {
        assert!(fields.iter().any(|known| known == field), "{field}: {fields:?}");
    }
    assert_eq!(stats().await["active_connections"], 0);
    let _before_login = world.client().await;
    let _session = world.session("ann@x.example", &world.old).await;
    assert_eq!(stats().await["active_connections"], 2);
}
