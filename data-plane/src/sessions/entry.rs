//! One session in the registry: its phase, what it owes to which hold, and what it is told. Small, and without a
//! timer or a task of its own: an idle session costs its memory and nothing else.
//!
//! One task owns a session and is the only one that polls it, so one waker is enough.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use mailswitch_config::DestinationName;
use mailswitch_proto::id::HoldId;
use mailswitch_proto::identifier::Key;
use parking_lot::Mutex;

use super::Stuck;
use super::about::{About, ActingFor};
use super::armed::Term;
use super::hold::Hold;
use super::order::{DrainCause, Order};
use crate::lease::Lease;

/// Where a session stands, as `session list` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is about to look, or looks.
    Registered,
    /// It waits on a hold. No leg: it does not count for a hold (Q4).
    Waiting,
    /// The leg is being made.
    Dialling,
    /// Credentials have left, the client does not know the answer.
    Authenticating,
    /// Bytes move.
    Bridged,
    /// HTTP: the request is answered, and its connection to the backend is kept for the next one.
    Idle,
    /// The leg is followed to its end.
    Ending,
    /// Its task went away without proof that the leg is over. It counts for every hold until an operator kicks it.
    Lost,
    /// Unregistered.
    Ended,
}

impl Phase {
    /// As in the feed's messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Waiting => "waiting",
            Self::Dialling => "dialling",
            Self::Authenticating => "authenticating",
            Self::Bridged => "bridged",
            Self::Idle => "idle",
            Self::Ending => "ending",
            Self::Lost => "lost",
            Self::Ended => "ended",
        }
    }

    fn counts_for_a_hold(self) -> bool {
        !matches!(self, Self::Waiting | Self::Ended)
    }

    fn has_leg(self) -> bool {
        matches!(
            self,
            Self::Dialling | Self::Authenticating | Self::Bridged | Self::Idle | Self::Ending | Self::Lost
        )
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) serial: u64,
    pub(crate) about: About,
    pub(crate) acting_for: ActingFor,
    pub(crate) since: Instant,
    /// Until when it may live, where its account is armed (L1).
    pub(crate) term: Term,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    filed: Filed,
    /// Where it is filed for more than it acts for: its identifiers may have another form now.
    filed_for: Option<Box<ActingFor>>,
    phase: Phase,
    destination: Option<DestinationName>,
    forced: Order,
    owes: Vec<Arc<Hold>>,
    look_again: bool,
    /// What its leg was admitted under is over: the leg is reset, also when there is another lease.
    lapsed: bool,
    /// Kicked while its login is in progress, and not yet looked again.
    recalled: bool,
    /// Its login is over, and was told so: it is recalled no more.
    signed_in: bool,
    stuck: bool,
    waker: Option<Waker>,
}

/// Under which keys of the table's hash an entry stands in the registry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filed {
    pub(crate) keys: Box<[Key]>,
    pub(crate) domains: Box<[Key]>,
}

impl Entry {
    pub(crate) fn new(serial: u64, about: About, acting_for: ActingFor, filed: Filed) -> Self {
        Self {
            serial,
            about,
            acting_for,
            since: Instant::now(),
            term: Term::default(),
            inner: Mutex::new(Inner {
                filed,
                filed_for: None,
                phase: Phase::Registered,
                destination: None,
                forced: Order::Stay,
                owes: Vec::new(),
                look_again: false,
                lapsed: false,
                recalled: false,
                signed_in: false,
                stuck: false,
                waker: None,
            }),
        }
    }

    pub(crate) fn filed(&self) -> Filed {
        self.inner.lock().filed.clone()
    }

    /// The key of the identifier that routes it.
    pub(crate) fn first_key(&self) -> Option<Key> {
        self.inner.lock().filed.keys.first().copied()
    }

    /// For whom it is filed.
    pub(crate) fn filed_for(&self) -> ActingFor {
        let inner = self.inner.lock();
        inner.filed_for.as_deref().unwrap_or(&self.acting_for).clone()
    }

    pub(crate) fn file_for(&self, acting_for: ActingFor, filed: Filed) {
        let mut inner = self.inner.lock();
        inner.filed_for = Some(Box::new(acting_for));
        inner.filed = filed;
    }

    pub(crate) fn file_anew(&self, filed: Filed) {
        self.inner.lock().filed = filed;
    }

    pub(crate) fn phase(&self) -> Phase {
        self.inner.lock().phase
    }

