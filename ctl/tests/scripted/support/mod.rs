//! A control plane whose answers the test writes, over real TLS, with certificates of `mailswitchctl pki`; and the
//! real binary as its client.

mod service;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mailswitch_proto::channel::{Credentials, Files, listen, server_builder};
use mailswitch_proto::control::v1::control_server::ControlServer;
use mailswitch_proto::control::v1::{
    CutoverStartRequest, HookFinishRequest, HookLease, HookRenewRequest, MappingImportRequest,
    NodeDrainRequest, NodeKicked, NodeSessions, Operation, Outcome, Problem, StatusResponse, Step,
};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What the test says and hears.
pub(crate) struct Script {
    /// The operation as it stands; watches see each of its changes.
    pub(crate) operation: watch::Sender<Operation>,
    /// The answer to a start; none: the operation.
    pub(crate) refusal: Mutex<Option<Problem>>,
    /// So many answers to a start are lost after it was done.
    pub(crate) lost_answers: Mutex<u32>,
    /// The answer to a renewal; none: no answer at all.
    pub(crate) lease: Mutex<Option<HookLease>>,
    pub(crate) started: Mutex<Vec<CutoverStartRequest>>,
    /// The trace context of each start.
    pub(crate) traceparents: Mutex<Vec<Option<String>>>,
    pub(crate) renewed: Mutex<Vec<HookRenewRequest>>,
    pub(crate) finished: Mutex<Vec<HookFinishRequest>>,
    /// When a copy finished: the step or outcome that follows.
    pub(crate) after_copy: Mutex<Option<Operation>>,
    /// So many watches end after their first state, as of an operation that nobody drives yet.
    pub(crate) short_watches: Mutex<u32>,
    /// What `node drain|resume` are answered, in turn; the last one again and again.
    pub(crate) drains: Mutex<Vec<Result<u64, Problem>>>,
    pub(crate) drained: Mutex<Vec<NodeDrainRequest>>,
    pub(crate) status: Mutex<StatusResponse>,
    pub(crate) sessions: Mutex<Vec<NodeSessions>>,
    pub(crate) kicks: Mutex<Vec<NodeKicked>>,
    /// The messages of all imports; each is answered with the refusal, when there is one.
    pub(crate) imported: Mutex<Vec<MappingImportRequest>>,
}

/// A running control plane, its certificates, and the way to call `mailswitchctl` on it.
pub(crate) struct Fleet {
    pub(crate) script: Arc<Script>,
    folder: tempfile::TempDir,
    address: SocketAddr,
    server: Option<Runtime>,
}

impl Fleet {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for arguments in [
            &["pki", "init", "pki"][..],
            &[
                "pki",
                "issue",
                "control-plane",
                "cp-1",
                "--dir",
                "pki",
                "--san",
                "127.0.0.1",
            ],
            &["pki", "issue", "operator", "carol", "--dir", "pki"],
        ] {
            let done = Command::new(BINARY)
                .args(arguments)
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(done.status.success(), "{done:?}");
        }
        let mut fleet = Self {
            script: Arc::new(Script {
                operation: watch::Sender::new(operation(Step::Holding)),
                refusal: Mutex::default(),
                lost_answers: Mutex::default(),
                lease: Mutex::new(Some(HookLease {
                    lease_millis: 60_000,
                    until_deadline_millis: 60_000,
                })),
                started: Mutex::default(),
                traceparents: Mutex::default(),
                renewed: Mutex::default(),
                finished: Mutex::default(),
                after_copy: Mutex::default(),
                short_watches: Mutex::default(),
                drains: Mutex::default(),
                drained: Mutex::default(),
                status: Mutex::default(),
                sessions: Mutex::default(),
                kicks: Mutex::default(),
                imported: Mutex::default(),
            }),
            folder,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            server: None,
        };
        fleet.resurrect();
        fleet
    }

    /// As `kill -9` does: listener and connections are gone.
    pub(crate) fn crash(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// On the address that it had.
    pub(crate) fn resurrect(&mut self) {
        let pki = self.folder.path().join("pki");
        let credentials = Credentials::load(Files {
            ca: pki.join("ca.pem"),
            cert: pki.join("control-plane-cp-1.pem"),
            key: pki.join("control-plane-cp-1.key"),
        })
        .unwrap();
        let server = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = server
            .block_on(tokio::net::TcpListener::bind(self.address))
            .unwrap();
        self.address = listener.local_addr().unwrap();
        let service = ControlServer::new(service::Scripted(self.script.clone()));
        server.spawn(async move {
            server_builder()
                .add_service(service)
                .serve_with_incoming(listen(listener, credentials))
                .await
                .unwrap();
        });
        self.server = Some(server);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let pki = self.folder.path().join("pki");
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("MAILSWITCH_ENDPOINT", self.endpoint())
            .env("MAILSWITCH_CA", pki.join("ca.pem"))
            .env("MAILSWITCH_CERT", pki.join("operator-carol.pem"))
            .env("MAILSWITCH_KEY", pki.join("operator-carol.key"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Ctl {
        let child = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Ctl(Some(child))
    }

    pub(crate) fn becomes(&self, step: Step, outcome: Outcome) {
        self.script
            .operation
            .send_modify(|operation| *operation = at(operation.clone(), step, outcome));
    }
}

/// A `mailswitchctl` that runs; killed when dropped.
pub(crate) struct Ctl(Option<Child>);

impl Ctl {
    pub(crate) fn output(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = self.0.as_ref().unwrap().id();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Ctl {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_mailswitchctl");

pub(crate) fn operation(step: Step) -> Operation {
    let operation = Operation {
        id: vec![1; 16],
        account: "alice@example.org".into(),
        identifiers: vec!["alice@example.org".into(), "alice".into()],
        from: vec!["legacy".into()],
        to: "new".into(),
        hold: vec![2; 16],
        ..Operation::default()
    };
    at(operation, step, Outcome::Unspecified)
}

pub(crate) fn at(operation: Operation, step: Step, outcome: Outcome) -> Operation {
    Operation {
        step: step.into(),
        outcome: outcome.into(),
        ..operation
    }
}

/// Waits for a condition, at most ten seconds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
pub(crate) fn exits(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "stdout:\n{}stderr:\n{}",
        stdout(output),
        stderr(output)
    );
}
