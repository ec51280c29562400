//! A node alone, from one file, with a listener of every kind.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mailswitch_tests::{
    ca::Ca,
    dovecot::Dovecot,
    place::Place,
    postfix::Postfix,
    process::Process,
    raw::{Raw, Role},
};

pub(super) const ALICE: &str = "alice@example.org";
pub(super) const SOON: Duration = Duration::from_secs(20);

/// A destination that nobody answers for.
pub(super) const DEAD: &str = "[destination.legacy]\nhost = \"127.0.0.1\"\nforwarding = \"none\"\n\
    allow_plaintext_auth = true\n[destination.legacy.protocol]\n\
    imap = { port = 9, tls = \"plain\" }\npop3 = { port = 9, tls = \"plain\" }\n\
    managesieve = { port = 9, tls = \"plain\" }\nsubmission = { port = 9, tls = \"plain\" }\n";

/// The protocols whose logins are read.
pub(super) const ALL: &[&str] = &["imap", "pop3", "managesieve", "submission"];

/// What differs from test to test.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup<'a> {
    /// What it listens for, each over every kind of leg. Its destinations need an endpoint for each.
    pub(super) protocols: &'a [&'static str],
    /// Lines of `[server]`.
    pub(super) server: &'a str,
    /// Lines of `[routing]`.
    pub(super) routing: &'a str,
    /// Keys of every listener, each with a comma before it.
    pub(super) listener: &'a str,
    /// Whole tables: destinations, capabilities, more listeners.
    pub(super) tables: &'a str,
    /// Identifier and destination, line by line.
    pub(super) moved: &'a str,
    /// The process may open no more; none: as many as this one.
    pub(super) descriptors: Option<u32>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            protocols: &["imap", "submission"],
            server: "hostname = \"proxy.example.org\"\nlog_level = \"debug\"\n",
            routing: "",
            listener: ", max_auth_attempts = 1000",
            tables: DEAD,
            moved: "",
            descriptors: None,
        }
    }
}

/// A node of these protocols.
pub(super) fn only(protocols: &'static [&'static str]) -> Setup<'static> {
    Setup {
        protocols,
        ..Setup::default()
    }
}

/// With an authority of its own.
pub(super) fn lone(place: &Place, setup: Setup<'_>) -> Result<Lone> {
    Lone::start(place, &Ca::new(place.path())?, setup)
}

/// One that runs, and where its listeners are.
pub(super) struct Lone {
    pub(super) process: Process,
    pub(super) ca: PathBuf,
    pub(super) config: PathBuf,
    ports: Vec<(&'static str, &'static str, SocketAddr)>,
}

const LEGS: [&str; 3] = ["implicit", "starttls", "plain"];

impl Lone {
    pub(super) fn start(place: &Place, ca: &Ca, setup: Setup<'_>) -> Result<Self> {
        let directory = place.folder("node")?;
        let address = place.address(2);
        let certificate = ca.issue(&directory, "node.test", address)?;
        let mut ports = Vec::new();
        let mut listeners = String::new();
        for protocol in setup.protocols {
            for tls in LEGS {
                let port = place.port(address)?;
                listeners += &format!(
                    "{protocol}-{tls} = {{ protocol = \"{protocol}\", bind = [\"{port}\"], tls = \"{tls}\"{} }}\n",
                    setup.listener
                );
                ports.push((*protocol, tls, port));
            }
        }
        std::fs::write(directory.join("moved.tsv"), setup.moved)?;
        let text = format!(
            "[server]\n{}[tls.certificate.public]\ncert = \"{}\"\nkey = \"{}\"\ndefault = true\n\
             [routing]\ndefault_destination = \"legacy\"\n{}[mapping]\nsource = \"file\"\nnormalize = \"lowercase\"\n\
             [mapping.file]\npath = \"{}\"\n[listener]\n{listeners}{}",
            setup.server,
            certificate.cert.display(),
            certificate.key.display(),
            setup.routing,
            directory.join("moved.tsv").display(),
            setup.tables,
        );
        let config = directory.join("node.toml");
        std::fs::write(&config, text)?;
        let mut command = match setup.descriptors {
            None => Command::new(program()?),
            Some(most) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &most.to_string()]);
                shell.arg(program()?);
                shell
            }
        };
        command
            .arg(&config)
            .env_remove("RUST_LOG")
            .env("SSL_CERT_FILE", ca.pem());
        let mut process = Process::start("node", command, &directory.join("node.log"))?;
        let (_, _, last) = *ports.last().context("a listener")?;
        process.wait_ready(SOON, || std::net::TcpStream::connect(last).is_ok())?;
        Ok(Self {
            process,
            ca: ca.pem().to_owned(),
            config,
            ports,
        })
    }

    /// Where a protocol is served over this kind of leg.
    pub(super) fn at(&self, protocol: &str, tls: &str) -> SocketAddr {
        let listener = self
            .ports
            .iter()
            .find(|(its, leg, _)| (*its, *leg) == (protocol, tls));
        listener.expect("a listener").2
    }

    pub(super) fn client(&self) -> Role<'_> {
        Role::Client(&self.ca)
    }

    /// A client of its own connection: TLS comes by itself where it is implicit.
    pub(super) fn connect(&self, protocol: &str, tls: &str) -> Result<Raw> {
        let mut raw = Raw::connect(self.at(protocol, tls))?;
        if tls == "implicit" {
            raw.tls(self.client())?;
        }
        Ok(raw)
    }

    /// Plays a dialogue on a fresh connection; it is still open then.
    pub(super) fn play(&self, protocol: &str, tls: &str, dialogue: &str) -> Result<Raw> {
        let mut raw = self.connect(protocol, tls)?;
        raw.play(self.client(), dialogue)
            .with_context(|| format!("{protocol} over {tls}; the node's log:\n{}", self.log_tail()))?;
        Ok(raw)
    }

    pub(super) fn log_tail(&self) -> String {
        let log = self.process.output();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

pub(super) fn program() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).context("the build's directory")?;
    Ok(target.join("mailswitch-data-plane"))
}

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// The PLAIN frame of a user.
pub(super) fn plain(user: &str, password: &str) -> String {
    base64(format!("\0{user}\0{password}"))
}

/// The table of a destination with real servers behind it; `extra`: more lines of the destination's own.
pub(super) fn destination(
    name: &str,
    dovecot: &Dovecot,
    postfix: Option<&Postfix>,
    tls: &str,
    extra: &str,
) -> String {
    let imap = if tls == "implicit" {
        dovecot.imaps
    } else {
        dovecot.imap
    };
    let submission = match postfix {
        Some(postfix) if tls == "implicit" => postfix.submissions.port(),
        Some(postfix) => postfix.submission.port(),
        None => 9,
    };
    format!(
        "[destination.{name}]\nhost = \"{}\"\ntls_server_name = \"legacy.test\"\n{extra}\
         [destination.{name}.protocol]\nimap = {{ port = {}, tls = \"{tls}\" }}\n\
         submission = {{ port = {submission}, tls = \"{tls}\" }}\n",
        imap.ip(),
        imap.port(),
    )
}
