//! A database of the operator's: the control plane starts when it can be used, and says until then what it waits for.

// A test says with a panic what it did not expect.
#![allow(clippy::unwrap_used)]

#[path = "stage/authority.rs"]
#[allow(dead_code, unreachable_pub, reason = "every test file uses its own part")]
mod authority;
mod scene;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use mailswitch_config::table::telemetry::Identifiers;
use mailswitch_control_plane::database::{Database, OpenError, Place, Waiting};
use mailswitch_control_plane::process::{ControlPlane, Settings, StartError};
use mailswitch_control_plane::routing::log::Bounds;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scene::Scene;

fn settings<'a>(url: &'a str, state_dir: &'a std::path::Path, waiting: &Waiting) -> Settings<'a> {
    Settings {
        place: Place::Url(url),
        state_dir,
        replica: "cp-1".to_owned(),
        advertise: "https://localhost".to_owned(),
        bounds: Bounds::default(),
        identifiers: Identifiers::Redacted,
        waiting: waiting.clone(),
    }
}

async fn until_it_says(waiting: &Waiting, what: &str) {
    let said = async {
        while !waiting.awaited().is_some_and(|awaited| awaited.contains(what)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), said).await;
    assert!(in_time.is_ok(), "{what:?}: {:?}", waiting.awaited());
    assert!(
        !waiting.awaited().unwrap().contains("hunter2"),
        "no password is said"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_a_database_that_is_down_for_a_password_and_for_a_database_of_that_name() {
    let scene = Scene::bare().await;
    let socket = scene
        .database
        .pool()
        .connect_options()
        .get_socket()
        .unwrap()
        .clone();
    sqlx::raw_sql("CREATE ROLE guest LOGIN PASSWORD 'another'")
        .execute(scene.database.pool())
        .await
        .unwrap();
    let Scene {
        database,
        watchdog: _watchdog,
        state_dir: server,
        writer,
    } = scene;
    drop(writer);
    database.close().await;

    let url = format!(
        "postgres://guest:hunter2@localhost/fleet?host={}",
        socket.display()
    );
    let own = tempfile::tempdir().unwrap();
    let waiting = Waiting::default();
    let starting = ControlPlane::start(settings(&url, own.path(), &waiting));
    let operator = async {
        until_it_says(&waiting, "cannot be reached").await;
        let database = Database::open(Place::Private(server.path())).await.unwrap();
        until_it_says(&waiting, "password authentication failed").await;
        sqlx::raw_sql("ALTER ROLE guest PASSWORD 'hunter2'")
            .execute(database.pool())
            .await
            .unwrap();
        until_it_says(&waiting, "database \"fleet\" does not exist").await;
        sqlx::raw_sql("CREATE DATABASE fleet OWNER guest")
            .execute(database.pool())
            .await
            .unwrap();
        database
    };
    let (started, server_of_it) = tokio::join!(starting, operator);
    let replica = started.unwrap();
    assert_eq!(waiting.awaited(), None);
    assert_eq!(replica.plane.kind.place, "external");
    replica.plane.stopping.cancel();
    replica.tasks.wait().await;
    replica.database.close().await;
    server_of_it.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_wait_and_a_url_that_is_none_ends_the_start() {
    let own = tempfile::tempdir().unwrap();
    let waiting = Waiting::default();
    let url = format!("postgres://guest@localhost/fleet?host={}", own.path().display());
    let starting = ControlPlane::start(settings(&url, own.path(), &waiting));
    let operator = async {
        until_it_says(&waiting, "cannot be reached").await;
        waiting.stop.cancel();
    };
    let (started, ()) = tokio::join!(starting, operator);
    assert!(matches!(started.err(), Some(StartError::Stopped)));

    let started = ControlPlane::start(settings("postgres://[", own.path(), &Waiting::default())).await;
    assert!(matches!(started.err(), Some(StartError::Open(OpenError::Url(_)))));
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn page(address: SocketAddr, path: &str) -> String {
    let mut answer = String::new();
    // Refused: it is not up yet.
    if let Ok(mut stream) = TcpStream::connect(address) {
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        stream.read_to_string(&mut answer).unwrap();
    }
    answer
}

#[test]
fn the_program_says_on_its_pages_and_in_its_log_what_it_waits_for_and_stops_in_order() {
    let authority = authority::Authority::new();
    let files = authority.files("urn:mailswitch:control-plane:cp-1");
    let own = tempfile::tempdir().unwrap();
    let (bind, metrics) = (free(), free());
    let config = own.path().join("control-plane.toml");
    let text = format!(
        "[control_plane]\nbind = \"{bind}\"\nadvertise = \"https://{bind}\"\nstate_dir = {state:?}\nca = {ca:?}\n\
         cert = {cert:?}\nkey = {key:?}\n[metrics]\nbind = \"{metrics}\"\n[database]\n\
         url = \"postgres://guest:hunter2@127.0.0.1:{port}/fleet\"\n",
        state = own.path().join("state"),
        ca = files.ca,
        cert = files.cert,
        key = files.key,
        port = free().port(),
    );
    std::fs::write(&config, text).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_mailswitch-control-plane"))
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let ready = loop {
        let ready = page(metrics, "/readyz");
        if ready.contains("waiting for the database") || std::time::Instant::now() > deadline {
            break ready;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let health = page(metrics, "/healthz");
    let listens = TcpStream::connect(bind).is_ok();
    kill(Pid::from_raw(program.id().cast_signed()), Signal::SIGTERM).unwrap();
    let status = program.wait().unwrap();
    let mut said = String::new();
    program.stdout.unwrap().read_to_string(&mut said).unwrap();
    program.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready} {said}");
    assert!(ready.contains("database \"fleet\" on 127.0.0.1"), "{ready}");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(!listens, "who comes is turned away at once");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("waiting for the database"), "{said}");
    assert!(!said.contains("hunter2") && !ready.contains("hunter2"), "{said}");
}
