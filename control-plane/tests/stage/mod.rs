//! A real control plane on its private PostgreSQL, behind real mTLS, with clients in the same process: operators, and
//! nodes that keep what they are sent and check the digest chain as a node does.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file uses its own part"
)]

pub mod authority;
pub mod node;
pub mod watchdog;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use mailswitch_control_plane::database::{Place, Waiting};
use mailswitch_control_plane::process::Settings;
use mailswitch_control_plane::routing::log::Bounds;
use mailswitch_control_plane::server::{self, Running};
use mailswitch_proto::channel::{Link, connect};
use mailswitch_proto::control::v1::control_client::ControlClient;
use mailswitch_proto::control::v1::{self as control, Problem};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Response, Status};

use self::authority::Authority;
use self::node::{Node, Self_};

/// Two destinations; everybody starts on the old one.
pub const CONFIGURATION: &str = r#"
[routing]
default_destination = "legacy"
bare_domain = "example.org"

[destination.legacy]
host = "legacy.example.org"
[destination.legacy.protocol]
imap = { port = 993, tls = "implicit" }

[destination.new]
host = "new.example.org"
[destination.new.protocol]
imap = { port = 993, tls = "implicit" }
"#;

/// How long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(20);

/// A control plane that can be stopped and started again on the same state.
pub struct Stage {
    pub authority: Authority,
    pub folder: TempDir,
    pub running: Option<Running>,
    pub address: SocketAddr,
    pub bounds: Bounds,
    watchdog: watchdog::Watchdog,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with_log(Bounds::default()).await
    }

    /// With these bounds of the log in memory.
    pub async fn with_log(bounds: Bounds) -> Self {
        server::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let mut stage = Self {
            authority: Authority::new(),
            watchdog: watchdog::Watchdog::over(folder.path()),
            folder,
            running: None,
            address: "127.0.0.1:0".parse().unwrap(),
            bounds,
        };
        stage.start().await;
        stage
    }

    /// With the usual configuration applied.
    pub async fn configured() -> Self {
        let stage = Self::new().await;
        stage.apply(CONFIGURATION).await;
        stage
    }

    pub async fn start(&mut self) {
        let listener = tokio::net::TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let settings = Settings {
            place: Place::Private(self.folder.path()),
            state_dir: self.folder.path(),
            replica: "cp-1".to_owned(),
            advertise: self.endpoint(),
            bounds: self.bounds,
            identifiers: mailswitch_config::table::telemetry::Identifiers::Redacted,
            waiting: Waiting::default(),
        };
        let credentials = self.authority.control_plane();
        self.running = Some(server::serve(settings, listener, credentials).await.unwrap());
    }

    pub async fn stop(&mut self) {
        let running = self.running.take().expect("it runs");
        running.stop(Duration::from_millis(100)).await;
    }

    pub fn plane(&self) -> &mailswitch_control_plane::process::ControlPlane {
        &self.running.as_ref().expect("it runs").plane
    }

    pub fn state_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The private PostgreSQL's first process.
    pub fn postmaster(&self) -> Pid {
        let text = std::fs::read_to_string(self.state_dir().join("postgresql/postmaster.pid")).unwrap();
        Pid::from_raw(text.lines().next().unwrap().trim().parse().unwrap())
    }

    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    pub async fn link(&self, urn: &str) -> Link {
        connect(&self.endpoint(), &self.authority.client(urn))
            .await
            .unwrap()
    }

    /// A client with a certificate of this role.
    pub async fn client(&self, role: &str) -> ControlClient<Channel> {
        let link = self.link(&format!("urn:mailswitch:{role}:test")).await;
        ControlClient::new(link.channel())
    }

    pub async fn operator(&self) -> ControlClient<Channel> {
        self.client("operator").await
    }

    pub async fn apply(&self, toml: &str) -> control::ApplyResponse {
        let request = control::ApplyRequest {
            change: because("a test"),
            toml: toml.to_owned(),
            file: "fleet.toml".to_owned(),
            unproven: false,
        };
        answered(self.operator().await.apply(request).await)
    }

    pub async fn map(&self, identifier: &str, destination: &str) -> control::Committed {
        let request = control::MappingSetRequest {
            change: because("a test"),
            identifier: identifier.to_owned(),
            destination: destination.to_owned(),
            unproven: true,
        };
        answered(self.operator().await.mapping_set(request).await)
    }

    /// An account with these identifiers.
    pub async fn account(&self, identifiers: &[&str]) {
        let account = control::Account {
            identifiers: identifiers.iter().map(|text| (*text).to_owned()).collect(),
            ..Default::default()
        };
        let request = control::AccountImportRequest {
            change: because("a test"),
            accounts: vec![account],
            unproven: false,
        };
        answered(
            self.operator()
                .await
                .account_import(tokio_stream::once(request))
                .await,
        );
    }

    pub async fn status(&self) -> control::StatusResponse {
        answered(
            self.client("viewer")
                .await
                .status(control::StatusRequest {})
                .await,
        )
    }

    /// A node that says Hello with nothing known.
    pub async fn node(&self, name: &str) -> Node {
        Node::connect(self, Self_::new(name)).await
    }
}

impl Drop for Stage {
    /// A test that failed leaves no server behind.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(running.stop(Duration::ZERO));
            });
        }
    }
}

pub fn because(reason: &str) -> Option<control::ChangeContext> {
    Some(control::ChangeContext {
        reason: reason.to_owned(),
        ..Default::default()
    })
}

#[track_caller]
pub fn answered<T>(answer: Result<Response<T>, Status>) -> T {
    match answer {
        Ok(response) => response.into_inner(),
        Err(status) => panic!("refused: {status:?} {:?}", Problem::of_status(&status)),
    }
}

#[track_caller]
pub fn refused<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> Problem {
    let status = answer.expect_err("it is refused");
    Problem::of_status(&status).unwrap_or_else(|| panic!("a refusal without a problem: {status:?}"))
}

/// Waits until it is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(SOON, waiting).await.is_ok(),
        "not so: {what}"
    );
}

/// The backends of a postmaster, stopped.
pub fn stop_children(parent: Pid) -> Vec<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    let pids = children
        .split_whitespace()
        .map(|pid| Pid::from_raw(pid.parse().unwrap()));
    pids.filter(|pid| kill(*pid, Signal::SIGSTOP).is_ok()).collect()
}
