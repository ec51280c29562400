//! One node: of a fleet, or alone.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;

use super::{DOMAIN, Fleet, node_name, program, telemetry};
use crate::{
    ca::{Ca, Issued},
    dovecot::listens,
    process::Process,
};

pub struct Node {
    pub name: String,
    pub process: Process,
    /// Plain, and STARTTLS.
    pub imap: SocketAddr,
    pub imaps: SocketAddr,
    pub submission: SocketAddr,
    pub submissions: SocketAddr,
    /// Plain, and STLS.
    pub pop3: SocketAddr,
    pub pop3s: SocketAddr,
    /// ManageSieve: plain, and STARTTLS.
    pub sieve: SocketAddr,
    /// Passed through to `new`, as it is.
    pub smtp: SocketAddr,
    pub metrics: SocketAddr,
    pub directory: PathBuf,
    pub config: PathBuf,
}

impl Node {
    pub(super) fn start(fleet: &Fleet, number: usize, otlp: Option<SocketAddr>) -> Result<Self> {
        let place = &fleet.place;
        let name = node_name(number);
        let directory = place.folder(&name)?;
        let address = place.address(10 + u8::try_from(number)?);
        let certificate = fleet
            .ca
            .issue_for_mbsync(&directory, &format!("{name}.test"), address)?;
        let ports: Vec<SocketAddr> = (0..9).map(|_| place.port(address)).collect::<Result<_>>()?;
        let config = directory.join("node.toml");
        let pki = &fleet.control_plane.pki;
        let text = format!(
            "{head}[mapping]\nsource = \"control-plane\"\n\n[control_plane]\nendpoints = [\"https://{endpoint}\"]\n\
             node = \"{name}\"\nsite = \"site-{number}\"\nca = \"{pki}/ca.pem\"\ncert = \"{pki}/node-{name}.pem\"\n\
             key = \"{pki}/node-{name}.key\"\nstate_dir = \"{state}\"\n\n{telemetry}identifiers = \"plain\"\n",
            head = machine_toml(&certificate, &ports),
            endpoint = fleet.control_plane.address,
            pki = pki.display(),
            state = directory.join("state").display(),
            telemetry = telemetry(otlp),
        );
        std::fs::write(&config, text)?;
        Self::run(name, directory, config, &ports, Some(fleet.ca.pem()))
    }

    fn run(
        name: String,
        directory: PathBuf,
        config: PathBuf,
        ports: &[SocketAddr],
        trust: Option<&Path>,
    ) -> Result<Self> {
        let process = Self::spawn(&name, &directory.join("log"), &config, &[], trust)?;
        let mut node = Self {
            name,
            process,
            imap: ports[0],
            imaps: ports[1],
            submission: ports[2],
            submissions: ports[3],
            metrics: ports[4],
            pop3: ports[5],
            pop3s: ports[6],
            sieve: ports[7],
            smtp: ports[8],
            directory,
            config,
        };
        node.wait_listens()?;
        Ok(node)
    }

    fn spawn(name: &str, log: &Path, config: &Path, more: &[&str], trust: Option<&Path>) -> Result<Process> {
        let mut command = Command::new(program("mailswitch-data-plane")?);
        command.args(more).arg(config);
        if let Some(trust) = trust {
            // The platform's trust store, for the backends' certificates.
            command.env("SSL_CERT_FILE", trust);
        }
        Process::start(name, command, log)
    }

    fn wait_listens(&mut self) -> Result<()> {
        let imaps = self.imaps;
        self.process
            .wait_ready(Duration::from_secs(30), || listens(imaps))
    }

    /// Starts the process again, from what is on its disk.
    pub fn restart(&mut self, ca: &Ca) -> Result<()> {
        let log = self.directory.join("log");
        self.process = Self::spawn(&self.name, &log, &self.config, &[], Some(ca.pem()))?;
        self.wait_listens()
    }

    /// Starts a process that takes over from the one that runs; its log is of its own.
    pub fn succeed(&self, ca: &Ca, generation: u32) -> Result<Process> {
        let log = self.directory.join(format!("log-{generation}"));
        Self::spawn(&self.name, &log, &self.config, &["--take-over"], Some(ca.pem()))
    }

    /// Upgrades it in place: the process that ran before, which keeps its sessions.
    pub fn upgrade(&mut self, ca: &Ca, generation: u32) -> Result<Process> {
        let mut next = self.succeed(ca, generation)?;
        let log = self.directory.join(format!("log-{generation}"));
        next.wait_ready(Duration::from_secs(60), || {
            std::fs::read_to_string(&log).is_ok_and(|log| log.contains("ready"))
        })?;
        Ok(std::mem::replace(&mut self.process, next))
    }

    /// What its log says.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The address that it answers on.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.imaps.ip()
    }
}

/// `[server]`, `[tls]`, `[listener.*]` and `[metrics]`.
fn machine_toml(certificate: &Issued, ports: &[SocketAddr]) -> String {
    format!(
        "[server]\nhostname = \"mail.{DOMAIN}\"\nshutdown_grace = \"1s\"\n\n[tls.certificate.public]\n\
         cert = \"{}\"\nkey = \"{}\"\ndefault = true\n\n[listener]\n\
         imap = {{ protocol = \"imap\", bind = [\"{}\"], tls = \"starttls\" }}\n\
         imaps = {{ protocol = \"imap\", bind = [\"{}\"], tls = \"implicit\" }}\n\
         submission = {{ protocol = \"submission\", bind = [\"{}\"], tls = \"starttls\" }}\n\
         submissions = {{ protocol = \"submission\", bind = [\"{}\"], tls = \"implicit\" }}\n\
         pop3 = {{ protocol = \"pop3\", bind = [\"{}\"], tls = \"starttls\" }}\n\
         pop3s = {{ protocol = \"pop3\", bind = [\"{}\"], tls = \"implicit\" }}\n\
         sieve = {{ protocol = \"managesieve\", bind = [\"{}\"], tls = \"starttls\" }}\n\
         smtp = {{ protocol = \"smtp\", bind = [\"{}\"], tls = \"plain\" }}\n\n\
         [metrics]\nbind = \"{}\"\n\n",
        certificate.cert.display(),
        certificate.key.display(),
        ports[0],
        ports[1],
        ports[2],
        ports[3],
        ports[5],
        ports[6],
        ports[7],
        ports[8],
        ports[4],
    )
}