    pub(crate) fn destination(&self) -> Option<DestinationName> {
        self.inner.lock().destination.clone()
    }

    // ---- by the session's own task -------------------------------------------------------------------

    /// A look with no leg follows. From here on the session counts for holds again, and that is written down before
    /// the table is read: a hold writes the table first and collects then, so one of the two sees the other (A2).
    pub(crate) fn looks(&self) -> Recalled {
        let mut inner = self.inner.lock();
        let recalled = std::mem::take(&mut inner.recalled);
        inner.phase = Phase::Registered;
        inner.destination = None;
        inner.look_again = false;
        inner.lapsed = false;
        inner.signed_in = false;
        inner.stuck = false;
        if recalled { Recalled::Yes } else { Recalled::No }
    }

    pub(crate) fn enters(&self, phase: Phase, destination: Option<&DestinationName>) {
        let mut inner = self.inner.lock();
        inner.phase = phase;
        if matches!(phase, Phase::Bridged | Phase::Idle) {
            inner.signed_in = true;
            // It passed its last check at the moment of the kick: a session was kicked.
            if std::mem::take(&mut inner.recalled) {
                inner.forced = inner.forced.strongest(Order::Kick);
            }
        }
        if let Some(destination) = destination {
            inner.destination = Some(destination.clone());
        }
    }

    /// It has no leg and will get none before its next look: that is its confirmation for every hold (Q4).
    pub(crate) fn waits(&self) {
        self.confirm(Phase::Waiting);
    }

    /// Its leg is over, or it never had one.
    pub(crate) fn ended(&self) {
        self.confirm(Phase::Ended);
    }

    fn confirm(&self, phase: Phase) {
        let owes = {
            let mut inner = self.inner.lock();
            inner.phase = phase;
            inner.destination = None;
            std::mem::take(&mut inner.owes)
        };
        for hold in owes {
            // Counted first: whoever is told that the hold is quiet is told the whole number.
            if phase == Phase::Ended {
                hold.closed_one();
            }
            hold.confirmed();
        }
    }

    /// Its task went away. With a leg it stays and blocks: nobody has seen that leg's end.
    pub(crate) fn abandoned(&self) -> Abandoned {
        let mut inner = self.inner.lock();
        if inner.phase.has_leg() {
            inner.phase = Phase::Lost;
            inner.waker = None;
            Abandoned::WithLeg
        } else {
            Abandoned::WithoutLeg
        }
    }

    pub(crate) fn poll_order(&self, cx: &Context<'_>, lease: &Lease, seen: Order) -> Poll<Order> {
        let mut inner = self.inner.lock();
        inner.look_at(&self.term, lease);
        let order = inner.order();
        if order == seen {
            inner.wake_later(cx);
            Poll::Pending
        } else {
            Poll::Ready(order)
        }
    }

    pub(crate) fn poll_look_again(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner.look_again {
            Poll::Ready(())
        } else {
            inner.wake_later(cx);
            Poll::Pending
        }
    }

    /// What presses a leg that does not end.
    pub(crate) fn pressed(&self) -> Pressed {
        self.inner.lock().pressed()
    }

