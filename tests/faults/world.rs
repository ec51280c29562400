//! The programs and servers of the faults, each on a host of its own: two nodes, a control plane, its PostgreSQL, two mail
//! systems (Dovecot, Postfix, a webmail), the operator and the clients.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext, listens},
    fleet::{ControlPlane, DOMAIN, Plan, at, nodes_of, program, rows},
    http::web::{BY_LOGIN, Web},
    net::Net,
    place::Place,
    postfix::Postfix,
    postgres::Postgres,
    process::Process,
    when::wait_until,
};
use serde_json::Value;

use crate::moment::Moments;

/// The hosts; a node's is `node-1` or `node-2`.
pub(crate) const HOSTS: [&str; 8] = [
    "postgres", "control", "node-1", "node-2", "source", "target", "operator", "clients",
];

/// One second, so that "longer than a lease" is short; `max_hold` leaves room for a lapse.
pub(crate) const CUTOVER: &str =
    "hold_login_timeout = \"20s\"\nmax_hold = \"8s\"\ndrain_timeout = \"2s\"\nlease = \"1s\"\n";

pub(crate) struct Node {
    pub(crate) host: &'static str,
    pub(crate) process: Process,
    pub(crate) imap: SocketAddr,
    pub(crate) submission: SocketAddr,
    pub(crate) web: SocketAddr,
    config: PathBuf,
    log: PathBuf,
}

pub(crate) struct Side {
    pub(crate) dovecot: Dovecot,
    pub(crate) postfix: Postfix,
    pub(crate) web: Web,
}

/// Dropped in this order.
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) control_plane: ControlPlane,
    pub(crate) legacy: Side,
    pub(crate) new: Side,
    pub(crate) moments: Moments,
    pub(crate) postgres: Postgres,
    pub(crate) ca: Ca,
    pub(crate) place: Place,
    pub(crate) net: Net,
    /// How many of its accounts were used.
    used: usize,
}

