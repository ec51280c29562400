//! The idle backend connections of one client's connection: at most four, each kept for the next request of the *same*
//! account to the same destination, as a backend may tie what it knows of somebody to a connection. Never shared with
//! another client: they carry this one's address.
//!
//! Each stays registered for its account: a hold closes it, and quiesces only when the backend has closed it too (promise
//! A3, Q2). A task watches each one; it owns nothing that the next request needs to wait for.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::leg::Leg;
use crate::backend::Backend;
use crate::sessions::{ActingFor, LegIsOver, Order, Registered};
use crate::tls::{HttpVersion, HttpVersions};

/// Of one client's connection (behaviour 8.3).
const MOST: usize = 4;

/// Idle connections.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    idle: Vec<Arc<Slot>>,
    closed: bool,
}

/// One of them. Empty once it was taken or ended.
#[derive(Debug)]
struct Slot {
    idle: Mutex<Option<Idle>>,
    watch: Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
struct Idle {
    leg: Leg,
    registered: Registered,
}

impl Idle {
    fn serves(&self, backend: &Arc<Backend>, acting_for: &ActingFor, offer: HttpVersions) -> bool {
        // A destination whose settings changed is another one.
        Arc::ptr_eq(&self.leg.backend, backend)
            && self.registered.acting_for() == acting_for
            && self.registered.order() == Order::Stay
            && (offer == HttpVersions::Http2 || self.leg.version() == HttpVersion::Http1)
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.registered.poll_order(cx) {
            Order::Stay => self.leg.poll_closed(cx),
            _ => Poll::Ready(()),
        }
    }

    fn end(self) {
        let (registered, leg_ends) = (self.registered, self.leg.end());
        tokio::spawn(async move {
            let over = registered.until_leg_is_over(leg_ends).await;
            registered.unregister(over);
        });
    }
}

impl Pool {
    /// A connection for a request that is registered for these accounts, if there is one that still lives.
    pub(super) async fn take(
        &self,
        backend: &Arc<Backend>,
        acting_for: &ActingFor,
        offer: HttpVersions,
    ) -> Option<Leg> {
        loop {
            let Idle { mut leg, registered } = self.pick(backend, acting_for, offer)?;
            // The request is registered for the same accounts: from here on a hold finds the leg through it (A2).
            registered.unregister(LegIsOver::handed_on());
            if leg.takes_another().await {
                return Some(leg);
            }
        }
    }

    fn pick(&self, backend: &Arc<Backend>, acting_for: &ActingFor, offer: HttpVersions) -> Option<Idle> {
        let mut kept = self.0.lock();
        // The newest first: it is the one that the backend closes last.
        for at in (0..kept.idle.len()).rev() {
            let slot = Arc::clone(&kept.idle[at]);
            let mut idle = slot.idle.lock();
            match &*idle {
                None => {
                    kept.idle.remove(at);
                }
                Some(candidate) if candidate.serves(backend, acting_for, offer) => {
                    kept.idle.remove(at);
                    if let Some(watch) = slot.watch.lock().take() {
                        watch.abort();
                    }
                    return idle.take();
                }
                Some(_) => {}
            }
        }
        None
    }

    /// Keeps a connection whose request was answered in full.
    pub(super) fn keep(&self, leg: Leg, registered: Registered, at_most: Duration) {
        let idle = Idle { leg, registered };
        let mut kept = self.0.lock();
        kept.idle.retain(|slot| slot.idle.lock().is_some());
        if kept.closed {
            return idle.end();
        }
        if kept.idle.len() >= MOST {
            let oldest = kept.idle.remove(0);
            oldest.end();
        }
        let slot = Arc::new(Slot {
            idle: Mutex::new(Some(idle)),
            watch: Mutex::default(),
        });
        let watch = tokio::spawn(watch(Arc::clone(&slot), Instant::now() + at_most));
        *slot.watch.lock() = Some(watch.abort_handle());
        kept.idle.push(slot);
    }

    /// The client's connection is over: so are these, and those that come later.
    pub(super) fn close(&self) {
        let mut kept = self.0.lock();
        kept.closed = true;
        for slot in kept.idle.drain(..) {
            slot.end();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Slot {
    fn end(&self) {
        let idle = self.idle.lock().take();
        if let Some(watch) = self.watch.lock().take() {
            watch.abort();
        }
        if let Some(idle) = idle {
            idle.end();
        }
    }
}

/// Ends a connection when its account is held, when the backend has closed it, or when nobody needed it for long.
async fn watch(slot: Arc<Slot>, until: Instant) {
    let over = poll_fn(|cx| match &mut *slot.idle.lock() {
        Some(idle) => idle.poll_over(cx),
        None => Poll::Ready(()),
    });
    // Either way it is over.
    let _ = tokio::time::timeout_at(until.into(), over).await;
    if let Some(idle) = slot.idle.lock().take() {
        idle.end();
    }
}
