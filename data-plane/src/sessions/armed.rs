//! Armed accounts and their sessions (promise L1, L3, L4): what a lease, its lapse and a hold mean for them.
//!
//! A session's *term* says until when it may live, and is settled whenever something changes that: under the table's
//! lock, so that a look and a change settle one after the other. Whoever moves a chunk looks at the term and the clock.
//!
//! An arming *rests* on the lease once one was granted that was asked for behind it; from then on it is acknowledged, and
//! its sessions live and end with the lease. Before that nobody counts on this node's lapse, so sessions that were open
//! when the arming came have the time of one lease for that answer; logins wait for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mailswitch_admission::Lease as Seen;
use mailswitch_proto::id::ArmingId;
use mailswitch_proto::identifier::Key;
use mailswitch_proto::revision::{Position, Revision};
use parking_lot::Mutex;

use super::Sessions;
use super::about::ActingFor;
use super::entry::{Entry, Phase};
use crate::lease::{Boot, Grant, Lapse, Lease};
use crate::route::Look;
use crate::table::Table;

/// The armings in force, by what they stand on.
#[derive(Debug, Default)]
pub(super) struct Armings(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The lease.
    rest: HashSet<ArmingId>,
    /// No lease was granted behind them yet. Sessions that were open when they came may live until then.
    wait: HashMap<ArmingId, Boot>,
    /// Those that rest, and of which the control plane was not told on this stream.
    unsaid: Vec<ArmingId>,
}

/// Until when a session may live: one word, looked at for each chunk.
#[derive(Debug, Default)]
pub(crate) struct Term(AtomicU64);

/// What a session of an armed account lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The lease, which is live.
    Live,
    /// Nothing any more.
    Lapsed,
    /// Its account was armed while it was open, and the first lease behind that is awaited.
    Awaited,
}

impl Standing {
    /// As in the feed's messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Lapsed => "lapsed",
            Self::Awaited => "awaited",
        }
    }
}

/// Its account is armed, and rests on the lease; the other bits are a moment.
const RESTS: u64 = 1 << 63;

impl Term {
    /// Zero is nobody's term: the account is not armed.
    fn set(&self, rests: bool, until: Boot) {
        let until = until.0.clamp(1, RESTS - 1);
        self.0
            .store(if rests { until | RESTS } else { until }, Ordering::Release);
    }

    fn set_ordinary(&self) {
        self.0.store(0, Ordering::Release);
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// For operators. None: its account is not armed.
    pub(super) fn standing(&self, lease: &Lease) -> Option<Standing> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            _ if self.is_over(lease) => Some(Standing::Lapsed),
            term if term & RESTS == 0 => Some(Standing::Awaited),
            _ => Some(Standing::Live),
        }
    }

    /// The account is armed, and what its sessions live on is over.
    pub(crate) fn is_over(&self, lease: &Lease) -> bool {
        match self.0.load(Ordering::Acquire) {
            0 => false,
            term => {
                let until = Boot(term & !RESTS);
                let until = if term & RESTS == 0 {
                    until
                } else {
                    until.min(lease.until())
                };
                Boot::now() >= until
            }
        }
    }
}

/// What an operator sees of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseSight {
    /// Armings in force.
    pub armings: usize,
    /// The lease is live.
    pub live: bool,
    /// How long ago the one was asked for that was granted last; none: there was none.
    pub age: Option<Duration>,
}

impl Sessions {
    /// The node's lease.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// For operators.
    #[must_use]
    pub fn lease_sight(&self) -> LeaseSight {
        LeaseSight {
            armings: self.with_table(|table| table.armings().count()),
            live: self.lease.is_live(),
            age: self.lease.age(),
        }
    }

    /// What a look of this session shows now. Its term is settled before anything is read off it.
    pub(super) fn look_of(&self, entry: &Entry) -> Look {
        if let Err(refusal) = self.has_its_doors_open() {
            return Look::Refused(refusal);
        }
        let table = self.table.read();
        self.settle(&table, entry);
        self.under_lease(&table, &entry.acting_for, table.look(&entry.acting_for))
    }