impl World {
    /// With so many accounts, all on `legacy`.
    pub(crate) fn start(accounts: usize) -> Result<Self> {
        let place = Place::new()?;
        let net = Net::new(&HOSTS)?;
        let ca = Ca::new(place.path())?;
        let users: Vec<String> = (0..accounts).map(|number| at(&user(number))).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        let side = |host: &'static str, name: &str, announce: Announce| -> Result<Side> {
            let there = place.on_host(net.address(host));
            net.on(host, || {
                let dovecot = Dovecot::start(&there, &ca, name, announce, Plaintext::Refused, &users)?;
                let postfix = Postfix::start(&there, &ca, &dovecot, Plaintext::Refused, DOMAIN)?;
                let web = Web::start(&there, &ca, &format!("{name}-web"))?;
                Ok(Side {
                    dovecot,
                    postfix,
                    web,
                })
            })
        };
        let postgres = net.on("postgres", || {
            Postgres::start(&place.on_host(net.address("postgres")))
        })?;
        let (legacy, new, control_plane) = std::thread::scope(|scope| {
            let legacy = scope.spawn(|| side("source", "legacy", Announce::Id));
            let new = scope.spawn(|| side("target", "new", Announce::Proxy));
            let control_plane = net.on("control", || {
                let url = postgres.url();
                let plan = Plan {
                    cutover: CUTOVER,
                    database: Some(&url),
                    ..Plan::default()
                };
                ControlPlane::start(&place.on_host(net.address("control")), &plan)
            });
            (legacy.join(), new.join(), control_plane)
        });
        let joined =
            |side: std::thread::Result<_>| side.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (legacy, new): (Side, Side) = (joined(legacy)?, joined(new)?);
        let moments = Moments::install(&place, &postgres)?;
        let mut world = Self {
            nodes: Vec::new(),
            control_plane: control_plane?,
            legacy,
            new,
            moments,
            postgres,
            ca,
            place,
            net,
            used: 0,
        };
        world.configure(&users)?;
        for host in ["node-1", "node-2"] {
            let node = world.start_node(host)?;
            world.nodes.push(node);
        }
        world.wait_in_sync()?;
        Ok(world)
    }

    /// An account that nothing has happened to yet.
    pub(crate) fn next_account(&mut self) -> String {
        self.used += 1;
        at(&user(self.used - 1))
    }

    pub(crate) fn side(&self, name: &str) -> &Side {
        if name == "new" { &self.new } else { &self.legacy }
    }

    fn configure(&self, users: &[&str]) -> Result<()> {
        let destination = |side: &Side, forwarding: &str| {
            let (dovecot, postfix, web) = (&side.dovecot, &side.postfix, &side.web);
            format!(
                "[destination.{name}]\nhost = \"{host}\"\ntls_server_name = \"{name}.test\"\nforwarding = \"{forwarding}\"\n\
                 allow_plaintext_auth = true\n[destination.{name}.protocol]\n\
                 imap = {{ port = {imap}, tls = \"implicit\" }}\n\
                 submission = {{ port = {submission}, tls = \"starttls\" }}\n\
                 http = {{ port = {http}, tls = \"plain\", forwarding = \"none\" }}\n",
                name = dovecot.name,
                host = dovecot.imaps.ip(),
                imap = dovecot.imaps.port(),
                submission = postfix.submission.port(),
                http = web.http.port(),
            )
        };
        let text = format!(
            "[routing]\ndefault_destination = \"legacy\"\nbare_domain = \"{DOMAIN}\"\n\n{}{}\n[cutover]\n{CUTOVER}\n{BY_LOGIN}",
            destination(&self.legacy, "xclient"),
            destination(&self.new, "proxy"),
        );
        let accounts: String = users.iter().map(|user| format!("{user}\n")).collect();
        for (name, text, verb) in [
            ("fleet.toml", text, &["apply", "-f"][..]),
            ("accounts.txt", accounts, &["account", "import"][..]),
        ] {
            let file = self.place.path().join(name);
            std::fs::write(&file, text)?;
            let file = file.display().to_string();
            let arguments = [verb, &[&file, "--reason", "test"]].concat();
            self.net
                .on("operator", || self.control_plane.ctl(&arguments)?.expect(0))?;
        }
        Ok(())
    }

    fn start_node(&self, host: &'static str) -> Result<Node> {
        let place = self.place.on_host(self.net.address(host));
        let directory = place.folder(host)?;
        let certificate = self
            .ca
            .issue(&directory, &format!("{host}.test"), place.server())?;
        let (imap, submission, web) = self.net.on(host, || {
            let port = || place.port(place.server());
            Ok((port()?, port()?, port()?))
        })?;
        let pki = self.place.path().join("pki");
        let text = format!(
            "[server]\nhostname = \"mail.{DOMAIN}\"\nshutdown_grace = \"1s\"\n[tls.certificate.public]\n\
             cert = \"{cert}\"\nkey = \"{key}\"\ndefault = true\n[listener]\n\
             imaps = {{ protocol = \"imap\", bind = [\"{imap}\"], tls = \"implicit\" }}\n\
             submissions = {{ protocol = \"submission\", bind = [\"{submission}\"], tls = \"implicit\" }}\n\
             https = {{ protocol = \"http\", bind = [\"{web}\"], tls = \"implicit\" }}\n\
             [mapping]\nsource = \"control-plane\"\n[control_plane]\nendpoints = [\"https://{endpoint}\"]\n\
             node = \"{host}\"\nsite = \"{host}\"\nca = \"{pki}/ca.pem\"\ncert = \"{pki}/node-{host}.pem\"\n\
             key = \"{pki}/node-{host}.key\"\nstate_dir = \"{state}\"\n[telemetry]\nidentifiers = \"plain\"\n",
            cert = certificate.cert.display(),
            key = certificate.key.display(),
            endpoint = self.control_plane.address,
            pki = pki.display(),
            state = directory.join("state").display(),
        );
        let config = directory.join("node.toml");
        std::fs::write(&config, text)?;
        let log = directory.join("log");
        let process = self.net.on(host, || spawn_node(host, &config, &log, &self.ca))?;
        let mut node = Node {
            host,
            process,
            imap,
            submission,
            web,
            config,
            log,
        };
        self.net.on(host, || node.wait_listens())?;
        Ok(node)
    }

    /// Starts the first node again, from what is on its disk.
    pub(crate) fn restart_node(&mut self) -> Result<()> {
        let (net, ca, node) = (&self.net, &self.ca, &mut self.nodes[0]);
        net.on(node.host, || {
            node.process = spawn_node(node.host, &node.config, &node.log, ca)?;
            node.wait_listens()
        })
    }

    /// Starts the process of the control plane again; its database may still be away.
    pub(crate) fn restart_control_plane(&mut self) -> Result<()> {
        let (net, control_plane) = (&self.net, &mut self.control_plane);
        net.on("control", || control_plane.run())
    }

    pub(crate) fn restart_postgres(&mut self) -> Result<()> {
        let (net, postgres) = (&self.net, &mut self.postgres);
        net.on("postgres", || postgres.restart())
    }

    /// What `mailswitchctl` says, as JSON, run by the operator.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [arguments, &["--output", "json"]].concat();
        self.net.on("operator", || {
            self.control_plane.ctl(&arguments)?.expect(0)?.json()
        })
    }

    /// Waits until every node is connected and has applied what is committed.
    pub(crate) fn wait_in_sync(&self) -> Result<()> {
        let mut last = Value::Null;
        wait_until("all nodes in sync", Duration::from_secs(40), || {
            let Ok(status) = self.ask(&["status"]) else {
                return false;
            };
            let nodes = nodes_of(&status);
            let synced = nodes.iter().filter(|node| node["in_sync"] == true).count();
            last = status;
            synced == 2 && nodes.len() == 2
        })
        .with_context(|| format!("{last:#}"))
    }

    /// The account's operation, once it has ended; none: no transaction recorded one, and who asked for it is dead or was told.
    pub(crate) fn wait_ended(&self, account: &str) -> Result<Option<Value>> {
        let of_account = |which: &[&str]| -> Result<Option<Value>> {
            let operations = self.ask(&[&["operation", "list"], which].concat())?;
            Ok(rows(&operations, "operations")
                .into_iter()
                .find(|operation| operation["account"] == account))
        };
        let (mut found, mut nowhere) = (None, 0);
        wait_until("the operation has ended", Duration::from_secs(40), || {
            found = of_account(&["--ended"]).unwrap_or_default();
            let open = of_account(&[]).map(|open| open.is_some()).unwrap_or(true);
            nowhere = if found.is_some() || open { 0 } else { nowhere + 1 };
            found.is_some() || nowhere == NOWHERE
        })
        .with_context(|| format!("{:#}", self.ask(&["status"]).unwrap_or_default()))?;
        Ok(found)
    }
}

/// So many looks, one after the other, and there is no operation: longer than a transaction that records one waits.
const NOWHERE: usize = 10;

fn user(number: usize) -> String {
    format!("user{number}")
}

fn spawn_node(host: &str, config: &std::path::Path, log: &std::path::Path, ca: &Ca) -> Result<Process> {
    let mut command = Command::new(program("mailswitch-data-plane")?);
    command.arg(config).env("SSL_CERT_FILE", ca.pem());
    Process::start(host, command, log)
}

impl Node {
    fn wait_listens(&mut self) -> Result<()> {
        let web = self.web;
        self.process.wait_ready(Duration::from_secs(30), || listens(web))
    }
}
