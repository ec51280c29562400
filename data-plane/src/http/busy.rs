//! Whether a client's connection has a request open, and since when it has none. No timer here: whoever drives the
//! connection asks how long it may stay as it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::lent::Traffic;
use super::limits::after;

/// How long a connection without an open request may stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the first head, from the start.
    pub(super) first_head: Duration,
    /// For a later one, from its first byte.
    pub(super) next_head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
    /// Bytes without a request, where heads cannot be told from them.
    pub(super) chatter: u64,
}

/// What a connection was too slow with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// A head that was due, or had begun.
    Head,
    /// It was idle.
    Idle,
    /// It said much, and asked for nothing.
    Chatter,
}

/// Whether a begun head can be told from other bytes: frames of HTTP/2 need not be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heads {
    /// Every byte between two requests is of a head.
    Visible,
    /// It is not.
    Hidden,
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    traffic: Arc<Traffic>,
    requests: Mutex<Requests>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Requests {
    open: usize,
    begun: u64,
    idle_since: Instant,
    read_then: u64,
}

impl Activity {
    /// None was open yet.
    pub(super) fn new(traffic: Arc<Traffic>) -> Arc<Self> {
        Arc::new(Self {
            requests: Mutex::new(Requests {
                open: 0,
                begun: 0,
                idle_since: Instant::now(),
                read_then: 0,
            }),
            traffic,
            changed: Notify::new(),
        })
    }

    /// A request begins: which one it is, counted from 1, and what keeps it open.
    pub(super) fn begin(self: &Arc<Self>) -> (u64, Busy) {
        let begun = {
            let mut requests = self.requests.lock();
            requests.open += 1;
            requests.begun += 1;
            requests.begun
        };
        self.changed.notify_waiters();
        (begun, Busy(Arc::clone(self)))
    }

    /// How many requests there were.
    pub(super) fn begun(&self) -> u64 {
        self.requests.lock().begun
    }

    /// Ends when the connection has been too slow.
    pub(super) async fn late(&self, patience: Patience, heads: Heads) -> Late {
        loop {
            let changed = self.changed.notified();
            let requests = *self.requests.lock();
            if requests.open > 0 {
                changed.await;
                continue;
            }
            tokio::select! {
                () = changed => {}
                late = self.late_since(requests, patience, heads) => return late,
            }
        }
    }

    /// Ends when no request has been open for that long.
    pub(super) async fn idle_for(&self, time: Duration) {
        loop {
            let changed = self.changed.notified();
            if self.requests.lock().open > 0 {
                changed.await;
                continue;
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(time) => return,
            }
        }
    }

    async fn late_since(&self, requests: Requests, patience: Patience, heads: Heads) -> Late {
        let (time, at_end) = match requests.begun {
            0 => (patience.first_head, Late::Head),
            _ => (patience.idle, Late::Idle),
        };
        let said = async {
            match (heads, at_end) {
                (Heads::Visible, Late::Head) => std::future::pending().await,
                // The next head begins.
                (Heads::Visible, _) => self.traffic.more_than(requests.read_then).await,
                (Heads::Hidden, _) => {
                    let much = requests.read_then + patience.chatter;
                    self.traffic.more_than(much).await;
                }
            }
        };
        tokio::select! {
            () = said => match heads {
                Heads::Visible => {
                    tokio::time::sleep(patience.next_head).await;
                    Late::Head
                }
                Heads::Hidden => Late::Chatter,
            },
            () = sleep_until(after(requests.idle_since, time).into()) => at_end,
        }
    }

    /// Ends when the client has said its last byte, or is gone, whether or not somebody reads what it sent before. Found
    /// out by looking now and then: the socket tells one task only, and that one waits for room.
    pub(super) async fn client_left(&self) {
        const LOOK_EVERY: Duration = Duration::from_millis(500);
        while !self.traffic.is_half_closed() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A request that is open.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    /// Holds the same request open for one more holder.
    pub(super) fn share(&self) -> Self {
        self.0.requests.lock().open += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        {
            let mut requests = self.0.requests.lock();
            requests.open -= 1;
            requests.idle_since = Instant::now();
            requests.read_then = self.0.traffic.read();
        }
        self.0.changed.notify_waiters();
    }
}
