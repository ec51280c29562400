//! `POST /config/reload` (management API 3.4, configuration 4): what follows, what waits for a restart, and that a bad file
//! disturbs nobody.

use mailswitch_config::node::Environment;
use mailswitch_data_plane::node::reload::Origin;
use serde_json::json;

use crate::rig::{Answer, Api, Differences, TOKEN, World, certificate, toml, world};

/// A world whose node knows its file.
async fn from_file(differences: Differences<'_>) -> World {
    let world = world(differences).await;
    let running = world.running.as_ref().expect("a node");
    running.reloader().reads(Origin {
        path: world.files.path().join("node.toml"),
        environment: Environment::default(),
        levels: None,
    });
    world
}

fn write(world: &World, text: &str) {
    std::fs::write(world.files.path().join("node.toml"), text).expect("written");
}

/// Another file, and what comes of it.
async fn reload(world: &World, differences: Differences<'_>) -> Answer {
    write(world, &toml(&world.files, &world.old, &world.new, &differences));
    world.api.post("/config/reload").await
}

#[tokio::test]
async fn a_node_that_was_not_started_from_a_file_answers_503() {
    let world = world(Differences::default()).await;
    let answer = world.api.post("/config/reload").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.starts_with("reload failed: "), "{}", answer.body);
}

#[tokio::test]
async fn a_new_default_destination_is_where_the_next_login_goes_and_who_is_signed_in_stays() {
    let world = from_file(Differences::default()).await;
    let (mut stays, mut its_backend) = world.session("ann@x.example", &world.old).await;
    // Connected, and not yet resolved.
    let mut before = world.client().await;
    let text = toml(&world.files, &world.old, &world.new, &Differences::default());
    write(
        &world,
        &text.replace("default_destination = \"old\"", "default_destination = \"new\""),
    );
    let answer = world.api.post("/config/reload").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let said = answer.json();
    assert_eq!(said["reloaded"], true);
    assert!(said["note"].as_str().unwrap().contains("restart"));
    assert_eq!(
        (&said["restart_required"], &said["warnings"]),
        (&json!([]), &json!([]))
    );
    before.say("a LOGIN bob@x.example secret\r\n").await;
    let mut backend = world.new.greeted().await;
    backend.expect("a AUTHENTICATE PLAIN").await;
    its_backend.say("* 1 EXISTS\r\n").await;
    stays.expect("* 1 EXISTS").await;
}

#[tokio::test]
async fn the_mapping_file_is_read_anew() {
    let world = from_file(Differences::default()).await;
    std::fs::write(world.moved(), "ann@x.example new\n").unwrap();
    assert_eq!(reload(&world, Differences::default()).await.status, 200);
    world.session("ann@x.example", &world.new).await;
    std::fs::write(world.moved(), "ann@x.example nowhere\n").unwrap();
    let refused = reload(&world, Differences::default()).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.body.contains("moved.tsv:1") && refused.body.contains("nowhere"),
        "{}",
        refused.body
    );
    world.session("ann@x.example", &world.new).await;
}

#[tokio::test]
async fn must_do_better_limits_and_times_of_a_listener_follow() {
    let world = from_file(Differences::default()).await;
    let answer = reload(
        &world,
        Differences {
            listener: "max_connections = 1\nmax_auth_attempts = 1\npreauth_timeout = \"1s\"",
            ..Differences::default()
        },
    )
    .await;
    assert_eq!(answer.json()["restart_required"], json!([]));
    let mut only = world.client().await;
    let mut second = crate::rig::Talk::new(tokio::net::TcpStream::connect(world.imap).await.unwrap());
    assert_eq!(second.rest().await, "", "the listener is full");
    only.say("a AUTHENTICATE NOTHING\r\n").await;
    only.expect("a NO").await;
    only.expect("* BYE").await;
}

#[tokio::test]
async fn a_bad_file_is_refused_with_everything_that_is_wrong_and_disturbs_nobody() {
    let world = from_file(Differences::default()).await;
    let (mut client, mut backend) = world.session("ann@x.example", &world.old).await;
    let text = toml(&world.files, &world.old, &world.new, &Differences::default());
    let wrong = text
        .replace(
            "default_destination = \"old\"",
            "default_destination = \"nowhere\"",
        )
        .replace("tls = \"plain\"\n\n", "tls = \"maybe\"\n\n")
        .replace(TOKEN, "a-short-token");
    write(&world, &wrong);
    let answer = world.api.post("/config/reload").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with("reload failed: "), "{}", answer.body);
    for named in [
        "nowhere",
        "node.toml:",
        "routing.default_destination",
        "bearer_token",
    ] {
        assert!(answer.body.contains(named), "{named}: {}", answer.body);
    }
    assert_eq!(answer.body.lines().count(), 1);
    assert!(!answer.body.contains("a-short-token"), "{}", answer.body);
    std::fs::remove_file(world.files.path().join("node.toml")).unwrap();
    assert_eq!(world.api.post("/config/reload").await.status, 400);
    write(&world, "this is no TOML");
    assert_eq!(world.api.post("/config/reload").await.status, 400);

    backend.say("* 1 EXISTS\r\n").await;
    client.expect("* 1 EXISTS").await;
    world.session("bob@x.example", &world.old).await;
}

