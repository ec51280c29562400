//! The sessions of this node: who is registered for whom, what is held, and what has quiesced (promise A2, A5, Q2 to Q4).
//!
//! The order that everything rests on: a session *registers, then looks* at the table; a change *writes the table,
//! then collects* the sessions. Whatever the interleaving, one of the two sees the other. So a hold finds every
//! session that could have looked before it, and no later look passes while it is in force.
//!
//! Nothing here waits for the network, and nothing here decides where an account belongs.

mod about;
mod armed;
mod changes;
mod delay;
mod entry;
mod form;
mod hold;
mod leg;
mod list;
mod order;
mod pass_through;
mod registered;
mod shards;
#[cfg(test)]
mod tests;
mod trace;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mailswitch_config::DestinationName;
use mailswitch_proto::id::HoldId;
use mailswitch_proto::identifier::{HashKey, Identifier};
use mailswitch_sources::Mappings;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc};

pub use about::{About, ActingFor, SessionId};
pub use armed::{LeaseSight, Standing};
pub use changes::Applied;
pub(crate) use delay::Delayed;
pub use entry::Phase;
pub use hold::Met;
pub use leg::{End, LegIsOver};
pub use list::{Kicked, Listed, Listing, Quiesced, Which};
pub use order::{DrainCause, Order};
pub use pass_through::PassedThrough;
pub use registered::{Chunks, LEG_END_TIMEOUT, Registered, Wait, Woken};
pub(crate) use trace::link_current;
pub use trace::{Trace, current as current_trace};

use crate::lease::Lease;
use crate::report::{Report, Waits};
use crate::route::{Look, Refusal};
use crate::table::Table;
use entry::{Entry, Filed};
use shards::Shards;

/// How logins wait on a hold (A5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitPolicy {
    /// One login's wait: `[cutover] hold_login_timeout`.
    pub hold_login_timeout: Duration,
    /// How long sessions of an account that gets armed wait for the first lease behind it: `[cutover] lease`.
    pub first_lease: Duration,
    /// How many may wait for one identifier: a client that opens connections without end must not fill the node.
    pub per_identifier: usize,
    /// How many may wait on this node.
    pub per_node: usize,
}

impl Default for WaitPolicy {
    fn default() -> Self {
        Self {
            hold_login_timeout: Duration::from_secs(15),
            first_lease: Duration::from_secs(10),
            per_identifier: 64,
            per_node: 8192,
        }
    }
}

/// A leg that did not end within its time (Q2).
#[derive(Debug, Clone)]
pub struct Stuck {
    /// The holds that wait for it.
    pub holds: Vec<HoldId>,
    /// Where it goes.
    pub destination: Option<DestinationName>,
    /// Whose it is.
    pub about: About,
}

/// All sessions of this node, and the table that they look at.
#[derive(Debug)]
pub struct Sessions {
    table: RwLock<Table>,
    shards: Shards,
    /// The key under which sessions are filed: the table's. Held for reading while a session is filed or removed, so
    /// that a new key files every session anew.
    filing: RwLock<HashKey>,
    holds: Mutex<changes::Holds>,
    armings: armed::Armings,
    lease: Lease,
    ended_holds: Mutex<Vec<Quiesced>>,
    /// One change at a time: the table, then the sessions.
    changing: Mutex<()>,
    policy: RwLock<WaitPolicy>,
    draining: AtomicBool,
    /// The left mark is on the disk, or on its way there (promise N2).
    left: AtomicBool,
    /// The process that handed its sockets over still has sessions, which are not in here.
    predecessor: AtomicBool,
    /// Its sockets are another process's: 1, who is connected may sign in; 2, nobody.
    retiring: AtomicU8,
    serial: AtomicU64,
    waiting: AtomicUsize,
    /// Woken when a hold may have quiesced.
    quiesced: Arc<Notify>,
    stuck: mpsc::UnboundedSender<Stuck>,
    passed_through: pass_through::Open,
    delays: delay::Delays,
    /// Woken when a session ended, or did what a kick asked for.
    kicked_out: Notify,
    report: Arc<Report>,
    /// Of a node that runs alone: its table holds no mappings.
    mappings: Option<Arc<Mappings>>,
}

impl Sessions {
    /// A node's sessions: none yet. The receiver gets the legs that are stuck; it belongs to the feed.
    #[must_use]
    pub fn new(
        table: Table,
        policy: WaitPolicy,
        report: Arc<Report>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Stuck>) {
        Self::with(table, policy, report, None)
    }

