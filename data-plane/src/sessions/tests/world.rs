//! A node's sessions in front of backends that live in this process and keep the truth: which legs of which account
//! are open where. What a test asserts is read there, not in the registry.

use std::collections::HashMap;
use std::sync::Arc;

use mailswitch_config::{DestinationName, ListenerName, Protocol};
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::change::Kind;
use mailswitch_proto::id::{HoldId, OperationId};
use mailswitch_proto::identifier::{HashKey, Identifier, Normalization, pack};
use mailswitch_proto::revision::{Position, Revision};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::report::Report;
use crate::route::Route;
use crate::session::admit::{Authenticated, Backend};
use crate::sessions::{About, ActingFor, Registered, SessionId, Sessions, Stuck, WaitPolicy};
use crate::table::{Serving, Table};

pub(super) const HASH: HashKey = HashKey([3; 16]);

pub(super) fn who(name: &str) -> Identifier {
    Identifier::normalized(name, &Normalization::AsPresented).unwrap()
}

pub(super) fn change(hash: HashKey, names: &[&str], kind: Kind) -> wire::Change {
    let keys: Vec<_> = names.iter().map(|name| hash.key_of(name)).collect();
    wire::Change {
        keys: pack(&keys).into(),
        kind: Some(kind),
    }
}

pub(super) fn mapped(destination: &str) -> Kind {
    Kind::Mapped(wire::Mapped {
        destination: destination.to_owned(),
    })
}

pub(super) fn held(hold: HoldId) -> Kind {
    Kind::Held(wire::Held {
        hold: hold.to_vec(),
        operation: OperationId::random().to_vec(),
        drain_timeout_millis: 20,
        ..wire::Held::default()
    })
}

pub(super) fn flipped(hold: HoldId, destination: &str) -> Kind {
    Kind::Flipped(wire::Flipped {
        hold: hold.to_vec(),
        operation: OperationId::random().to_vec(),
        destination: destination.to_owned(),
    })
}

pub(super) fn released(hold: HoldId, destination: &str) -> Kind {
    Kind::Released(wire::Released {
        hold: hold.to_vec(),
        operation: OperationId::random().to_vec(),
        destination: destination.to_owned(),
    })
}

/// A node's sessions.
pub(super) struct World {
    pub(super) sessions: Arc<Sessions>,
    pub(super) stuck: Mutex<mpsc::UnboundedReceiver<Stuck>>,
    position: Mutex<Position>,
}

impl World {
    pub(super) fn new(policy: WaitPolicy) -> Arc<Self> {
        let mut table = Table::empty(HASH);
        table.serve(Serving::Yes);
        let (sessions, stuck) = Sessions::new(table, policy, Arc::new(Report::new().0));
        Arc::new(Self {
            sessions,
            stuck: Mutex::new(stuck),
            position: Mutex::new(Position::NONE),
        })
    }

    pub(super) fn apply(&self, changes: Vec<wire::Change>) -> Position {
        let mut position = self.position.lock();
        position.revision = Revision(position.revision.0 + 1);
        let set = wire::ChangeSet {
            changes,
            traceparent: String::new(),
        };
        let applied = self.sessions.apply(&set, *position);
        assert!(applied.rejected.is_empty(), "{:?}", applied.rejected);
        *position
    }

    pub(super) fn change(&self, names: &[&str], kind: Kind) -> Position {
        self.apply(vec![change(HASH, names, kind)])
    }

    pub(super) fn register(&self, name: &str) -> Registered {
        self.sessions.register(ActingFor::one(who(name), []), about("s"))
    }

    pub(super) fn is_quiet(&self, hold: HoldId) -> bool {
        self.sessions
            .quiesced()
            .iter()
            .any(|quiesced| quiesced.hold == hold)
    }

    pub(super) async fn quiet(&self, hold: HoldId) {
        let quiet = async {
            while !self.is_quiet(hold) {
                // Several tasks of a test ask at once; `quiesced_changed` is for one waiter, the feed.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        let timely = tokio::time::timeout(std::time::Duration::from_secs(30), quiet).await;
        assert!(
            timely.is_ok(),
            "{:?} sessions have not confirmed",
            self.sessions.outstanding(hold)
        );
    }
}

pub(super) fn about(id: &str) -> About {
    About {
        id: SessionId::new(id),
        protocol: Protocol::Imap,
        client: "192.0.2.1:4711".parse().unwrap(),
        listener: Arc::new(ListenerName::from("imaps")),
        trace: None,
    }
}

/// What the backends see: open legs by account and destination.
#[derive(Debug, Default)]
pub(super) struct Truth {
    open: Mutex<HashMap<&'static str, HashMap<DestinationName, usize>>>,
}

impl Truth {
    pub(super) fn open(&self, account: &str) -> usize {
        self.open.lock().get(account).map_or(0, |on| on.values().sum())
    }
}

/// An open leg, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Leg {
    truth: Arc<Truth>,
    account: &'static str,
    destination: DestinationName,
}

impl Leg {
    fn open(truth: &Arc<Truth>, account: &'static str, destination: &DestinationName) -> Self {
        let mut open = truth.open.lock();
        let on = open.entry(account).or_default();
        *on.entry(destination.clone()).or_default() += 1;
        // "At no instant are sessions of one account open on two destinations."
        let places = on.values().filter(|legs| **legs > 0).count();
        assert_eq!(places, 1, "{account} is open on two destinations: {on:?}");
        Self {
            truth: truth.clone(),
            account,
            destination: destination.clone(),
        }
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        let mut open = self.truth.open.lock();
        if let Some(legs) = open
            .get_mut(self.account)
            .and_then(|on| on.get_mut(&self.destination))
        {
            *legs -= 1;
        }
    }
}

/// The path to those backends, of one account's login. Each step takes some turns of the scheduler.
pub(super) struct Path {
    pub(super) truth: Arc<Truth>,
    pub(super) account: &'static str,
}

impl Backend for Path {
    type Leg = Leg;
    type Reply = ();
    type Failure = &'static str;

    async fn dial(&mut self, route: &Route) -> Result<Leg, &'static str> {
        let leg = Leg::open(&self.truth, self.account, &route.destination);
        turns().await;
        if rand::random_ratio(1, 20) {
            return Err("refused");
        }
        Ok(leg)
    }

    async fn authenticate(&mut self, _leg: &mut Leg) -> Authenticated<(), &'static str> {
        turns().await;
        match rand::random_range(0..20) {
            0 => Authenticated::Refused(()),
            1 => Authenticated::Unusable("closed"),
            _ => Authenticated::Accepted(()),
        }
    }

    async fn end(leg: Leg) {
        turns().await;
        drop(leg);
    }
}

pub(super) async fn turns() {
    for _ in 0..rand::random_range(0..6) {
        tokio::task::yield_now().await;
    }
}
