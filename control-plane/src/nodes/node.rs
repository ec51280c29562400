//! One node, as this replica knows it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::id::InstanceId;
use mailswitch_proto::revision::{Position, Revision};

use super::ConnectionId;
use super::ask::Link;

/// One instance of a node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name, as in its certificate.
    pub name: String,
    /// This process of it.
    pub instance: InstanceId,
    /// What it calls itself and no copy of its state directory does, once it is connected.
    pub process: Option<InstanceId>,
    /// Where it stands.
    pub site: String,
    /// Of its program.
    pub version: String,
    /// What it listens on.
    pub listeners: Vec<wire::Listener>,
    /// The revision of its registration.
    pub registered_revision: Revision,
    /// Everything up to here went out on its stream.
    pub sent: Revision,
    /// Everything up to here it has applied.
    pub applied: Position,
    /// When it was last heard of.
    pub seen: Option<Instant>,
    /// Resources of which it keeps an earlier version, by name.
    pub rejected: BTreeMap<String, wire::Rejected>,
    /// Its last report.
    pub report: Option<wire::Report>,
    /// It is ahead of the database, or on another branch (promise D3).
    pub diverged: bool,
    /// It came as one that has left: it serves nobody, and is not registered by its stream (promise N2).
    pub guest: bool,
    /// Its goodbye is written: it is not registered.
    pub left: bool,
    pub(super) link: Option<(ConnectionId, Link)>,
}

impl Node {
    /// One of which only this is known.
    #[must_use]
    pub fn new(name: String, instance: InstanceId) -> Self {
        Self {
            name,
            instance,
            process: None,
            site: String::new(),
            version: String::new(),
            listeners: Vec::new(),
            registered_revision: Revision::NONE,
            sent: Revision::NONE,
            applied: Position::NONE,
            seen: None,
            rejected: BTreeMap::new(),
            report: None,
            diverged: false,
            guest: false,
            left: false,
            link: None,
        }
    }

    /// True while its stream is up on this replica.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// It is connected without being registered by that: it has left, or has diverged.
    #[must_use]
    pub const fn is_guest(&self) -> bool {
        self.guest || self.diverged
    }

    /// The way to reach it.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        self.link.as_ref().map(|(_, link)| link.clone())
    }

    /// Ends its stream, if it has one here.
    pub(super) fn end(&self) {
        if let Some((_, link)) = &self.link {
            link.end();
        }
    }

    /// How long nothing was heard of it; `None`: never since this replica started.
    #[must_use]
    pub fn silent_for(&self) -> Option<Duration> {
        self.seen.map(|seen| seen.elapsed())
    }

    /// It admits no more sessions, in its own words: they outlive this replica.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.draining)
    }

    /// Breakers that are open now.
    pub fn open_breakers(&self) -> impl Iterator<Item = &wire::Breaker> {
        let breakers = self.report.iter().flat_map(|report| &report.breakers);
        breakers.filter(|breaker| breaker.open)
    }

    /// The same process has a new stream: what it said on the one before still stands.
    pub(super) fn keep_of(&mut self, before: Self) {
        self.rejected = before.rejected;
        self.report = before.report;
    }

    pub(super) fn touch(&mut self) {
        self.seen = Some(Instant::now());
    }

    /// A change that was reported at once replaces what the last report said.
    pub(super) fn set_breaker(&mut self, breaker: wire::Breaker) {
        let breakers = &mut self.report.get_or_insert_default().breakers;
        let known = breakers
            .iter_mut()
            .find(|known| known.destination == breaker.destination && known.protocol == breaker.protocol);
        match known {
            Some(known) => *known = breaker,
            None => breakers.push(breaker),
        }
    }
}