    /// Strictly: a session that has time for an answer is not admitted once more.
    pub(super) fn under_lease(&self, table: &Table, acting_for: &ActingFor, look: Look) -> Look {
        let Look::Route(route) = look else {
            return look;
        };
        let armings = table.armings_on(acting_for);
        if armings.is_empty() {
            return Look::Route(route);
        }
        let known = self.armings.0.lock();
        let rests = armings.iter().all(|arming| known.rest.contains(arming));
        let seen = if rests && self.lease.is_live() {
            Seen::Live
        } else {
            Seen::Lapsed
        };
        Look::Armed(route, seen)
    }

    /// The term of a session, from the table as it is.
    pub(super) fn settle(&self, table: &Table, entry: &Entry) {
        if table.arms_nobody() {
            entry.term.set_ordinary();
            return;
        }
        let acting_for = entry.filed_for();
        let armings = table.armings_on(&acting_for);
        if armings.is_empty() {
            entry.term.set_ordinary();
            return;
        }
        // Until it is written: another one who settles is behind this, and knows at least as much.
        let known = self.armings.0.lock();
        let (mut rests, mut until) = (false, Boot::NEVER);
        for arming in armings {
            if known.rest.contains(&arming) {
                rests = true;
            } else {
                until = until.min(known.wait.get(&arming).copied().unwrap_or_default());
            }
        }
        if rests {
            let holds = self.holds.lock();
            for hold in table.holds_on(&acting_for) {
                if let Some(frozen) = holds.get(&hold).and_then(|hold| hold.frozen) {
                    until = until.min(frozen);
                }
            }
        }
        entry.term.set(rests, until);
    }

    pub(super) fn settle_those_under(&self, keys: &[Key]) {
        let table = self.table.read();
        for entry in self.concerned(keys) {
            self.settle(&table, &entry);
        }
    }

    /// The sessions that something said of these keys may concern.
    pub(super) fn concerned(&self, keys: &[Key]) -> Vec<Arc<Entry>> {
        if keys.iter().any(|key| self.shards.is_domain_in_use(*key)) {
            self.shards.all()
        } else {
            keys.iter().flat_map(|key| self.shards.under(*key)).collect()
        }
    }

    /// Armings that the table came with: a node that starts has no sessions, and no lease (N5).
    pub(super) fn adopt_armings(&self) {
        let table = self.table.read();
        let mut known = self.armings.0.lock();
        known.wait.extend(table.armings().map(|(id, _)| (*id, Boot(0))));
    }

    /// The table has it already.
    pub(super) fn arm(&self, arming: ArmingId, keys: &[Key]) {
        let at_most = Boot::now().after(self.policy().first_lease);
        {
            let mut known = self.armings.0.lock();
            known.rest.remove(&arming);
            known.wait.insert(arming, at_most);
        }
        self.settle_those_under(keys);
        self.lease.look_at(at_most);
    }

    /// The table has it no more: those who live with the lease are ordinary again, and those who wait for it look again.
    pub(super) fn disarm(&self, arming: ArmingId, keys: &[Key]) {
        {
            let mut known = self.armings.0.lock();
            known.rest.remove(&arming);
            known.wait.remove(&arming);
        }
        self.settle_those_under(keys);
        self.wake(self.concerned(keys));
    }

    /// Until when a hold's sessions may live: later grants do not extend their lease (L3). None: nothing here was
    /// acknowledged for these keys, so nobody counts on their lapse, and they drain like those of any hold.
    pub(super) fn frozen_for(&self, keys: &[Key]) -> Option<Boot> {
        let table = self.table.read();
        if table.arms_nobody() {
            return None;
        }
        let known = self.armings.0.lock();
        let mut armings = keys.iter().flat_map(|key| table.armings_of_key(*key));
        armings
            .any(|arming| known.rest.contains(arming))
            .then(|| self.lease.until())
    }

    /// A request was granted.
    pub(crate) fn granted(&self, grant: Grant) {
        let was_live = self.lease.is_live();
        self.lease.grant(grant);
        if !self.lease.is_live() {
            tracing::debug!("a lease was granted when it was over already");
            return;
        }
        self.let_armings_rest();
        if !was_live {
            tracing::info!("the lease is live: armed accounts are admitted");
            self.wake(self.shards.all());
        }
    }

