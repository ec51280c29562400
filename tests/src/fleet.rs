//! A whole fleet of the real programs: one control plane on its private PostgreSQL, nodes, and two mail systems
//! behind them, `legacy` (told who the client is by XCLIENT and ID) and `new` (by a PROXY header).

mod control_plane;
mod node;

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

pub use self::{
    control_plane::{ControlPlane, Said},
    node::Node,
};
use crate::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    load::Endpoint,
    place::Place,
    postfix::Postfix,
    relay::DelayRelay,
    when::wait_until,
};

/// The domain of every user.
pub const DOMAIN: &str = "example.org";

/// What a test wants other than usual.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// Names without the domain; each also signs in without it.
    pub users: &'a [&'a str],
    pub nodes: usize,
    /// Where traces and metrics go.
    pub otlp: Option<SocketAddr>,
    /// The `[cutover]` table.
    pub cutover: &'a str,
    /// `[database] url`; none: the control plane's private PostgreSQL.
    pub database: Option<&'a str>,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            users: &["alice", "bob", "carol"],
            nodes: 2,
            otlp: None,
            cutover: "hold_login_timeout = \"30s\"\nmax_hold = \"20s\"\ndrain_timeout = \"10s\"\n",
            database: None,
        }
    }
}

/// Dropped in this order: the programs before the servers behind them.
pub struct Fleet {
    pub nodes: Vec<Node>,
    pub control_plane: ControlPlane,
    /// In front of legacy's implicit-TLS IMAP.
    pub relay: DelayRelay,
    pub legacy_smtp: Postfix,
    pub new_smtp: Postfix,
    pub legacy: Dovecot,
    pub new: Dovecot,
    pub ca: Ca,
    pub place: Place,
}

/// The full address of a user.
#[must_use]
pub fn at(user: &str) -> String {
    format!("{user}@{DOMAIN}")
}

