//! What a session's task holds while it is registered. It leaves the registry in one way: with the proof that its leg
//! is over (A2, Q2). Dropped without it, a session that had a leg stays and blocks every hold of its account.

use std::future::{poll_fn, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mailswitch_config::DestinationName;
use mailswitch_sources::{Counted, Found};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Sessions;
use super::about::{About, ActingFor};
use super::delay::{Delayed, LONGEST_WAIT};
use super::entry::{Abandoned, Entry, Phase, Recalled};
use super::leg::{End, LegIsOver};
use super::order::Order;
use crate::route::Look;

/// How long a backend may take to close after our half-close (Q2). After that its leg is stuck.
pub const LEG_END_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a stuck leg that no hold waits for is read on. A backend may still process what it had read before a reset, so
/// until then the session stays registered, and a hold that comes finds it (A2). Backends answer within this (an
/// authentication delay, a slow APPEND); one that does not is hung or gone, and would keep a descriptor for ever.
pub(super) const STUCK_LEG_FOLLOWED_FOR: Duration = Duration::from_secs(if cfg!(test) { 6 } else { 60 });

/// A registered session.
#[derive(Debug)]
pub struct Registered {
    sessions: Arc<Sessions>,
    entry: Arc<Entry>,
    left: bool,
}

/// A session's leave to move bytes.
#[derive(Debug, Clone)]
pub struct Chunks {
    sessions: Arc<Sessions>,
    entry: Arc<Entry>,
}

impl Chunks {
    /// As `Registered::may_move`.
    #[must_use]
    pub fn may_move(&self) -> bool {
        !self.entry.term.is_over(self.sessions.lease())
    }
}

/// Whether a login waited before it looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It did not: it counts as parked.
    Begins,
    /// It did, and was woken by something else than the end of its hold.
    GoesOn,
}

/// Why a wait on a hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// A hold ended, or something else changed: look again.
    LookAgain,
    /// `hold_login_timeout` is over (A5).
    TooLong,
    /// Too many wait already, for this account or on this node (A5).
    NoRoom,
}

impl Registered {
    pub(super) fn new(sessions: Arc<Sessions>, entry: Arc<Entry>) -> Self {
        Self {
            sessions,
            entry,
            left: false,
        }
    }

