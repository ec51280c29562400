//! What a session's task holds while it is registered. It leaves the registry in one way: with the proof that its leg
//! is over (A2, Q2). Dropped without it, a session that had a leg stays and blocks every hold of its account.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mailswitch_config::DestinationName;
use tokio::time::timeout_at;

use super::Sessions;
use super::about::{About, ActingFor};
use super::entry::{Abandoned, Entry, Phase};
use super::leg::{End, LegIsOver};
use super::order::Order;
use crate::route::Look;

/// How long a backend may take to close after our half-close (Q2).
pub const LEG_END_TIMEOUT: Duration = Duration::from_secs(3);

/// A registered session.
#[derive(Debug)]
pub struct Registered {
    sessions: Arc<Sessions>,
    entry: Arc<Entry>,
    left: bool,
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
        self.entry.order()
    }

    /// Waits until the order in force is another one than `seen`. Costs nothing while nothing happens: no timer, no
    /// channel. Only the session's own task may wait.
    pub async fn order_other_than(&self, seen: Order) -> Order {
        poll_fn(|cx| self.entry.poll_order(cx, seen)).await
    }

    /// The order in force; the task of `cx` is woken when it is another one. As `order_other_than`, for a future
    /// that waits for more than this.
    pub fn poll_order(&self, cx: &Context<'_>) -> Order {
        let mut order = self.order();
        // What changed in between is seen in the next round; Pending has registered the waker.
        while let Poll::Ready(changed) = self.entry.poll_order(cx, order) {
            order = changed;
        }
        order
    }

    /// Waits until the session is told to end in any way. A drain can be taken back: ask `order` again.
    pub async fn told_to_end(&self) -> Order {
        self.order_other_than(Order::Stay).await
    }

    /// Follows a leg to its end (Q2): `ends` half-closes it and reads until the backend's own end; dropping it resets
    /// the leg (linger 0 is set from the dial).
    ///
    /// After `LEG_END_TIMEOUT` the leg is stuck. While a hold waits for it, that is reported and it is read on; a
    /// reset would prove nothing to that hold. Otherwise, or by order, it is reset.
    pub async fn until_leg_is_over(&self, ends: impl Future<Output = ()>) -> LegIsOver {
        self.entry.enters(Phase::Ending, None);
        let mut ends = pin!(ends);
        let deadline = tokio::time::Instant::now() + LEG_END_TIMEOUT;
        if timeout_at(deadline, ends.as_mut()).await.is_ok() {
            return LegIsOver::by(End::BackendClosed);
        }
        self.entry.is_stuck();
        loop {
            let waiting = self.entry.owed_holds();
            if self.order() == Order::Reset || !self.sessions.wait_for_a_leg(&waiting) {
                return LegIsOver::by(End::Reset);
            }
            self.report_stuck();
            tokio::select! {
                biased;
                () = ends.as_mut() => return LegIsOver::by(End::BackendClosed),
                () = poll_fn(|cx| self.entry.poll_owes_other_than(cx, &waiting)) => {}
            }
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
        self.entry.looks();
        self.check()
    }

    /// A check of A1: a look while a leg stands.
    pub(crate) fn check(&self) -> Look {
        self.sessions.look(&self.entry.acting_for)
    }

    pub(crate) fn enters(&self, phase: Phase, destination: Option<&DestinationName>) {
        self.entry.enters(phase, destination);
    }

    /// Waits while held (A5). Without a leg: this is the session's confirmation for every hold that found it (Q4).
    /// Dropping the future gives its place back.
    pub(crate) async fn wait(&self, until: tokio::time::Instant) -> Woken {
        self.entry.waits();
        let Some(_place) = self.sessions.place_to_wait(&self.entry) else {
            return Woken::NoRoom;
        };
        let woken = poll_fn(|cx| self.entry.poll_look_again(cx));
        match timeout_at(until, woken).await {
            Ok(()) => Woken::LookAgain,
            Err(_) => Woken::TooLong,
        }
    }

    pub(crate) fn report_stuck(&self) {
        self.entry.is_stuck();
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