impl Fleet {
    pub fn start(plan: &Plan<'_>) -> Result<Self> {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        let users: Vec<String> = plan.users.iter().map(|user| at(user)).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        let system = |name: &str, announce: Announce| -> Result<(Dovecot, Postfix)> {
            let dovecot = Dovecot::start(&place, &ca, name, announce, Plaintext::Refused, &users)?;
            let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Refused, DOMAIN)?;
            Ok((dovecot, postfix))
        };
        let (legacy, new, control_plane) = std::thread::scope(|scope| {
            let legacy = scope.spawn(|| system("legacy", Announce::Id));
            let new = scope.spawn(|| system("new", Announce::Proxy));
            let control_plane = ControlPlane::start(&place, plan);
            (legacy.join(), new.join(), control_plane)
        });
        let joined =
            |system: std::thread::Result<_>| system.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let ((legacy, legacy_smtp), (new, new_smtp)) = (joined(legacy)?, joined(new)?);
        let control_plane = control_plane?;
        let relay = DelayRelay::start(&place, legacy.imaps)?;
        let mut fleet = Self {
            nodes: Vec::new(),
            control_plane,
            relay,
            legacy_smtp,
            new_smtp,
            legacy,
            new,
            ca,
            place,
        };
        fleet.configure(plan)?;
        for number in 1..=plan.nodes {
            let node = Node::start(&fleet, number, plan.otlp)?;
            fleet.nodes.push(node);
        }
        fleet.wait_in_sync()?;
        Ok(fleet)
    }

    fn configure(&self, plan: &Plan<'_>) -> Result<()> {
        let file = self.place.path().join("fleet.toml");
        std::fs::write(&file, self.fleet_toml(plan))?;
        self.ctl(&["apply", "-f", &file.display().to_string(), "--reason", "test"])?
            .expect(0)?;
        let accounts: Vec<String> = plan.users.iter().map(|user| format!("{}\n", at(user))).collect();
        let file = self.place.path().join("accounts.txt");
        std::fs::write(&file, accounts.concat())?;
        self.ctl(&[
            "account",
            "import",
            &file.display().to_string(),
            "--reason",
            "test",
        ])?
        .expect(0)?;
        Ok(())
    }

    fn fleet_toml(&self, plan: &Plan<'_>) -> String {
        let destination = |dovecot: &Dovecot, forwarding: &str, imaps: SocketAddr, smtp: &Postfix| {
            format!(
                "[destination.{name}]\nhost = \"{host}\"\ntls_server_name = \"{name}.test\"\nforwarding = \
                 \"{forwarding}\"\n[destination.{name}.protocol]\n\
                 imap = {{ port = {imap}, tls = \"implicit\" }}\n\
                 pop3 = {{ port = {pop3}, tls = \"implicit\" }}\n\
                 managesieve = {{ port = {sieve}, tls = \"starttls\" }}\n\
                 smtp = {{ port = {relay}, tls = \"plain\" }}\n\
                 submission = {{ port = {submission}, tls = \"starttls\" }}\n",
                name = dovecot.name,
                host = imaps.ip(),
                imap = imaps.port(),
                pop3 = dovecot.pop3s.port(),
                sieve = dovecot.sieve.port(),
                relay = smtp.smtp.port(),
                submission = smtp.submission.port(),
            )
        };
        format!(
            "[routing]\ndefault_destination = \"legacy\"\nsmtp_passthrough_destination = \"new\"\nbare_domain = \"{DOMAIN}\"\n\n{}\n{}\n[cutover]\n{}",
            destination(&self.legacy, "xclient", self.relay.address, &self.legacy_smtp),
            destination(&self.new, "proxy", self.new.imaps, &self.new_smtp),
            plan.cutover,
        )
    }

    /// The node of this number, from 0.
    #[must_use]
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// The mail systems by the name of their destination.
    #[must_use]
    pub fn dovecot(&self, name: &str) -> &Dovecot {
        if name == "new" { &self.new } else { &self.legacy }
    }

    #[must_use]
    pub fn postfix(&self, name: &str) -> &Postfix {
        if name == "new" {
            &self.new_smtp
        } else {
            &self.legacy_smtp
        }
    }

    /// One IMAP and one submission listener of each node, TLS and STARTTLS by turns.
    #[must_use]
    pub fn endpoints(&self) -> (Vec<Endpoint>, Vec<Endpoint>) {
        let turn = |number: usize, node: &Node| {
            if number.is_multiple_of(2) {
                ((node.imaps, "implicit"), (node.submission, "starttls"))
            } else {
                ((node.imap, "starttls"), (node.submissions, "implicit"))
            }
        };
        self.nodes
            .iter()
            .enumerate()
            .map(|(number, node)| turn(number, node))
            .unzip()
    }

    /// Runs `mailswitchctl`, to its end.
    pub fn ctl(&self, arguments: &[&str]) -> Result<Said> {
        self.control_plane.ctl(arguments)
    }

    /// The command itself, for a test that runs it beside other things.
    #[must_use]
    pub fn ctl_command(&self, arguments: &[&str]) -> Command {
        self.control_plane.ctl_command(arguments)
    }

    pub fn status(&self) -> Result<Value> {
        self.ctl(&["status", "--output", "json"])?.expect(0)?.json()
    }

    /// Waits until every node is connected and has applied what is committed.
    pub fn wait_in_sync(&self) -> Result<()> {
        let mut last = Value::Null;
        wait_until("all nodes in sync", Duration::from_secs(30), || {
            let Ok(status) = self.status() else { return false };
            let synced = nodes_of(&status)
                .into_iter()
                .filter(|node| node["in_sync"] == true);
            let all = synced.count() == self.nodes.len();
            last = status;
            all
        })
        .with_context(|| format!("{last:#}"))
    }

    /// Cutover of a user with its mail; the exit code and what was said.
    pub fn cutover(&self, user: &str, from: &str, to: &str) -> Result<Said> {
        let copy = self.copy_command(user, from, to);
        self.ctl(&[
            "cutover",
            &at(user),
            "--from",
            from,
            "--to",
            to,
            "--copy",
            &copy,
            "--reason",
            "test",
        ])
    }

    /// What `--copy` runs: lets Postfix deliver what it has accepted, then makes the mailboxes equal.
    #[must_use]
    pub fn copy_command(&self, user: &str, from: &str, to: &str) -> String {
        let copy = self.dovecot(from).copy_command(&at(user), self.dovecot(to));
        format!("{}; {copy}", self.postfix(from).settle_command())
    }

    /// The operations that have ended, newest first.
    pub fn ended_operations(&self) -> Result<Vec<Value>> {
        let list = self
            .ctl(&["operation", "list", "--ended", "--output", "json"])?
            .expect(0)?
            .json()?;
        Ok(rows(&list, "operations"))
    }

    /// Waits until no operation runs any more.
    pub fn wait_no_operation(&self, limit: Duration) -> Result<()> {
        wait_until("no operation runs", limit, || {
            self.status()
                .is_ok_and(|status| rows(&status, "operations").is_empty())
        })
    }

    /// What the account's newest operation came to: "done" or "released"; an error while it runs.
    pub fn outcome(&self, user: &str) -> Result<String> {
        let operations = self.ended_operations()?;
        let account = at(user);
        let newest = operations
            .iter()
            .find(|operation| operation["account"] == account.as_str());
        let newest =
            newest.with_context(|| format!("no operation of {account} has ended: {operations:#?}"))?;
        Ok(newest["outcome"].as_str().unwrap_or_default().to_lowercase())
    }
}

/// The rows of an answer that is a list, or has one under `key`.
#[must_use]
pub fn rows(answer: &Value, key: &str) -> Vec<Value> {
    answer
        .as_array()
        .or_else(|| answer[key].as_array())
        .cloned()
        .unwrap_or_default()
}

#[must_use]
pub fn nodes_of(status: &Value) -> Vec<Value> {
    rows(status, "nodes")
}

pub(crate) fn node_name(number: usize) -> String {
    format!("node-{number}")
}

pub(crate) fn telemetry(otlp: Option<SocketAddr>) -> String {
    let endpoint = otlp
        .map(|address| format!("otlp_endpoint = \"http://{address}\"\n"))
        .unwrap_or_default();
    format!("[telemetry]\n{endpoint}")
}

/// A program of ours, built beside the tests.
pub fn program(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here.ancestors().nth(2).context("target/debug")?.join(name);
    if !path.exists() {
        bail!(
            "{} is not built: cargo build --bins (tests/run.sh does it)",
            path.display()
        );
    }
    Ok(path)
}