    /// What was said of it.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.entry.about
    }

    /// For whom it acts.
    #[must_use]
    pub fn acting_for(&self) -> &ActingFor {
        &self.entry.acting_for
    }

    /// The registry that it stands in.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.entry.phase()
    }

    /// The order in force.
    #[must_use]
    pub fn order(&self) -> Order {
        self.entry.order(self.sessions.lease())
    }

    /// Waits until the order in force is another one than `seen`. Costs nothing while nothing happens: no timer, no
    /// channel. Only the session's own task may wait.
    pub async fn order_other_than(&self, seen: Order) -> Order {
        poll_fn(|cx| self.entry.poll_order(cx, self.sessions.lease(), seen)).await
    }

    /// The order in force; the task of `cx` is woken when it is another one. As `order_other_than`, for a future
    /// that waits for more than this.
    pub fn poll_order(&self, cx: &Context<'_>) -> Order {
        let mut order = self.order();
        // What changed in between is seen in the next round; Pending has registered the waker.
        while let Poll::Ready(changed) = self.entry.poll_order(cx, self.sessions.lease(), order) {
            order = changed;
        }
        order
    }

    /// For whoever moves its chunks beside its task.
    #[must_use]
    pub fn chunks(&self) -> Chunks {
        Chunks {
            sessions: Arc::clone(&self.sessions),
            entry: Arc::clone(&self.entry),
        }
    }

    /// Whether it may move another chunk: a look at the clock, and for sessions of accounts that are not armed not even
    /// that (L1).
    #[must_use]
    pub fn may_move(&self) -> bool {
        !self.entry.term.is_over(self.sessions.lease())
    }

    /// Waits until the session is told to end in any way. A drain can be taken back: ask `order` again.
    pub async fn told_to_end(&self) -> Order {
        self.order_other_than(Order::Stay).await
    }

    /// Follows a leg to its end (Q2): `ends` half-closes it and reads until the backend's own end; dropping it resets
    /// the leg (linger 0 is set from the dial).
    ///
    /// After `LEG_END_TIMEOUT` the leg is stuck: it is read on, the session stays registered, and every hold that waits
    /// for it, now or later, is told. It is reset by order, or when no hold has waited for it for long. While one
    /// waits only `Reset` does that, at once, whether stuck or not (L1). A reset proves nothing to a hold of an operation: it is told
    /// that the leg is stuck, and never that it is over.
    pub async fn until_leg_is_over(&self, ends: impl Future<Output = ()>) -> LegIsOver {
        self.entry.enters(Phase::Ending, None);
        let mut ends = pin!(ends);
        // A leg that was given up during the login may have had its time already.
        if !self.entry.is_stuck() {
            tokio::select! {
                biased;
                () = self.told_to_reset() => return self.torn(),
                ended = timeout(LEG_END_TIMEOUT, ends.as_mut()) => if ended.is_ok() {
                    return LegIsOver::by(End::BackendClosed);
                },
            }
        }
        let mut reset_at = Instant::now() + STUCK_LEG_FOLLOWED_FOR;
        loop {
            self.report_stuck();
            let pressed = self.entry.pressed();
            let waited_for = self.sessions.wait_for_a_leg(&pressed.holds);
            if pressed.resets(waited_for) {
                return self.torn();
            }
            tokio::select! {
                biased;
                () = ends.as_mut() => return LegIsOver::by(End::BackendClosed),
                () = poll_fn(|cx| self.entry.poll_pressed_otherwise(cx, &pressed)) => {
                    if waited_for {
                        reset_at = Instant::now() + STUCK_LEG_FOLLOWED_FOR;
                    }
                }
                () = sleep_until(reset_at), if !waited_for => return self.torn(),
            }
        }
    }

    /// The leg is reset: dropped by whoever holds it.
    fn torn(&self) -> LegIsOver {
        self.leg_was_reset();
        LegIsOver::by(End::Reset)
    }

    /// Before it leaves, looks again or waits: no hold of an operation takes that for the end of its leg (Q2).
    pub(crate) fn leg_was_reset(&self) {
        self.sessions.tear(&self.entry);
    }

    async fn told_to_reset(&self) {
        let mut order = self.order();
        while order != Order::Reset {
            order = self.order_other_than(order).await;
        }
    }

    /// Leaves the registry.
    pub fn unregister(mut self, leg: LegIsOver) {
        let _ = leg.how();
        self.leave();
    }

    // ---- for the admission loop ----------------------------------------------------------------------

    /// The first look, or one after a wait: there is no leg. From now on the session counts for holds.
    pub(crate) fn look(&self) -> Look {
        self.begins_to_look();
        self.check()
    }

    /// Without a leg: nothing is left of what a kick found.
    fn begins_to_wait(&self) {
        self.entry.waits();
        self.sessions.kicked_out.notify_waiters();
    }

    fn begins_to_look(&self) {
        if self.entry.looks() == Recalled::Yes {
            self.sessions.kicked_out.notify_waiters();
        }
    }

    /// A check of A1: a look while a leg stands.
    pub(crate) fn check(&self) -> Look {
        self.sessions.look_of(&self.entry)
    }

    /// Asks the source of a lone node, after a look that said so. `before`: what it answered the look that this checks.
    /// None: there is no source. Boxed: most sessions never ask, and all would be larger by it.
    pub(crate) fn ask_source<'a>(&'a self, before: Option<&'a Found>) -> BoxFuture<'a, Option<Found>> {
        let (Some(mappings), Some(identifier)) =
            (self.sessions.mappings(), self.entry.acting_for.routed_by())
        else {
            return ready(None).boxed();
        };
        match before {
            Some(before) => mappings.still(identifier, before).map(Some).boxed(),
            None => mappings
                .route(identifier, Counted::Login)
                .map(|found| {
                    let report = self.sessions.report();
                    report.looked_up(&found);
                    if !found.cached {
                        report.cached(mappings.stats().entries);
                    }
                    Some(found)
                })
                .boxed(),
        }
    }

    pub(crate) fn enters(&self, phase: Phase, destination: Option<&DestinationName>) {
        self.entry.enters(phase, destination);
    }

    /// Waits while logins of its account are delayed (behaviour 9.3). It has not looked yet, so nothing that it would have
    /// seen can be stale. Dropping the future gives its place back.
    pub(crate) async fn wait_out_delay(&self) -> Delayed {
        let mut most = None;
        loop {
            // Before the delay is read: one that changes in between wakes it.
            self.begins_to_look();
            let Some(until) = self.sessions.delayed_until(&self.entry.acting_for) else {
                return Delayed::Over;
            };
            let until = until.min(*most.get_or_insert_with(|| Instant::now() + LONGEST_WAIT));
            if until <= Instant::now() {
                return Delayed::Over;
            }
            tracing::debug!("login delayed by an operator");
            self.begins_to_wait();
            let Some(_place) = self.sessions.place_to_wait(&self.entry) else {
                return Delayed::NoRoom;
            };
            let woken = poll_fn(|cx| self.entry.poll_look_again(cx));
            let _ = timeout_at(until, woken).await;
        }
    }

    /// Waits while held (A5). Without a leg: this is the session's confirmation for every hold that found it (Q4).
    /// Dropping the future gives its place back.
    pub(crate) async fn wait(&self, until: Instant, wait: Wait) -> Woken {
        self.begins_to_wait();
        let Some(_place) = self.sessions.place_to_wait(&self.entry) else {
            return Woken::NoRoom;
        };
        if wait == Wait::Begins {
            self.sessions.parked(&self.entry.acting_for);
        }
        let woken = poll_fn(|cx| self.entry.poll_look_again(cx));
        match timeout_at(until, woken).await {
            Ok(()) => Woken::LookAgain,
            Err(_) => Woken::TooLong,
        }
    }

    pub(crate) fn report_stuck(&self) {
        self.entry.gets_stuck();
        self.sessions.stuck(&self.entry);
    }

    fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            self.sessions.remove(&self.entry);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        match self.entry.abandoned() {
            Abandoned::WithoutLeg => self.leave(),
            // The process ends: its legs are reset, and nobody is told anything any more.
            Abandoned::WithLeg if self.sessions.is_draining() => {}
            Abandoned::WithLeg => {
                tracing::error!(session = %self.entry.about.id, "a session's task went away without ending its backend leg: its account cannot be moved until the session is kicked");
                self.report_stuck();
            }
        }
    }
}
