//! Accounts that log in, read and send without pause: `tests/clients/load.py`, and what it counted.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{ca::Ca, client::script, place::Place};

/// A listener, and "plain", "starttls" or "implicit".
pub type Endpoint = (SocketAddr, &'static str);

/// Where the clients go: each account has one for each of these.
#[derive(Debug, Clone, Copy, Default)]
pub struct Endpoints<'a> {
    pub imap: &'a [Endpoint],
    pub pop3: &'a [Endpoint],
    pub sieve: &'a [Endpoint],
    pub submission: &'a [Endpoint],
}

pub struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    events: PathBuf,
}

/// What the clients saw, from the first login to the last.
#[derive(Debug, Deserialize)]
pub struct Seen {
    pub logins: usize,
    pub failures: Vec<Value>,
    /// Message-IDs by account: the server said that it has them.
    pub accepted: HashMap<String, Vec<String>>,
    /// Message-IDs by account: the connection ended before the server's answer.
    pub unknown: HashMap<String, Vec<String>>,
    pub cut: usize,
    pub login_seconds_p50: f64,
    pub login_seconds_max: f64,
}

impl Load {
    /// Starts the clients, each account at its own address (x.y.z.101 and on).
    pub fn start(
        place: &Place,
        ca: &Ca,
        accounts: &[&str],
        imap: &[Endpoint],
        submission: &[Endpoint],
    ) -> Result<Self> {
        let endpoints = Endpoints {
            imap,
            submission,
            ..Endpoints::default()
        };
        Self::over(place, ca, accounts, endpoints)
    }

    /// The same over other protocols.
    pub fn over(place: &Place, ca: &Ca, accounts: &[&str], endpoints: Endpoints<'_>) -> Result<Self> {
        let network = place.address(0).to_string();
        let network = network.trim_end_matches(".0");
        let events = place.path().join(format!("load-{}.jsonl", accounts.len()));
        let list = |all: &[Endpoint]| {
            all.iter()
                .map(|(address, tls)| json!([address.ip(), address.port(), tls]))
                .collect::<Vec<_>>()
        };
        let job = json!({
            "accounts": accounts, "password": "secret", "imap": list(endpoints.imap), "pop3": list(endpoints.pop3),
            "sieve": list(endpoints.sieve), "submission": list(endpoints.submission), "ca": ca.pem(),
            "source_network": network,
            "pause": 0.1, "events": events,
        });
        let mut child = Command::new("python3")
            .arg(script("load.py"))
            .arg(job.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().context("its output")?);
        stdout.read_line(&mut String::new())?;
        Ok(Self {
            child,
            stdin,
            stdout,
            events,
        })
    }

    /// How many logins there were so far.
    #[must_use]
    pub fn logins(&self) -> usize {
        std::fs::read_to_string(&self.events).map_or(0, |text| text.matches("\"kind\": \"login\"").count())
    }

    /// Ends the clients after what they are doing, and sums up.
    pub fn stop(mut self) -> Result<Seen> {
        drop(self.stdin.take());
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        self.child.wait()?;
        serde_json::from_str(&line).with_context(|| line.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
