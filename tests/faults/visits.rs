//! The clients of one account (`tests/clients/visits.py`), and what the backends have noted of its visits.

use std::{
    net::IpAddr,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use mailswitch_tests::{tools, when::Moment};
use serde::Deserialize;
use serde_json::json;

use crate::{
    cell::Protocol,
    world::{Side, World},
};

/// One account's clients, at every node.
pub(crate) struct Clients {
    child: Child,
    stdin: Option<ChildStdin>,
    events: PathBuf,
}

/// A line of what they have seen.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Event {
    pub(crate) at: Moment,
    /// "in", "out", "refused", "accepted", "unknown", "cut".
    pub(crate) kind: String,
    /// The node's address.
    pub(crate) endpoint: IpAddr,
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) error: String,
}

impl Clients {
    pub(crate) fn start(world: &World, account: &str, protocol: Protocol) -> Result<Self> {
        let endpoints: Vec<_> = world
            .nodes
            .iter()
            .map(|node| match protocol {
                Protocol::Imap => node.imap,
                Protocol::Submission => node.submission,
                Protocol::Http | Protocol::WebSocket => node.web,
            })
            .map(|address| json!([address.ip(), address.port()]))
            .collect();
        let events = world.place.path().join(format!("visits-{account}.jsonl"));
        std::fs::write(&events, "")?;
        let job = json!({
            "protocol": protocol.name(), "account": account, "password": "secret", "endpoints": endpoints,
            "ca": world.ca.pem(), "events": events,
        });
        let mut child = world.net.on("clients", || {
            let errors = std::fs::File::create(events.with_extension("errors"))?;
            Command::new(tools::path("web/bin/python")?)
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/visits.py"))
                .arg(job.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(errors)
                .spawn()
                .context("visits.py")
        })?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, events })
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        std::fs::read_to_string(&self.events)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Whether it was let in at each of these nodes since then.
    pub(crate) fn were_let_in(&self, nodes: &[IpAddr], since: Moment) -> bool {
        let events = self.events();
        nodes.iter().all(|node| {
            events
                .iter()
                .any(|event| event.kind == "in" && event.endpoint == *node && event.at > since)
        })
    }

    /// Ends them after what they are doing; all that they have seen.
    pub(crate) fn stop(mut self) -> Result<Vec<Event>> {
        drop(self.stdin.take());
        mailswitch_tests::when::wait_until("the clients end", Duration::from_secs(60), || {
            self.child.try_wait().is_ok_and(|ended| ended.is_some())
        })?;
        Ok(self.events())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a backend has noted of one visit: an IMAP session, a message taken, a request, a WebSocket.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) began: Moment,
    /// None: it is open.
    pub(crate) ended: Option<Moment>,
    /// When the backend did something for it for the last time.
    pub(crate) served: Moment,
}

/// The account's visits to one side, from its own log.
pub(crate) fn visits(side: &Side, account: &str, protocol: Protocol) -> Vec<Visit> {
    match protocol {
        Protocol::Imap => side
            .dovecot
            .sessions_of(account)
            .into_iter()
            .map(|session| Visit {
                began: session.began,
                ended: session.ended,
                served: session.served.or(session.ended).unwrap_or(session.began),
            })
            .collect(),
        // The beginning of its second: none is late by rounding.
        Protocol::Submission => side
            .postfix
            .accepted()
            .into_iter()
            .filter(|accepted| accepted.user == account)
            .map(|accepted| Visit {
                began: accepted.at,
                ended: Some(accepted.at),
                served: accepted.at,
            })
            .collect(),
        Protocol::Http => requests(side, account, "/add", "answered"),
        Protocol::WebSocket => requests(side, account, "/ws", "stream ended"),
    }
}

fn requests(side: &Side, account: &str, target: &str, last: &str) -> Vec<Visit> {
    let journal = side.web.journal();
    let of_one = |number: u64| journal.iter().filter(move |entry| entry.number == number);
    journal
        .iter()
        .filter(|entry| entry.event == "request" && entry.user == account && entry.target.starts_with(target))
        .map(|request| {
            let over = of_one(request.number)
                .filter(|entry| [last, "answered", "cancelled", "failed"].contains(&entry.event.as_str()))
                .map(|entry| entry.at)
                .max();
            let served = of_one(request.number).filter_map(|entry| entry.last).max();
            Visit {
                began: request.at,
                ended: over,
                served: served.or(over).unwrap_or(request.at),
            }
        })
        .collect()
}
