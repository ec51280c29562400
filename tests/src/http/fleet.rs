//! A fleet in front of two webmails, `legacy` and `new`: nothing but HTTP.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};

use super::{
    curl::Curl,
    web::{BY_LOGIN, Web, destination},
};
use crate::{
    ca::Ca,
    dovecot::listens,
    fleet::{ControlPlane, DOMAIN, Plan, Said, at, nodes_of, program, telemetry},
    place::Place,
    process::Process,
    when::wait_until,
};

/// What a test wants other than usual.
#[derive(Debug, Clone)]
pub struct WebPlan<'a> {
    /// Names without the domain.
    pub users: &'a [&'a str],
    pub nodes: usize,
    /// `[http]` and `[[http.route]]`.
    pub http: &'a str,
    /// More lines of `[routing]`.
    pub routing: &'a str,
    pub cutover: &'a str,
    pub otlp: Option<SocketAddr>,
}

impl Default for WebPlan<'_> {
    fn default() -> Self {
        Self {
            users: &["alice", "bob"],
            nodes: 1,
            http: BY_LOGIN,
            routing: "",
            cutover: "hold_login_timeout = \"30s\"\nmax_hold = \"20s\"\ndrain_timeout = \"10s\"\n",
            otlp: None,
        }
    }
}

pub struct WebNode {
    pub process: Process,
    pub http: SocketAddr,
    pub https: SocketAddr,
}

/// Dropped in this order.
pub struct WebFleet {
    pub nodes: Vec<WebNode>,
    pub control_plane: ControlPlane,
    pub legacy: Web,
    pub new: Web,
    pub ca: Ca,
    pub place: Place,
}

impl WebFleet {
    pub fn start(plan: &WebPlan<'_>) -> Result<Self> {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        let legacy = Web::start(&place, &ca, "legacy")?;
        let new = Web::start(&place, &ca, "new")?;
        let control_plane = ControlPlane::start(
            &place,
            &Plan {
                users: plan.users,
                nodes: plan.nodes,
                otlp: plan.otlp,
                cutover: plan.cutover,
                database: None,
            },
        )?;
        let mut fleet = Self {
            nodes: Vec::new(),
            control_plane,
            legacy,
            new,
            ca,
            place,
        };
        fleet.configure(plan)?;
        for number in 1..=plan.nodes {
            let node = fleet.start_node(number, plan.otlp)?;
            fleet.nodes.push(node);
        }
        wait_until("all nodes in sync", Duration::from_secs(30), || {
            fleet
                .ctl(&["status", "--output", "json"])
                .and_then(|said| said.json())
                .is_ok_and(|status| {
                    let nodes = nodes_of(&status);
                    nodes.len() == plan.nodes && nodes.iter().all(|node| node["in_sync"] == true)
                })
        })?;
        Ok(fleet)
    }

    fn configure(&self, plan: &WebPlan<'_>) -> Result<()> {
        let text = format!(
            "[routing]\ndefault_destination = \"legacy\"\nbare_domain = \"{DOMAIN}\"\n{}\n{}{}[cutover]\n{}\n{}",
            plan.routing,
            destination(&self.legacy, "implicit", "forwarded = true\n"),
            destination(&self.new, "implicit", "forwarded = true\n"),
            plan.cutover,
            plan.http,
        );
        self.write_and_run("fleet.toml", &text, &["apply", "-f"])?;
        let accounts: Vec<String> = plan.users.iter().map(|user| format!("{}\n", at(user))).collect();
        self.write_and_run("accounts.txt", &accounts.concat(), &["account", "import"])
    }

    fn write_and_run(&self, name: &str, text: &str, command: &[&str]) -> Result<()> {
        let file = self.place.path().join(name);
        std::fs::write(&file, text)?;
        let file = file.display().to_string();
        self.ctl(&[command, &[&file, "--reason", "test"]].concat())?
            .expect(0)?;
        Ok(())
    }

    fn start_node(&self, number: usize, otlp: Option<SocketAddr>) -> Result<WebNode> {
        let name = format!("node-{number}");
        let directory = self.place.folder(&name)?;
        let address = self.place.address(10 + u8::try_from(number)?);
        let certificate = self
            .ca
            .issue_for_mbsync(&directory, &format!("{name}.test"), address)?;
        let (http, https, metrics) = (
            self.place.port(address)?,
            self.place.port(address)?,
            self.place.port(address)?,
        );
        let pki: PathBuf = self.place.path().join("pki");
        let text = format!(
            "[server]\nhostname = \"mail.{DOMAIN}\"\nlog_level = \"debug\"\nshutdown_grace = \"1s\"\n\
             [tls.certificate.public]\ncert = \"{cert}\"\nkey = \"{key}\"\ndefault = true\n[listener]\n\
             https = {{ protocol = \"http\", bind = [\"{https}\"], tls = \"implicit\" }}\n\
             http = {{ protocol = \"http\", bind = [\"{http}\"], tls = \"plain\" }}\n[metrics]\nbind = \"{metrics}\"\n\
             [mapping]\nsource = \"control-plane\"\n[control_plane]\nendpoints = [\"https://{endpoint}\"]\n\
             node = \"{name}\"\nsite = \"site-{number}\"\nca = \"{pki}/ca.pem\"\ncert = \"{pki}/node-{name}.pem\"\n\
             key = \"{pki}/node-{name}.key\"\nstate_dir = \"{state}\"\n{telemetry}",
            cert = certificate.cert.display(),
            key = certificate.key.display(),
            endpoint = self.control_plane.address,
            pki = pki.display(),
            state = directory.join("state").display(),
            telemetry = telemetry(otlp),
        );
        let config = directory.join("node.toml");
        std::fs::write(&config, text)?;
        let mut command = Command::new(program("mailswitch-data-plane")?);
        command
            .arg(&config)
            .env_remove("RUST_LOG")
            .env("SSL_CERT_FILE", self.ca.pem());
        let mut process = Process::start(&name, command, &directory.join("log"))?;
        process.wait_ready(Duration::from_secs(30), || listens(http) && listens(https))?;
        Ok(WebNode { process, http, https })
    }

    /// Runs `mailswitchctl`, to its end.
    pub fn ctl(&self, arguments: &[&str]) -> Result<Said> {
        self.control_plane.ctl(arguments)
    }

    /// Cutover of a user, without a copy.
    pub fn cutover(&self, user: &str, from: &str, to: &str) -> Result<Said> {
        self.ctl(&[
            "cutover",
            &at(user),
            "--from",
            from,
            "--to",
            to,
            "--reason",
            "test",
        ])
    }

    #[must_use]
    pub fn web(&self, name: &str) -> &Web {
        if name == "new" { &self.new } else { &self.legacy }
    }

    /// curl to the first node, over TLS, as this user.
    #[must_use]
    pub fn curl(&self, user: &str) -> Curl {
        Curl::tls(self.nodes[0].https, self.ca.pem()).user(&at(user))
    }

    /// What all nodes and the control plane have logged.
    pub fn logs(&self) -> Result<String> {
        let control_plane = self.control_plane.process.as_ref().context("it runs")?;
        let nodes = self.nodes.iter().map(|node| node.process.output());
        Ok(nodes.chain([control_plane.output()]).collect())
    }
}
