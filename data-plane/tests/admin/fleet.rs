//! The API of a node of a fleet: mappings are shown and not written; everything of its own sessions and breakers is as
//! of a lone node. This one has never met its control plane; with one: `tests/e2e/cut_off.rs`.

use std::net::SocketAddr;

use mailswitch_config::NodeConfig;
use mailswitch_config::node::Environment;
use mailswitch_data_plane::node::{Running, start};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Api, TOKEN, Talk, certificate};

struct OfAFleet {
    api: Api,
    imap: SocketAddr,
    _running: Running,
    _files: TempDir,
}

/// The certificate of a node with this name, which vouches for itself.
fn identity(files: &TempDir, name: &str) {
    let mut parameters = rcgen::CertificateParams::default();
    let urn = format!("urn:mailswitch:node:{name}").try_into().expect("a name");
    parameters.subject_alt_names.push(rcgen::SanType::URI(urn));
    let key = rcgen::KeyPair::generate().expect("made");
    let certificate = parameters.self_signed(&key).expect("made");
    std::fs::write(files.path().join("node.crt"), certificate.pem()).expect("made");
    std::fs::write(files.path().join("node.key"), key.serialize_pem()).expect("made");
}

async fn of_a_fleet() -> OfAFleet {
    let files = tempfile::tempdir().expect("made");
    let trust = certificate(&files, "first");
    identity(&files, "fra-1");
    // It is there, and never answers.
    let control_plane = TcpListener::bind("127.0.0.1:0").await.expect("it starts");
    let here = files.path().display();
    let text = format!(
        "[tls.certificate.public]\ncert = \"{here}/first.crt\"\nkey = \"{here}/first.key\"\ndefault = true\n\
         [mapping]\nsource = \"control-plane\"\n\
         [control_plane]\nendpoints = [\"https://{}\"]\nnode = \"fra-1\"\nsite = \"fra\"\nca = \"{here}/node.crt\"\n\
         cert = \"{here}/node.crt\"\nkey = \"{here}/node.key\"\nstate_dir = \"{here}/state\"\n\
         [listener.imap]\nprotocol = \"imap\"\nbind = [\"127.0.0.1:0\"]\ntls = \"implicit\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\nbearer_token = \"{TOKEN}\"\n",
        control_plane.local_addr().expect("made")
    );
    let path = files.path().join("node.toml");
    std::fs::write(&path, text).expect("made");
    let checked =
        NodeConfig::load(&path, &Environment::default()).unwrap_or_else(|findings| panic!("{findings}"));
    let running = start(checked.config, 4096, None).await.expect("it starts");
    OfAFleet {
        api: Api {
            address: running.admin_address().expect("made"),
            trust,
        },
        imap: running.addresses()[0],
        _running: running,
        _files: files,
    }
}

#[tokio::test]
async fn mappings_are_not_written_on_a_node_of_a_fleet_and_it_says_who_does() {
    let node = of_a_fleet().await;
    let fleets =
        "this node belongs to a fleet: move accounts with mailswitchctl cutover, or mailswitchctl mapping\n";
    for (method, target) in [
        ("PUT", "/mappings?identifier=ann@x.example&destination=nowhere"),
        ("DELETE", "/mappings?identifier=ann@x.example"),
    ] {
        node.api.ask(method, target).await.expect(501, fleets);
    }
    // What is wrong with the request is said first, as of a lone node.
    for (target, why) in [
        ("/mappings", "missing parameter: identifier\n"),
        ("/mappings?identifier=ann", "missing parameter: destination\n"),
    ] {
        node.api.put(target).await.expect(400, why);
    }
    // There is no file, and no cache: nothing to do, and no failure.
    node.api.post("/mappings/reload").await.expect(200, "reloaded\n");
    node.api.post("/cache/invalidate").await.expect(200, "ok\n");
}

#[tokio::test]
async fn what_a_login_would_meet_is_shown_with_the_revision_and_the_age_that_it_rests_on() {
    let node = of_a_fleet().await;
    let shown = node.api.get("/mappings?identifier=Ann@X.example").await.json();
    assert_eq!(
        shown,
        json!({
            "identifier": "Ann@X.example", "normalized": "ann@x.example", "destination": null,
            "routed_to_default": false, "cached": true, "source": "refused",
            "reason": "this node has not synced with the control plane yet", "revision": 0, "sync_age_secs": null,
        })
    );
    let stats = node.api.get("/stats").await.json();
    assert_eq!(
        (&stats["revision"], &stats["sync_age_secs"]),
        (&json!(0), &json!(null))
    );
    assert_eq!(
        (&stats["cache_hits"], &stats["cache_entries"]),
        (&json!(0), &json!(0))
    );
    assert!(
        stats.get("sync_age_secs").is_some(),
        "not since it started is said, not left out"
    );
    let none = node.api.get("/destinations").await.json();
    assert_eq!(none, json!({ "destinations": [] }));
}

#[tokio::test]
async fn sessions_and_breakers_of_a_node_of_a_fleet_are_asked_and_told_as_of_a_lone_one() {
    let node = of_a_fleet().await;
    node.api.get("/healthz").await.expect(200, "ok\n");
    let kicked = node.api.post("/connections/kick?identifier=ann@x.example").await;
    kicked.expect(200, "kicked 0\n");
    let delayed = node
        .api
        .post("/connections/delay?identifier=ann@x.example&seconds=0")
        .await;
    delayed.expect(200, "ok\n");
    let unknown = node.api.post("/destinations/reset?destination=old").await;
    unknown.expect(404, "unknown destination: old\n");
    // It was not started from a file here.
    assert_eq!(node.api.post("/config/reload").await.status, 503);
    // It is one that listens.
    let _client = Talk::new(TcpStream::connect(node.imap).await.unwrap());
}