    /// That is no longer `seen`.
    pub(crate) fn poll_pressed_otherwise(&self, cx: &Context<'_>, seen: &Pressed) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner.pressed() != *seen {
            return Poll::Ready(());
        }
        inner.wake_later(cx);
        Poll::Pending
    }

    pub(crate) fn order(&self, lease: &Lease) -> Order {
        let mut inner = self.inner.lock();
        inner.look_at(&self.term, lease);
        inner.order()
    }

    /// Its leg does not end (Q2).
    pub(crate) fn gets_stuck(&self) {
        self.inner.lock().stuck = true;
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.inner.lock().stuck
    }

    /// The holds that wait for its leg, when that is stuck.
    pub(crate) fn stuck_for(&self) -> Option<Stuck> {
        let inner = self.inner.lock();
        if !inner.stuck || inner.owes.is_empty() {
            return None;
        }
        Some(Stuck {
            holds: inner.owes.iter().map(|hold| hold.id).collect(),
            destination: inner.destination.clone(),
            about: self.about.clone(),
        })
    }

    /// These holds get no confirmation from it.
    pub(crate) fn forsakes(&self, holds: &[HoldId]) {
        self.inner.lock().owes.retain(|hold| !holds.contains(&hold.id));
    }

    // ---- by others -----------------------------------------------------------------------------------

    /// A hold collects its sessions.
    pub(crate) fn owe(&self, hold: &Arc<Hold>) {
        let waker = {
            let mut inner = self.inner.lock();
            if !inner.phase.counts_for_a_hold() || inner.owes.iter().any(|owed| Arc::ptr_eq(owed, hold)) {
                return;
            }
            hold.owed();
            hold.trace.concerns(&self.about.trace);
            // The same hold, collected once more with more keys: only the newest count is looked at.
            inner.owes.retain(|owed| owed.id != hold.id);
            inner.owes.push(hold.clone());
            inner.waker.take()
        };
        wake(waker);
    }

    /// A hold on one of its keys ended: nothing is owed to it any more, and whoever waits looks again.
    pub(crate) fn hold_ended(&self, id: Option<HoldId>) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.owes.retain(|hold| Some(hold.id) != id);
            inner.look_again = true;
            inner.waker.take()
        };
        wake(waker);
    }

    /// What its leg was admitted under is over. False: it has none.
    pub(crate) fn lapses(&self) -> bool {
        let waker = {
            let mut inner = self.inner.lock();
            if !inner.phase.has_leg() || inner.lapsed {
                return false;
            }
            inner.lapsed = true;
            inner.waker.take()
        };
        wake(waker);
        true
    }

    /// Orders that do not come from a hold.
    pub(crate) fn force(&self, order: Order) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.forced = inner.forced.strongest(order);
            inner.look_again = true;
            inner.waker.take()
        };
        wake(waker);
    }

    /// An operator's kick. A login in progress looks again: what it has seen may have been left meanwhile.
    pub(crate) fn kick(&self) {
        let waker = {
            let mut inner = self.inner.lock();
            match inner.phase {
                // It will look after this: there is nothing to take back.
                Phase::Waiting | Phase::Ended => return,
                _ if !inner.signed_in => inner.recalled = true,
                _ => inner.forced = inner.forced.strongest(Order::Kick),
            }
            inner.waker.take()
        };
        wake(waker);
    }

    /// A kick has come to its end: nothing is left of what it found.
    pub(crate) fn is_kicked_out(&self) -> bool {
        let inner = self.inner.lock();
        match inner.phase {
            Phase::Ended | Phase::Waiting => true,
            _ => !inner.recalled && inner.forced.rank() < Order::Kick.rank(),
        }
    }

    /// The node is no longer drained.
    pub(crate) fn resume(&self) {
        let waker = {
            let mut inner = self.inner.lock();
            if let Order::Drain { .. } = inner.forced {
                inner.forced = Order::Stay;
            }
            inner.waker.take()
        };
        wake(waker);
    }
}

/// What presses a leg that does not end: the holds that wait for it, and the strongest order that comes from none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pressed {
    pub(crate) holds: Vec<HoldId>,
    forced: Order,
}

impl Pressed {
    /// Whether the leg is reset now (Q2).
    pub(crate) fn resets(&self, a_hold_waits: bool) -> bool {
        match self.forced {
            Order::Reset => true,
            Order::Recall | Order::Kick | Order::Shutdown => !a_hold_waits,
            Order::Stay | Order::Drain { .. } => false,
        }
    }
}

/// Whether a look is the one that a kick asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recalled {
    Yes,
    No,
}

/// What a task that went away left behind.
pub(crate) enum Abandoned {
    WithLeg,
    WithoutLeg,
}

impl Inner {
    fn pressed(&self) -> Pressed {
        Pressed {
            holds: self.owes.iter().map(|hold| hold.id).collect(),
            forced: self.forced(),
        }
    }

    /// Its own task looks at the clock: it may be quicker than the thread that rings.
    fn look_at(&mut self, term: &Term, lease: &Lease) {
        if !self.lapsed && self.phase.has_leg() && term.is_over(lease) {
            self.lapsed = true;
        }
    }

    fn forced(&self) -> Order {
        match (self.lapsed, self.recalled) {
            (true, _) => Order::Reset,
            (false, true) => self.forced.strongest(Order::Recall),
            (false, false) => self.forced,
        }
    }

    fn order(&self) -> Order {
        self.owes.iter().fold(self.forced(), |order, hold| {
            order.strongest(Order::Drain {
                cause: DrainCause::Hold(hold.id),
                deadline: hold.drain_until,
            })
        })
    }

    fn wake_later(&mut self, cx: &Context<'_>) {
        match &self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => self.waker = Some(cx.waker().clone()),
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
