//! A node that runs alone moves an account as its management API says: PUT, then kick. What is under way meanwhile, over
//! every protocol, ends up on the right side. The truth is in the backends' logs, and in what the kernel knows of their
//! connections.

mod flips;
mod in_flight;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    dovecot::{Announce, Dovecot, Plaintext},
    http::{
        curl::Curl,
        python,
        web::{self, Web},
    },
    lone::{Listener, Lone, Setup},
    place::Place,
    postfix::Postfix,
    sockets::open_at_any,
};
use serde_json::json;

const ALICE: &str = "alice@example.org";
const SOON: Duration = Duration::from_secs(20);
/// A line is in a log a little after what it tells of: the log has a process of its own, on a busy machine.
const LOG_DELAY: Duration = Duration::from_millis(150);
const TOKEN: &str = "a-token-of-32-bytes-for-the-tests";
const LISTENERS: &[Listener] = &[
    ("imap", "implicit"),
    ("pop3", "implicit"),
    ("managesieve", "implicit"),
    ("submission", "implicit"),
    ("http", "implicit"),
];

/// One of the two systems that the account is on.
struct Side {
    dovecot: Dovecot,
    postfix: Postfix,
    web: Web,
}

/// Where a node finds a side, protocol by protocol.
#[derive(Debug, Clone, Copy)]
struct Doors {
    imap: SocketAddr,
    pop3: SocketAddr,
    sieve: SocketAddr,
    submission: SocketAddr,
    http: SocketAddr,
}

impl Side {
    fn start(place: &Place, ca: &Ca, name: &str) -> Result<Self> {
        let dovecot = Dovecot::start(place, ca, name, Announce::None, Plaintext::Allowed, &[ALICE])?;
        let postfix = Postfix::start(place, ca, &dovecot, Plaintext::Allowed, "example.org")?;
        let web = Web::start(place, ca, &format!("{name}-web"))?;
        Ok(Self {
            dovecot,
            postfix,
            web,
        })
    }

    /// By "implicit" TLS, or "plain".
    fn doors(&self, tls: &str) -> Doors {
        match tls {
            "implicit" => Doors {
                imap: self.dovecot.imaps,
                pop3: self.dovecot.pop3s,
                sieve: self.dovecot.sieves,
                submission: self.postfix.submissions,
                http: self.web.https,
            },
            _ => Doors {
                imap: self.dovecot.imap,
                pop3: self.dovecot.pop3,
                sieve: self.dovecot.sieve,
                submission: self.postfix.submission,
                http: self.web.http,
            },
        }
    }

    /// How many connections it has not ended, on all its ports.
    fn open(&self) -> Result<usize> {
        let doors = ["implicit", "plain"].map(|tls| self.doors(tls).all());
        open_at_any(&doors.concat())
    }
}

impl Doors {
    fn all(self) -> [SocketAddr; 5] {
        [self.imap, self.pop3, self.sieve, self.submission, self.http]
    }

    /// The table of a destination. Its webmail has a certificate for another name.
    fn table(self, name: &str, tls: &str) -> String {
        let leg = |protocol: &str, door: SocketAddr| {
            format!("{protocol} = {{ port = {}, tls = \"{tls}\" }}\n", door.port())
        };
        format!(
            "[destination.{name}]\nhost = \"{}\"\ntls_server_name = \"{name}.test\"\nforwarding = \"none\"\nallow_plaintext_auth = true\n\
             tls_allow_invalid_certs = true\n[destination.{name}.protocol]\n{}{}{}{}{}",
            self.imap.ip(),
            leg("imap", self.imap),
            leg("pop3", self.pop3),
            leg("managesieve", self.sieve),
            leg("submission", self.submission),
            leg("http", self.http),
        )
    }
}

/// A node alone with its management API.
struct Node {
    lone: Lone,
    ca: PathBuf,
    admin: SocketAddr,
}

/// What a kick says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Kicked {
    /// Sessions and logins that it found.
    found: usize,
    /// Those of them that have not ended.
    still_open: usize,
}

impl Node {
    /// Everybody is on `legacy`. `tables`: its two destinations.
    fn start(place: &Place, ca: &Ca, tables: &str) -> Result<Self> {
        let admin = place.port(place.address(2))?;
        let token = place.path().join("token");
        std::fs::write(&token, TOKEN)?;
        let tables = format!(
            "{tables}{}[admin]\nbind = \"{admin}\"\nbearer_token_file = \"{}\"\n",
            web::BY_LOGIN,
            token.display()
        );
        let setup = Setup {
            listeners: LISTENERS,
            tables: &tables,
            ..Setup::default()
        };
        Ok(Self {
            lone: Lone::start(place, ca, setup)?,
            ca: ca.pem().to_owned(),
            admin,
        })
    }

    fn at(&self, protocol: &str) -> Result<SocketAddr> {
        self.lone.at(protocol, "implicit")
    }

    /// A login of each kind, by protocol.
    fn logins(&self) -> Result<[(&'static str, Login); 4]> {
        let logins = [
            ("imap", Login::imap(self.at("imap")?, ALICE)),
            ("pop3", Login::pop3(self.at("pop3")?, ALICE)),
            ("managesieve", Login::sieve(self.at("managesieve")?, ALICE)),
            (
                "submission",
                Login::submission(self.at("submission")?, ALICE).sending("<moved@kinds.test>"),
            ),
        ];
        Ok(logins.map(|(protocol, login)| (protocol, login.tls("implicit", &self.ca))))
    }

    fn curl(&self) -> Result<Curl> {
        Ok(Curl::tls(self.at("http")?, &self.ca).user(ALICE))
    }

    fn api(&self, method: &str) -> Curl {
        Curl::tls(self.admin, &self.ca).with(&["-H", &format!("Authorization: Bearer {TOKEN}"), "-X", method])
    }

    /// As `docs/management-api.md` says: PUT, then kick.
    fn moves(&self, to: &str) -> Result<Kicked> {
        let put = self
            .api("PUT")
            .get(&format!("/mappings?identifier={ALICE}&destination={to}"))?;
        ensure!((put.status, put.body.as_str()) == (200, "ok\n"), "{put:?}");
        let kick = self
            .api("POST")
            .get(&format!("/connections/kick?identifier={ALICE}"))?;
        ensure!(kick.status == 200, "{kick:?}");
        let found = kick.body.trim().strip_prefix("kicked ");
        Ok(Kicked {
            found: found.with_context(|| format!("{kick:?}"))?.parse()?,
            still_open: kick.header("mailswitch-still-open").concat().parse()?,
        })
    }
}

/// A WebSocket and an event stream, which come back when they end.
fn streams(node: &Node) -> Result<(python::Running, python::Running)> {
    let https = node.at("http")?;
    let argument = |scheme: &str, path: &str| json!({"url": format!("{scheme}://{https}{path}"), "user": ALICE, "ca": node.ca, "again": true});
    Ok((
        python::Running::start("websocket.py", &argument("wss", "/ws"))?,
        python::Running::start("events.py", &argument("https", "/events"))?,
    ))
}
