//! The webmail of `tests/servers/web.py`: Basic logins, a form with cookies, WebSockets, event streams, and a POST that
//! counts how often it was executed. Its journal says who asked for what.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::Result;
use serde::Deserialize;
use serde_json::json;

use crate::{
    ca::Ca,
    dovecot::listens,
    place::Place,
    process::Process,
    tools,
    when::{Moment, eventually},
};

#[derive(Debug)]
pub struct Web {
    process: Process,
    pub name: String,
    pub http: SocketAddr,
    pub https: SocketAddr,
    journal: PathBuf,
}

/// A line of the journal.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    /// "request", "body", "executed", "opened", "stream ended", "answered", "cancelled", "failed".
    pub event: String,
    pub at: Moment,
    /// Of the request; the same in all its lines.
    pub number: u64,
    pub peer: String,
    pub port: u16,
    /// Empty: nobody.
    pub user: String,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub status: u16,
    /// What was to be executed.
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub length: usize,
    #[serde(default)]
    pub sha256: String,
    /// Of a stream that ended: when it last answered something.
    #[serde(default)]
    pub last: Option<Moment>,
}

impl Entry {
    /// All values of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer.parse().ok()
    }
}

impl Web {
    /// Starts one on the servers' address.
    pub fn start(place: &Place, ca: &Ca, name: &str) -> Result<Self> {
        let directory = place.folder(name)?;
        let address = place.server();
        let certificate = ca.issue(&directory, &format!("{name}.test"), address)?;
        let (http, https) = (place.port(address)?, place.port(address)?);
        let journal = directory.join("journal.log");
        std::fs::write(&journal, "")?;
        let setup = json!({
            "name": name, "journal": journal, "plain": http, "tls": https,
            "cert": certificate.cert, "key": certificate.key,
        });
        let mut command = Command::new(tools::path("web/bin/python")?);
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/servers/web.py"))
            .arg(setup.to_string());
        let mut process = Process::start(name, command, &directory.join("log"))?;
        process.wait_ready(Duration::from_secs(20), || listens(http) && listens(https))?;
        Ok(Self {
            process,
            name: name.to_owned(),
            http,
            https,
            journal,
        })
    }

    /// What it has noted so far.
    #[must_use]
    pub fn journal(&self) -> Vec<Entry> {
        std::fs::read_to_string(&self.journal)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Its lines of one event.
    #[must_use]
    pub fn events(&self, event: &str) -> Vec<Entry> {
        self.journal()
            .into_iter()
            .filter(|entry| entry.event == event)
            .collect()
    }

    /// The requests whose target begins so.
    #[must_use]
    pub fn requests(&self, target: &str) -> Vec<Entry> {
        self.events("request")
            .into_iter()
            .filter(|entry| entry.target.starts_with(target))
            .collect()
    }

    /// Waits for what the script of `/page` came to, in a browser.
    pub fn page_result(&self) -> Result<String> {
        eventually("the page's result", Duration::from_secs(60), || {
            self.events("result").pop().map(|entry| entry.id)
        })
    }

    /// Waits for the first request whose target begins so.
    pub fn asked(&self, target: &str) -> Result<Entry> {
        eventually(target, Duration::from_secs(20), || {
            self.requests(target).into_iter().next()
        })
    }

    /// The streams (WebSockets, event streams) of a user that are open now.
    #[must_use]
    pub fn open_streams(&self, user: &str) -> usize {
        let journal = self.journal();
        let of = |event: &str, target: &str| {
            journal
                .iter()
                .filter(|entry| {
                    entry.event == event && entry.user == user && entry.target.starts_with(target)
                })
                .count()
        };
        (of("opened", "/ws") + of("request", "/events"))
            .saturating_sub(of("stream ended", "/ws") + of("stream ended", "/events"))
    }

    #[must_use]
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The table of a destination with a webmail behind it. `extra`: more lines of the destination's own.
#[must_use]
pub fn destination(web: &Web, tls: &str, extra: &str) -> String {
    let address = if tls == "implicit" { web.https } else { web.http };
    at(
        &web.name,
        address,
        tls,
        &format!("forwarding = \"none\"\n{extra}"),
    )
}

/// The table of a destination with anything that speaks HTTP behind it.
#[must_use]
pub fn at(name: &str, address: SocketAddr, tls: &str, extra: &str) -> String {
    format!(
        "[destination.{name}]\nhost = \"{host}\"\ntls_server_name = \"{name}.test\"\nallow_plaintext_auth = true\n\
         {extra}[destination.{name}.protocol]\nhttp = {{ port = {port}, tls = \"{tls}\" }}\n",
        host = address.ip(),
        port = address.port(),
    )
}

/// One route, as TOML.
#[must_use]
pub fn route(pattern: &str, rest: &str) -> String {
    format!("[[http.route]]\nmatch = \"{pattern}\"\n{rest}\n")
}

/// By the login that a request carries, everybody else to the default destination.
pub const BY_LOGIN: &str =
    "[[http.route]]\nmatch = \"/**\"\nextract = { from = \"authorization\" }\nfallback = \"default\"\n";