    /// The sessions of a node that runs alone. Nobody there holds anything for an operation: no leg is ever stuck for one.
    #[must_use]
    pub fn of_a_lone_node(
        table: Table,
        policy: WaitPolicy,
        report: Arc<Report>,
        mappings: Arc<Mappings>,
    ) -> Arc<Self> {
        Self::with(table, policy, report, Some(mappings)).0
    }

    fn with(
        table: Table,
        policy: WaitPolicy,
        report: Arc<Report>,
        mappings: Option<Arc<Mappings>>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Stuck>) {
        let (stuck, stuck_legs) = mpsc::unbounded_channel();
        report.revision(table.position().revision);
        let filing = RwLock::new(table.hash_key());
        let sessions = Self {
            shards: Shards::new(),
            filing,
            holds: Mutex::default(),
            armings: armed::Armings::default(),
            lease: Lease::default(),
            ended_holds: Mutex::default(),
            changing: Mutex::default(),
            policy: RwLock::new(policy),
            draining: AtomicBool::new(false),
            left: AtomicBool::new(false),
            predecessor: AtomicBool::new(false),
            retiring: AtomicU8::new(0),
            serial: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            quiesced: Arc::default(),
            stuck,
            passed_through: pass_through::Open::default(),
            delays: delay::Delays::default(),
            kicked_out: Notify::new(),
            report,
            table: RwLock::new(table),
            mappings,
        };
        sessions.adopt_holds();
        sessions.adopt_armings();
        (Arc::new(sessions), stuck_legs)
    }

    /// Registers a session under every identifier that it acts for. The first thing that happens once a login is read,
    /// before any look (A2).
    #[must_use]
    pub fn register(self: &Arc<Self>, acting_for: ActingFor, about: About) -> Registered {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let filing = self.filing.read();
        let filed = filed(&acting_for, *filing);
        let entry = Arc::new(Entry::new(serial, about, acting_for, filed.clone()));
        self.shards.insert(&entry, &filed);
        drop(filing);
        Registered::new(self.clone(), entry)
    }

    /// How logins wait from now on.
    pub fn set_policy(&self, policy: WaitPolicy) {
        *self.policy.write() = policy;
    }

    /// How logins wait.
    #[must_use]
    pub fn policy(&self) -> WaitPolicy {
        *self.policy.read()
    }

    /// How many logins wait on a hold now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The mappings of a node that runs alone.
    #[must_use]
    pub fn mappings(&self) -> Option<&Arc<Mappings>> {
        self.mappings.as_ref()
    }

    /// What sessions count themselves in.
    #[must_use]
    pub fn report(&self) -> &Arc<Report> {
        &self.report
    }

