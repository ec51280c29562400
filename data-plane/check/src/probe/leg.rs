//! One leg: resolve, connect, header, TLS, greeting, dialogue up to the login, as a session would. Stops at the first
//! stage that fails, and says which key changes that.

mod attempt;
mod presented;
mod verdict;
mod web;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use mailswitch_config::{Forwarding, Protocol, TlsMode};

use self::attempt::{Attempt, Header};
use crate::dial::{self, Connected, Tried};
use crate::offer::Offer;
use crate::report::Group;
use crate::subject::{LegOf, Subject};

/// What a leg showed.
#[derive(Debug)]
pub(crate) struct Probed<'a> {
    pub(crate) leg: LegOf<'a>,
    pub(crate) group: Group,
    /// None: it did not get so far.
    pub(crate) offer: Option<Offer>,
    /// The addresses that the destination sees us come from.
    pub(crate) egress: BTreeSet<IpAddr>,
    /// Whether it believes what it is told about the client, where that was asked for.
    pub(crate) belief: Option<Belief>,
}

/// Of XCLIENT and ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belief {
    /// It takes our word.
    Trusted,
    /// It does not, and that was said.
    NotTrusted,
    /// IMAP takes ID from everybody, and does not say whether it believes it.
    NotShown,
}

pub(crate) async fn check<'a>(subject: &Subject, leg: LegOf<'a>) -> Probed<'a> {
    let mut probed = Probed {
        group: Group::new(format!(
            "destination {}: {} at {}:{}, {}",
            leg.name(),
            leg.protocol,
            leg.destination.host,
            leg.endpoint.port,
            leg.endpoint.tls
        )),
        leg,
        offer: None,
        egress: BTreeSet::new(),
        belief: None,
    };
    if let Some(connected) = probed.connect(subject).await {
        probed.ask(subject, connected).await;
    }
    probed
}

/// What an IMAP leg does not show, by what the other legs of its destination showed.
pub(crate) fn conclude(legs: &mut [Probed<'_>]) {
    for at in 0..legs.len() {
        let (name, belief) = (legs[at].leg.name(), legs[at].belief);
        let egress = legs[at].egress.first().copied();
        if let (Some(Belief::NotShown), Some(egress)) = (belief, egress) {
            // Dovecot's own: submission may be a Postfix.
            let same = |leg: &&Probed<'_>| {
                leg.leg.name() == name && matches!(leg.leg.protocol, Protocol::Pop3 | Protocol::ManageSieve)
            };
            let others = legs.iter().filter(same);
            let others: Vec<_> = others
                .filter_map(|leg| Some((leg.leg.protocol, leg.belief?)))
                .collect();
            verdict::by_its_other_legs(&mut legs[at].group, egress, &others);
        }
    }
}

/// A connection that stands, and its two ends.
struct Stands {
    connected: Connected,
    ends: Ends,
}

/// Of a connection.
#[derive(Debug, Clone, Copy)]
struct Ends {
    local: SocketAddr,
    target: SocketAddr,
    /// Of `source_ips`.
    source: Option<IpAddr>,
}