#[tokio::test]
async fn must_do_better_the_answer_lists_exactly_what_waits_for_a_restart() {
    let world = from_file(Differences::default()).await;
    let answer = reload(
        &world,
        Differences {
            server: "threads = 3",
            admin: "bind = \"127.0.0.1:1\"\nbearer_token = \"another-token-that-is-long-enough\"\nlockout_threshold = 1",
            listener: "bind = [\"127.0.0.1:2\"]\ntls = \"starttls\"\nproxy_protocol = \"optional\"\n\
                       proxy_trusted = [\"127.0.0.1\"]",
            mapping: "cache_max_entries = 5\npositive_ttl = \"1s\"\nnegative_ttl = \"1s\"",
            tables: "[listener.more]\nprotocol = \"imap\"\nbind = [\"127.0.0.1:3\"]\ntls = \"plain\"\n",
            ..Differences::default()
        },
    )
    .await;
    let mut listed: Vec<String> = serde_json::from_value(answer.json()["restart_required"].clone()).unwrap();
    listed.sort();
    assert_eq!(
        listed,
        [
            "admin.bearer_token",
            "admin.bind",
            "listener.imap.bind",
            "listener.imap.proxy_protocol",
            "listener.imap.tls",
            "listener.more",
            "mapping.cache_max_entries",
            "mapping.negative_ttl",
            "mapping.positive_ttl",
            "server.threads",
        ]
    );
    // The token of the start is still the token; the lockout has followed.
    assert_eq!(world.api.get("/stats").await.status, 200);
    let wrong = std::net::Ipv4Addr::new(127, 0, 0, 7);
    for status in [401, 429] {
        assert_eq!(
            world.api.ask_from(wrong, "x", "GET", "/stats").await.status,
            status
        );
    }
    let back = reload(&world, Differences::default()).await;
    assert_eq!(back.json()["restart_required"], json!([]));
}

#[tokio::test]
async fn warnings_are_in_the_answer() {
    let world = from_file(Differences::default()).await;
    let answer = reload(
        &world,
        Differences {
            server: "hostnam = \"x\"",
            ..Differences::default()
        },
    )
    .await;
    let warnings = answer.json()["warnings"].to_string();
    assert!(
        warnings.contains("hostnam") && warnings.contains("hostname"),
        "{warnings}"
    );
}

#[tokio::test]
async fn must_do_better_the_api_itself_shows_the_new_certificate() {
    let world = from_file(Differences::default()).await;
    let trust = certificate(&world.files, "second");
    let here = world.files.path().display();
    let tables =
        format!("[tls.certificate.other]\ncert = \"{here}/second.crt\"\nkey = \"{here}/second.key\"\n");
    let answer = reload(
        &world,
        Differences {
            tables: &tables,
            ..Differences::default()
        },
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let api = Api {
        address: world.api.address,
        trust,
    };
    api.get("/healthz").await.expect(200, "ok\n");
}

#[tokio::test]
async fn must_do_better_breakers_survive_for_destinations_that_are_the_same() {
    let world = from_file(Differences {
        server: "backend_connect_retries = 0",
        ..Differences::default()
    })
    .await;
    let mut client = world.client().await;
    client.say("a LOGIN ann@x.example secret\r\n").await;
    drop(world.old.silent().await);
    client.expect("a NO [UNAVAILABLE]").await;
    let failures = async || {
        world.api.get("/destinations").await.json()["destinations"][1]["consecutive_failures"].clone()
    };
    assert_eq!(failures().await, 1);
    assert_eq!(reload(&world, Differences::default()).await.status, 200);
    assert_eq!(failures().await, 1);
    let moved = toml(&world.files, &world.old, &world.new, &Differences::default()).replace(
        "[destination.old]\nhost = \"127.0.0.1\"",
        "[destination.old]\nhost = \"127.0.0.2\"",
    );
    write(&world, &moved);
    assert_eq!(world.api.post("/config/reload").await.status, 200);
    assert_eq!(failures().await, 0, "it is another server");
}