    /// Reads the table.
    pub fn with_table<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.table.read())
    }

    /// Admits nobody and ends everybody at a quiet moment, at `deadline` at the latest.
    pub fn drain(&self, deadline: Instant) {
        self.draining.store(true, Ordering::SeqCst);
        let order = Order::Drain {
            cause: DrainCause::Node,
            deadline,
        };
        self.shards.all().iter().for_each(|entry| entry.force(order));
    }

    /// Takes a drain of the node back.
    pub fn resume(&self) {
        self.draining.store(false, Ordering::SeqCst);
        self.shards.all().iter().for_each(|entry| entry.resume());
    }

    /// The node is drained.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Nobody is served any more, and every backend leg is reset at once (promise N3).
    pub fn fence(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.leave();
        self.reset(&Which::default());
    }

    /// Nobody is served, whatever is resumed, until `comes_back` (promise N2).
    pub fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
    }

    /// The node is registered anew: the table decides again from where it serves (N4).
    pub fn comes_back(&self) {
        self.left.store(false, Ordering::SeqCst);
    }

    /// The node has left.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// The process that had our sockets before still has sessions: nothing is acknowledged until it is gone, because what
    /// we would say is not true of this machine.
    pub fn follow_a_predecessor(&self) {
        self.predecessor.store(true, Ordering::SeqCst);
    }

    /// It is gone, and its sessions with it.
    pub fn predecessor_is_gone(&self) {
        self.predecessor.store(false, Ordering::SeqCst);
        self.quiesced.notify_one();
    }

    /// Whether there is one.
    #[must_use]
    pub fn has_a_predecessor(&self) -> bool {
        self.predecessor.load(Ordering::SeqCst)
    }

    /// Another process of this node has the sockets and the state directory. Who is connected may still sign in.
    pub fn retire(&self) {
        self.retiring.fetch_max(1, Ordering::SeqCst);
    }

    /// Nobody signs in any more; sessions that are open stay.
    pub fn admit_nobody_more(&self) {
        self.retiring.fetch_max(2, Ordering::SeqCst);
    }

    /// This process goes when its last session is over.
    #[must_use]
    pub fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::SeqCst) > 0
    }

    fn admits_nobody_more(&self) -> bool {
        self.retiring.load(Ordering::SeqCst) > 1
    }

    /// The proof of a goodbye: nobody is admitted, and no session is left. Who registers after the order to drain is
    /// refused by its first look; who registered before it is found here until its leg is over (A2, Q2).
    #[must_use]
    pub fn are_all_over(&self) -> bool {
        // No session is filed anew meanwhile: for a moment it would stand nowhere.
        let _filing = self.filing.read();
        let closed = self.is_draining() || self.admits_nobody_more();
        closed && !self.has_a_predecessor() && self.shards.all().is_empty()
    }

    /// The process goes away: everybody ends.
    pub fn shut_down(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.shards
            .all()
            .iter()
            .for_each(|entry| entry.force(Order::Shutdown));
    }

    /// What a look shows now.
    pub(crate) fn look(&self, acting_for: &ActingFor) -> Look {
        match self.has_its_doors_open() {
            Ok(()) => {
                let table = self.table.read();
                self.under_lease(&table, acting_for, table.look(acting_for))
            }
            Err(refusal) => Look::Refused(refusal),
        }
    }

    /// Whether anybody new is served now, whoever it is: what concerns sessions of no account.
    pub(crate) fn serves(&self) -> Result<(), Refusal> {
        self.has_its_doors_open()?;
        self.table.read().serves()
    }

    fn has_its_doors_open(&self) -> Result<(), Refusal> {
        if self.has_left() {
            return Err(Refusal::Left);
        }
        if self.draining.load(Ordering::SeqCst) || self.admits_nobody_more() {
            return Err(Refusal::Draining);
        }
        Ok(())
    }

    fn place_to_wait(&self, entry: &Entry) -> Option<Place<'_>> {
        let policy = self.policy();
        // The identifier that routes it stands for the account. Nobody waits without one: nothing holds it.
        let key = entry.first_key()?;
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= policy.per_node {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        if !self.shards.start_waiting(key, policy.per_identifier) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place {
            sessions: self,
            key,
            _counted: self.report.waits(entry.about.protocol),
        })
    }

    fn stuck(&self, entry: &Entry) {
        if let Some(stuck) = self.stuck_for(entry) {
            // The receiver is gone only when the process ends, or in a node that runs alone.
            let _ = self.stuck.send(stuck);
        }
    }

    /// A leg was reset without its backend's own end. That ends what this node may send, and proves nothing about what the
    /// backend still does: an operation that waits for it is told, and gets no confirmation (Q2, Q4).
    fn tear(&self, entry: &Entry) {
        entry.gets_stuck();
        let Some(leg) = self.stuck_for(entry) else {
            return;
        };
        self.stuck(entry);
        entry.forsakes(&leg.holds);
        let holds = self.holds.lock();
        for hold in leg.holds.iter().filter_map(|id| holds.get(id)) {
            hold.tear(Stuck {
                holds: vec![hold.id],
                ..leg.clone()
            });
        }
    }

    /// What is to be said of a leg that does not end: only to holds of operations.
    fn stuck_for(&self, entry: &Entry) -> Option<Stuck> {
        let mut stuck = entry.stuck_for()?;
        let table = self.table.read();
        stuck.holds.retain(|hold| table.is_hold_of_an_operation(*hold));
        (!stuck.holds.is_empty()).then_some(stuck)
    }

    /// Somebody waits for the proof that a leg is over: a reset would prove nothing to an operation. What this node
    /// holds for reasons of its own is content with one.
    fn wait_for_a_leg(&self, holds: &[HoldId]) -> bool {
        let table = self.table.read();
        holds.iter().any(|hold| table.is_hold_of_an_operation(*hold))
    }

    fn remove(&self, entry: &Entry) {
        let filing = self.filing.read();
        self.shards.remove(entry, &entry.filed());
        drop(filing);
        entry.ended();
        self.kicked_out.notify_waiters();
    }
}

/// A place in the wait, given back when dropped.
struct Place<'a> {
    sessions: &'a Sessions,
    key: mailswitch_proto::identifier::Key,
    _counted: Waits,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.sessions.waiting.fetch_sub(1, Ordering::Relaxed);
        self.sessions.shards.stop_waiting(self.key);
    }
}

fn filed(acting_for: &ActingFor, hash: HashKey) -> Filed {
    let identifiers = acting_for.identifiers();
    Filed {
        keys: identifiers
            .iter()
            .map(|identifier| hash.key_of(identifier.as_str()))
            .collect(),
        domains: identifiers
            .iter()
            .filter_map(Identifier::domain_entry)
            .map(|domain| hash.key_of(domain))
            .collect(),
    }
}
