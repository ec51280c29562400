//! HTTP through nodes (behaviour section 8, promise A3), over real sockets: real servers behind, real clients in front, and
//! a backend that keeps every byte. Each file is one topic.

mod check;
mod exchange;
mod fields;
mod flood;
mod framed_answers;
mod framing;
mod http2;
mod limits;
mod moving;
mod real;
mod rig;
mod routes;
mod secrets;
mod streams;

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use mailswitch_tests::{
    ca::Ca,
    http::{curl::Curl, recorder::Recorder, web},
    lone::{Listener, Lone, Setup},
    place::Place,
    raw::Raw,
};

pub(crate) const ALICE: &str = "alice@example.org";
pub(crate) const BOB: &str = "bob@example.org";
pub(crate) const SOON: Duration = Duration::from_secs(20);
const BOTH: &[Listener] = &[("http", "implicit"), ("http", "plain")];

/// A node alone in front of backends, and everything that a test of it needs.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) ca: Ca,
}

impl Scene {
    pub(crate) fn new() -> Result<Self> {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        Ok(Self { place, ca })
    }

    /// A node with these tables; the default destination is `legacy`.
    pub(crate) fn node(&self, tables: &str, moved: &str) -> Result<Lone> {
        self.node_with(tables, moved, "")
    }

    /// … and these lines of `[server]`.
    pub(crate) fn node_with(&self, tables: &str, moved: &str, server: &str) -> Result<Lone> {
        let setup = Setup {
            listeners: BOTH,
            server,
            tables,
            moved,
            ..Setup::default()
        };
        Lone::start(&self.place, &self.ca, setup)
    }

    /// A node in front of one backend that keeps every byte; everybody goes there.
    pub(crate) fn recorded(&self, backend: &Recorder, http: &str) -> Result<Lone> {
        let tables = format!(
            "{}{http}{}",
            web::at("legacy", backend.address, "plain", "forwarding = \"none\"\n"),
            web::BY_LOGIN
        );
        self.node(&tables, "")
    }

    pub(crate) fn curl(&self, node: &Lone) -> Result<Curl> {
        Ok(Curl::tls(node.at("http", "implicit")?, self.ca.pem()))
    }
}

/// A connection to the node's plain listener.
pub(crate) fn dial(node: &Lone) -> Result<Raw> {
    Raw::connect(node.at("http", "plain")?)
}

/// The status line, the fields in lower case, and the body, as long as the head says.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Vec<String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .iter()
            .filter_map(|line| line.split_once(':'))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// Reads one answer.
pub(crate) fn answer(raw: &mut Raw) -> Result<Answer> {
    let mut head = Vec::new();
    loop {
        let line = raw.line()?;
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let status: u16 = head[0].split(' ').nth(1).unwrap_or_default().parse()?;
    let mut answer = Answer {
        status,
        head,
        body: String::new(),
    };
    if (100..200).contains(&status) || status == 204 || status == 304 {
        return Ok(answer);
    }
    if let Some(length) = answer.header("content-length") {
        let length = length.parse()?;
        answer.body = String::from_utf8_lossy(&raw.bytes(length)?).into_owned();
    } else if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = chunks(raw)?.concat();
    } else {
        answer.body = raw.rest()?;
    }
    Ok(answer)
}

/// The chunks of a body, up to its end; trailers are in [`Raw::heard`].
pub(crate) fn chunks(raw: &mut Raw) -> Result<Vec<String>> {
    let mut all = Vec::new();
    loop {
        let size = usize::from_str_radix(&raw.line()?, 16)?;
        if size == 0 {
            while !raw.line()?.is_empty() {}
            return Ok(all);
        }
        all.push(String::from_utf8_lossy(&raw.bytes(size)?).into_owned());
        raw.line()?;
    }
}

/// Sends a request and reads its answer, over a connection of its own.
pub(crate) fn ask(node: &Lone, request: &str) -> Result<Answer> {
    let mut raw = dial(node)?;
    raw.send(request)?;
    answer(&mut raw)
}

/// `Basic` for a user.
pub(crate) fn basic(user: &str) -> String {
    use base64::Engine as _;
    let credential = base64::engine::general_purpose::STANDARD.encode(format!("{user}:secret"));
    format!("Authorization: Basic {credential}\r\n")
}

/// An address as a URL's authority.
pub(crate) fn url(scheme: &str, server: SocketAddr, path: &str) -> String {
    format!("{scheme}://{server}{path}")
}
