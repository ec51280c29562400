//! One hold as this node sees it: how many sessions still have to confirm their end, and whether all have (Q4).
//!
//! The count starts at one, for the collecting itself, so that it cannot reach zero before every session that there
//! was has been found. Sessions that register later see the hold at their first look and never count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use mailswitch_proto::id::HoldId;
use mailswitch_proto::revision::Position;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Stuck;
use super::trace::HoldTrace;
use crate::lease::Boot;

/// What bars an account: a hold, or what is treated like one.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) id: HoldId,
    /// Where it was applied: `Quiesced` names it.
    pub(crate) applied: Position,
    /// When its sessions are ended without a quiet moment.
    pub(crate) drain_until: Instant,
    /// Until when its sessions may live, where they live on a lease (L3).
    pub(crate) frozen: Option<Boot>,
    pub(crate) trace: HoldTrace,
    outstanding: AtomicUsize,
    closed: AtomicU64,
    parked: AtomicU64,
    /// Legs that were reset under it: nobody has seen their end, so it is never quiet here (Q2).
    torn: Mutex<Vec<Stuck>>,
    changed: Arc<Notify>,
}

/// What a hold has met here so far. For the operator: nothing rests on it, and it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Met {
    /// Sessions that were open, or being opened, and ended for it.
    pub closed: u64,
    /// Logins that waited for its end.
    pub parked: u64,
}

impl Hold {
    pub(crate) fn new(id: HoldId, applied: Position, drain_until: Instant, changed: Arc<Notify>) -> Self {
        Self {
            id,
            applied,
            drain_until,
            frozen: None,
            trace: HoldTrace::new(),
            outstanding: AtomicUsize::new(1),
            closed: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            torn: Mutex::default(),
            changed,
        }
    }

    /// Its sessions live on a lease, which is not extended for them.
    pub(crate) fn freezes(self, until: Option<Boot>) -> Self {
        Self {
            frozen: until,
            ..self
        }
    }

    /// The same hold, collected once more: what it had met goes on.
    pub(crate) fn goes_on_from(&self, before: &Self) {
        let met = before.met();
        self.closed.fetch_add(met.closed, Ordering::Relaxed);
        self.parked.fetch_add(met.parked, Ordering::Relaxed);
        before.torn().into_iter().for_each(|leg| {
            self.owed();
            self.tear(leg);
        });
    }

    /// A leg that it waits for was reset. What it owes is never confirmed.
    pub(crate) fn tear(&self, leg: Stuck) {
        self.torn.lock().push(leg);
    }

    /// The legs that were.
    pub(crate) fn torn(&self) -> Vec<Stuck> {
        self.torn.lock().clone()
    }

    /// One more session has to confirm.
    pub(crate) fn owed(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    /// A session confirmed its end, or the collecting is done.
    pub(crate) fn confirmed(&self) {
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.trace.quiesced(self.id);
            self.changed.notify_one();
        }
    }

    /// A session that it had found is over.
    pub(crate) fn closed_one(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// A login begins to wait for its end.
    pub(crate) fn parked_one(&self) {
        self.parked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn met(&self) -> Met {
        Met {
            closed: self.closed.load(Ordering::Relaxed),
            parked: self.parked.load(Ordering::Relaxed),
        }
    }

    /// No session of its keys is left. Stays true: nothing raises the count again.
    pub(crate) fn is_quiesced(&self) -> bool {
        self.outstanding.load(Ordering::Acquire) == 0
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }
}
