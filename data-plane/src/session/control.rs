//! How the process reaches a connection: the sweep that ends the idle, the stop that ends the rest.
//!
//! One small shared value per connection, no channel and no timer: an idle session costs this and nothing more.
//! What concerns its account (holds, kicks) comes through the registry.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Where a connection stands: a stop ends at once what is not bridged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No login has been accepted yet.
    BeforeLogin,
    /// Bytes move between client and backend.
    Bridged,
}

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Go on.
    Nothing,
    /// Nothing has moved for `bridge_idle`: end.
    Idle,
    /// The process stops: end.
    Stop,
}

/// The shared side of one connection.
#[derive(Debug)]
pub struct Control {
    told: AtomicU8,
    phase: AtomicU8,
    moved_at: AtomicU64,
    waker: AtomicWaker,
}

impl Control {
    fn new() -> Self {
        Self {
            told: AtomicU8::new(0),
            phase: AtomicU8::new(0),
            moved_at: AtomicU64::new(millis(Instant::now())),
            waker: AtomicWaker::new(),
        }
    }

    /// What it is told, and the task to wake when that changes. One task at a time owns a connection.
    pub fn told(&self, cx: &Context<'_>) -> Told {
        self.waker.register(cx.waker());
        match self.told.load(Ordering::Acquire) {
            0 => Told::Nothing,
            1 => Told::Idle,
            _ => Told::Stop,
        }
    }

    /// Waits until it is told to end. For the stages before the login.
    pub async fn told_to_end(&self) {
        std::future::poll_fn(|cx| match self.told(cx) {
            Told::Nothing => Poll::Pending,
            Told::Idle | Told::Stop => Poll::Ready(()),
        })
        .await;
    }

    /// Bytes moved now.
    pub fn moved(&self, now: Instant) {
        self.moved_at.store(millis(now), Ordering::Relaxed);
    }

    /// The bridge begins. What was told to a login in progress was not meant for a session: it has its grace.
    pub fn bridged(&self, now: Instant) {
        self.moved(now);
        self.told.store(Told::Nothing as u8, Ordering::Release);
        self.phase.store(1, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::BeforeLogin,
            _ => Phase::Bridged,
        }
    }

    fn idle_for(&self, now: Instant) -> Duration {
        Duration::from_millis(millis(now).saturating_sub(self.moved_at.load(Ordering::Relaxed)))
    }

    fn tell(&self, told: Told) {
        self.told.fetch_max(told as u8, Ordering::AcqRel);
        self.waker.wake();
    }
}

/// Every connection of clients on this node.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<Open>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    controls: HashMap<u64, Arc<Control>>,
    /// Nobody signs in any more. A connection may be accepted just before that, and come here just after it.
    stopping: bool,
}

impl Connections {
    /// A new connection. It counts until the handle is dropped.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> Connection {
        let control = Arc::new(Control::new());
        let mut open = self.open.lock();
        let number = open.next;
        open.next += 1;
        if open.stopping {
            control.tell(Told::Stop);
        }
        open.controls.insert(number, Arc::clone(&control));
        Connection {
            connections: Arc::clone(self),
            number,
            control,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.lock().controls.len()
    }

    /// How many have not signed in.
    #[must_use]
    pub fn before_login(&self) -> usize {
        let open = self.open.lock();
        let waiting = |control: &&Arc<Control>| control.phase() == Phase::BeforeLogin;
        open.controls.values().filter(waiting).count()
    }

    /// Ends the bridges in which nothing has moved for `bridge_idle`. Called now and then: no session has a timer.
    pub fn end_idle(&self, bridge_idle: Duration) {
        let now = Instant::now();
        self.tell(Told::Idle, |control| {
            control.phase() == Phase::Bridged && control.idle_for(now) >= bridge_idle
        });
    }

    /// Ends those in a phase: the process stops. From then on no connection begins that is not told so.
    pub fn stop(&self, phase: Phase) {
        self.open.lock().stopping = true;
        self.tell(Told::Stop, |control| control.phase() == phase);
    }

    /// Waits until there are none.
    pub async fn closed(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn tell(&self, told: Told, which: impl Fn(&Control) -> bool) {
        let controls: Vec<_> = {
            let open = self.open.lock();
            open.controls
                .values()
                .filter(|control| which(control))
                .cloned()
                .collect()
        };
        controls.iter().for_each(|control| control.tell(told));
    }
}

/// One connection among all. Dropped when both its legs are closed.
#[derive(Debug)]
pub struct Connection {
    connections: Arc<Connections>,
    number: u64,
    control: Arc<Control>,
}

impl Connection {
    /// Its shared side.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.controls.remove(&self.number);
        if open.controls.is_empty() {
            self.connections.emptied.notify_waiters();
        }
    }
}

/// Milliseconds on a clock of this process: an `Instant` does not fit into an atomic.
fn millis(at: Instant) -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(at.saturating_duration_since(*START).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_reaches_only_the_phase_that_it_names() {
        let connections = Arc::new(Connections::default());
        let before = connections.open();
        let bridged = connections.open();
        bridged.control().bridged(Instant::now());
        connections.stop(Phase::BeforeLogin);
        before.control().told_to_end().await;
        let cx = &Context::from_waker(std::task::Waker::noop());
        assert_eq!(bridged.control().told(cx), Told::Nothing);
        drop(before);
        assert_eq!(connections.count(), 1);
        let closed = connections.closed();
        drop(bridged);
        closed.await;
    }

    #[tokio::test]
    async fn a_connection_that_was_accepted_just_before_a_stop_is_told_too() {
        let connections = Arc::new(Connections::default());
        connections.stop(Phase::BeforeLogin);
        connections.open().control().told_to_end().await;
    }

    #[test]
    fn a_login_that_ends_well_during_a_stop_has_the_grace_of_a_session() {
        let connections = Arc::new(Connections::default());
        let login = connections.open();
        connections.stop(Phase::BeforeLogin);
        login.control().bridged(Instant::now());
        let cx = &Context::from_waker(std::task::Waker::noop());
        assert_eq!(login.control().told(cx), Told::Nothing);
        connections.stop(Phase::Bridged);
        assert_eq!(login.control().told(cx), Told::Stop);
    }

    #[test]
    fn the_sweep_ends_idle_bridges_and_no_login_in_progress() {
        let connections = Arc::new(Connections::default());
        let login = connections.open();
        let bridge = connections.open();
        bridge.control().bridged(Instant::now());
        let cx = &Context::from_waker(std::task::Waker::noop());
        connections.end_idle(Duration::from_secs(3600));
        assert_eq!(bridge.control().told(cx), Told::Nothing);
        connections.end_idle(Duration::ZERO);
        assert_eq!(bridge.control().told(cx), Told::Idle);
        assert_eq!(login.control().told(cx), Told::Nothing);
    }
}