impl Probed<'_> {
    /// All addresses; one that works is enough to go on.
    async fn connect(&mut self, subject: &Subject) -> Option<Stands> {
        let destination = self.leg.destination;
        let addresses = match dial::resolve(&destination.host).await {
            Ok(addresses) => addresses,
            Err(error) => {
                let what = format!("{} cannot be resolved: {}", destination.host, said(&error));
                let remedy = format!("correct {}.host, or this machine's resolver", self.leg.table());
                self.group.failed(what, remedy);
                return None;
            }
        };
        let port = self.leg.endpoint.port;
        let targets = addresses.iter().map(|address| SocketAddr::new(*address, port));
        for target in targets {
            if let Some(bind) = dial::own_socket(target, &subject.binds) {
                let what = format!("{target} is our own listener on {bind}: a loop");
                let remedy = format!("correct {}.port, or the host", self.leg.key());
                self.group.failed(what, remedy);
                return None;
            }
        }
        let tried = dial::connect_all(destination, &addresses, port).await;
        if tried.is_empty() {
            let what = format!(
                "source_ips holds no address of the families of {}",
                destination.host
            );
            let remedy = format!("add one to {}.source_ips", self.leg.table());
            self.group.failed(what, remedy);
            return None;
        }
        self.stands(tried)
    }

    fn stands(&mut self, tried: Vec<Tried>) -> Option<Stands> {
        let several = tried.len() > 1;
        let mut first = None;
        for Tried {
            target,
            source,
            result,
        } in tried
        {
            let ends = result.and_then(|connected| Ok((connected.tcp.local_addr()?, connected)));
            match ends {
                Ok((local, connected)) => {
                    self.egress.insert(local.ip().to_canonical());
                    let took = connected.took.as_micros() as f64 / 1000.0;
                    let to = if several {
                        format!(" to {target}")
                    } else {
                        String::new()
                    };
                    self.group
                        .ok(format!("connects{to} in {took:.1} ms, from {}", local.ip()));
                    let ends = Ends {
                        local,
                        target,
                        source,
                    };
                    first.get_or_insert(Stands { connected, ends });
                }
                Err(error) => self.not_connected(target, source, &error),
            }
        }
        first
    }

    fn not_connected(&mut self, target: SocketAddr, source: Option<IpAddr>, error: &io::Error) {
        let key = self.leg.key();
        match (error.kind(), source) {
            (io::ErrorKind::AddrNotAvailable, Some(source)) => {
                let remedy = format!(
                    "give it to an interface, or remove it from {}.source_ips",
                    self.leg.table()
                );
                self.group
                    .failed(format!("{source} is no address of this machine"), remedy);
            }
            (io::ErrorKind::ConnectionRefused, _) => {
                let remedy = format!("start the server, or correct {key}.port");
                self.group.failed(format!("nobody listens at {target}"), remedy);
            }
            (io::ErrorKind::TimedOut, _) => {
                let seconds = dial::CONNECT.as_secs();
                let what = format!("{target} does not answer within {seconds} s");
                let remedy = "is the host up, and does no firewall drop what comes from this machine?";
                self.group.failed(what, remedy);
            }
            _ => {
                let what = format!("{target} cannot be reached: {}", said(error));
                self.group
                    .failed(what, format!("correct {}.host", self.leg.table()));
            }
        }
    }

    async fn ask(&mut self, subject: &Subject, stands: Stands) {
        let Stands { connected, ends } = stands;
        let header = match self.leg.endpoint.forwarding {
            Forwarding::Proxy => Header::Sent,
            Forwarding::Xclient | Forwarding::None => Header::None,
        };
        let attempt = Attempt {
            subject,
            leg: self.leg,
            ends,
        };
        // The other way is tried too: it tells whether the server trusts us, and what to write when this one fails.
        let (way, other) = tokio::join!(
            attempt.run(connected.tcp, header),
            attempt.answers(header.other())
        );
        if let Some(shown) = &way.shown {
            self.group.ok(shown.version);
            presented::judge(&mut self.group, self.leg, shown);
        }
        let answers = (way.result.is_ok(), other);
        verdict::header(&mut self.group, self.leg, ends.local.ip(), header, answers);
        let in_clear = self.leg.endpoint.tls != TlsMode::Implicit && !other;
        match way.result {
            Ok(done) => {
                if let Some(web) = &done.web {
                    verdict::web(&mut self.group, self.leg, web, subject.hostname.as_deref());
                }
                self.belief = verdict::done(&mut self.group, self.leg, ends.local.ip(), &done);
                self.offer = done.offer;
            }
            Err(attempt::Error::Silent(_)) if in_clear && attempt.speaks_tls().await => {
                verdict::speaks_tls(&mut self.group, self.leg);
            }
            Err(error) => verdict::failed(&mut self.group, self.leg, ends.local.ip(), &error, other),
        }
    }
}

/// An error of the system without its number.
pub(super) fn said(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}
