//! Sockets from a supervisor, by systemd's protocol: matched by address, kept while no node runs, and none too many.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    ca::Ca, client::script, dovecot::listens, fleet::program, place::Place, process::Process,
    when::wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// Starts the program with sockets, and starts it again when it ends.
struct Supervisor {
    child: Child,
    says: BufReader<ChildStdout>,
    node: Option<Pid>,
}

impl Supervisor {
    fn start(config: &Path, sockets: &[Value]) -> Result<Self> {
        let job = json!({ "sockets": sockets, "again": true });
        let mut child = Command::new("python3")
            .arg(script("pass_sockets.py"))
            .arg(job.to_string())
            .arg(program("mailswitch-data-plane")?)
            .arg(config)
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let says = BufReader::new(child.stdout.take().context("its output")?);
        let mut supervisor = Self {
            child,
            says,
            node: None,
        };
        supervisor.wait_started()?;
        Ok(supervisor)
    }

    fn wait_started(&mut self) -> Result<()> {
        loop {
            let mut line = String::new();
            ensure!(self.says.read_line(&mut line)? > 0, "the supervisor ended");
            if let Some(pid) = line.strip_prefix("started ") {
                self.node = Some(Pid::from_raw(pid.trim().parse()?));
                return Ok(());
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let Some(node) = self.node {
            let _ = kill(node, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// A node alone, with one or two listeners, in front of nothing.
fn config(place: &Place, ca: &Ca, name: &str, listeners: &[SocketAddr]) -> Result<PathBuf> {
    let folder = place.folder(name)?;
    let certificate = ca.issue(&folder, "node.test", listeners[0].ip())?;
    let moved = folder.join("moved.tsv");
    std::fs::write(&moved, "")?;
    let mut text = format!(
        "[tls.certificate.a]\ncert = \"{}\"\nkey = \"{}\"\n[routing]\ndefault_destination = \"a\"\n[mapping]\nsource = \
         \"file\"\n[mapping.file]\npath = \"{}\"\n[destination.a]\nhost = \"127.0.0.1\"\nallow_plaintext_auth = \
         true\n[destination.a.protocol]\nimap = {{ port = 9, tls = \"plain\" }}\npop3 = {{ port = 9, tls = \"plain\" }}\n",
        certificate.cert.display(),
        certificate.key.display(),
        moved.display(),
    );
    for (protocol, listener) in ["imap", "pop3"].iter().zip(listeners) {
        text += &format!(
            "[listener.{protocol}]\nprotocol = \"{protocol}\"\nbind = [\"{listener}\"]\ntls = \"plain\"\n"
        );
    }
    let path = folder.join("node.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

fn greeting(address: SocketAddr) -> Result<String> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOON))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

fn named(address: SocketAddr) -> Value {
    json!([address.ip(), address.port()])
}

#[test]
fn a_node_serves_on_the_sockets_that_it_is_passed_and_clients_wait_in_them_while_none_runs() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let at = [place.port(place.address(2))?, place.port(place.address(3))?];
    let config = config(&place, &ca, "node", &at)?;
    // In another order than the listeners have.
    let mut supervisor = Supervisor::start(&config, &[named(at[1]), named(at[0])])?;
    assert!(greeting(at[0])?.starts_with("* OK"));
    assert!(greeting(at[1])?.starts_with("+OK"));

    // It dies; who connects before the next one runs waits, and is served.
    kill(supervisor.node.context("it runs")?, Signal::SIGSTOP)?;
    let mut waits = TcpStream::connect(at[0])?;
    waits.set_read_timeout(Some(SOON))?;
    kill(supervisor.node.context("it runs")?, Signal::SIGKILL)?;
    let mut early = TcpStream::connect(at[0])?;
    early.set_read_timeout(Some(SOON))?;
    supervisor.wait_started()?;
    for stream in [&mut early, &mut waits] {
        let mut said = [0; 4];
        stream.read_exact(&mut said)?;
        assert_eq!(&said, b"* OK");
    }
    Ok(())
}

#[test]
fn a_socket_that_no_listener_names_and_one_that_does_not_listen_keep_the_node_from_starting() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let (listener, other) = (place.port(place.address(2))?, place.port(place.address(3))?);
    let config = config(&place, &ca, "node", &[listener])?;
    let cases = [
        (
            "unnamed",
            json!([named(listener), named(other)]),
            format!("bound to {other}, and no listener.*.bind"),
        ),
        (
            "udp",
            json!([["udp", "127.0.0.1", 0]]),
            "socket 1 of LISTEN_FDS is not a TCP socket".to_owned(),
        ),
        (
            "deaf",
            json!([["tcp", listener.ip(), listener.port()]]),
            format!("socket 1 of LISTEN_FDS ({listener}) does not listen"),
        ),
    ];
    for (name, sockets, wanted) in cases {
        let mut command = Command::new("python3");
        command
            .arg(script("pass_sockets.py"))
            .arg(json!({ "sockets": sockets }).to_string())
            .arg(program("mailswitch-data-plane")?)
            .arg(&config)
            .env_remove("RUST_LOG");
        let log = place.path().join(format!("{name}.log"));
        let mut process = Process::start(name, command, &log)?;
        let status = process.wait_end(SOON)?;
        let said = std::fs::read_to_string(&log)?;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(&wanted), "{name}: {said}");
    }
    // Sockets for another process are none of ours.
    let mut command = Command::new(program("mailswitch-data-plane")?);
    command
        .arg(&config)
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1")
        .env_remove("RUST_LOG");
    let mut process = Process::start("plain", command, &place.path().join("plain.log"))?;
    process.wait_ready(SOON, || listens(listener))?;
    wait_until("it serves", SOON, || {
        greeting(listener).is_ok_and(|line| line.starts_with("* OK"))
    })
}