    /// Armings that a lease was asked for behind them rest on it from now on. Not under a hold that came before: it would
    /// say of that hold's sessions what was never true of them (L4).
    pub(super) fn let_armings_rest(&self) {
        let mut concerned: Vec<Vec<Key>> = Vec::new();
        {
            let table = self.table.read();
            let mut known = self.armings.0.lock();
            if known.wait.is_empty() || !self.lease.is_live() {
                return;
            }
            let Known { rest, wait, unsaid } = &mut *known;
            wait.retain(|id, _| {
                let Some(arming) = table.arming(*id).filter(|arming| {
                    self.lease.was_asked_behind(arming.applied.revision)
                        && !arming.keys.iter().any(|key| table.is_held(*key))
                }) else {
                    return true;
                };
                rest.insert(*id);
                unsaid.push(*id);
                concerned.push(arming.keys.clone());
                false
            });
        }
        for keys in &concerned {
            self.settle_those_under(keys);
            self.wake(self.concerned(keys));
        }
    }

    /// Those who have no leg and wait for something look again.
    fn wake(&self, entries: Vec<Arc<Entry>>) {
        for entry in entries {
            if matches!(entry.phase(), Phase::Registered | Phase::Waiting) {
                entry.hold_ended(None);
            }
        }
    }

    /// Ends what has lapsed (L1): legs are reset, and logins wait.
    pub(crate) fn lapse(&self, what: Lapse) {
        if what == Lapse::Everything {
            self.lease.end();
        }
        let mut sessions = 0_usize;
        for entry in self.shards.all() {
            let ends = match what {
                Lapse::WhatIsDue => entry.term.is_over(&self.lease),
                Lapse::Everything => entry.term.is_armed(),
            };
            if !ends {
                continue;
            }
            if entry.phase() == Phase::Lost {
                // Its task took the connection along, and that reset it.
                self.tear(&entry);
                self.remove(&entry);
            }
            sessions += usize::from(entry.lapses());
        }
        if !self.lease.is_live() && !self.with_table(Table::arms_nobody) {
            tracing::warn!(
                sessions,
                "the lease lapsed: armed accounts are held, and their sessions reset, until the control plane grants one"
            );
        } else if sessions > 0 {
            tracing::info!(
                sessions,
                "sessions outlived the lease that their hold has frozen, and are reset"
            );
        }
    }

    /// Something rests on the lease.
    pub(crate) fn rests_on_the_lease(&self) -> bool {
        !self.armings.0.lock().rest.is_empty()
    }

    /// The newest arming that rests on no lease, of those that are on the disk.
    pub(crate) fn newest_arming_that_waits(&self, durable: Revision) -> Option<Revision> {
        let table = self.table.read();
        let known = self.armings.0.lock();
        known
            .wait
            .keys()
            .filter_map(|id| table.arming(*id))
            .map(|arming| arming.applied.revision)
            .filter(|applied| *applied <= durable)
            .max()
    }

    /// The armings that began to rest on the lease since this was last asked.
    pub(crate) fn newly_resting(&self) -> Vec<(ArmingId, Position)> {
        let newly = std::mem::take(&mut self.armings.0.lock().unsaid);
        let table = self.table.read();
        let known = self.armings.0.lock();
        let still = newly.iter().filter(|id| known.rest.contains(id));
        self.where_applied(&table, still)
    }

    /// All that rest on a live lease: what may be acknowledged (L4).
    pub(crate) fn all_resting(&self) -> Vec<(ArmingId, Position)> {
        let table = self.table.read();
        let mut known = self.armings.0.lock();
        known.unsaid.clear();
        self.where_applied(&table, known.rest.iter())
    }

    fn where_applied<'a>(
        &self,
        table: &Table,
        armings: impl Iterator<Item = &'a ArmingId>,
    ) -> Vec<(ArmingId, Position)> {
        if !self.lease.is_live() {
            return Vec::new();
        }
        armings
            .filter_map(|id| Some((*id, table.arming(*id)?.applied)))
            .collect()
    }
}
