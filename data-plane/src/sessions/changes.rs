//! A change meets the sessions: the table first, then the sessions that it concerns (promise Q4, F2).

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailswitch_config::DestinationName;
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::id::HoldId;
use mailswitch_proto::identifier::Key;
use mailswitch_proto::revision::Position;

use super::about::ActingFor;
use super::entry::Phase;
use super::hold::{Hold, Met};
use super::order::Order;
use super::trace::{Trace, link_current};
use super::{LEG_END_TIMEOUT, Sessions, filed};
use crate::lease::Boot;
use crate::route::Look;
use crate::table::{Effect, Rejection, Table};

/// Holds that are over and of which the last word was not said yet: a feed that is away does not make them pile up.
const ENDED_HOLDS: usize = 4096;

/// The holds in force, by id.
pub(crate) type Holds = HashMap<HoldId, Arc<Hold>>;

/// What applying a change meant beyond the table and the sessions.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// What could not be applied as it was meant (N7).
    pub rejected: Vec<Rejection>,
    /// A resource of the fleet's configuration changed: it has to be assembled anew.
    pub resources_changed: bool,
    /// A hold or an arming is in it: on disk before it is acknowledged (Q5).
    pub sync_first: bool,
}

impl Sessions {
    /// Applies one committed change.
    pub fn apply(&self, set: &wire::ChangeSet, at: Position) -> Applied {
        let _one_at_a_time = self.changing.lock();
        let effects = self.table.write().apply(set, at);
        self.follow(effects, at)
    }

    /// Replaces the table by one that was built aside: a snapshot, or a file that was read anew. What sessions are
    /// held, released or elsewhere follows from what differs.
    pub fn adopt(&self, mut table: Table) -> Applied {
        let _one_at_a_time = self.changing.lock();
        let at = table.position();
        let hash = table.hash_key();
        let mut effects = Vec::new();
        {
            let mut current = self.table.write();
            table.armings_that_others_lack(&current, &mut effects);
            table.holds_that_others_lack(&current, &mut effects);
            current.armings_that_others_lack_ended(&table, &mut effects);
            current.holds_that_others_lack_ended(&table, &mut effects);
            *current = table;
        }
        self.file_under(hash);
        let mut applied = self.follow(effects, at);
        self.end_those_elsewhere();
        applied.resources_changed = true;
        applied.sync_first = true;
        applied
    }

    /// Changes what the table decides without a committed change: whether it serves, the policy of a lone node.
    pub fn adjust(&self, change: impl FnOnce(&mut Table)) {
        let _one_at_a_time = self.changing.lock();
        change(&mut self.table.write());
        self.shards.all().iter().for_each(|entry| entry.hold_ended(None));
    }

    /// Holds that the table came with: a node that starts from its file has no sessions, so all of them are quiet.
    pub(super) fn adopt_holds(&self) {
        let table = self.table.read();
        let mut holds = self.holds.lock();
        for (id, record) in table.holds() {
            let hold = Arc::new(self.new_hold(*id, record.applied, record.drain_timeout));
            hold.confirmed();
            holds.insert(*id, hold);
        }
    }

    fn follow(&self, effects: Vec<Effect>, at: Position) -> Applied {
        self.report.revision(at.revision);
        let mut applied = Applied::default();
        for effect in effects {
            match effect {
                Effect::Held {
                    hold,
                    keys,
                    drain_timeout,
                } => {
                    applied.sync_first = true;
                    self.collect(hold, &keys, at, drain_timeout);
                }
                Effect::Ended { hold, keys, to } => self.end_hold(hold, &keys, to.as_ref()),
                Effect::Armed { arming, keys } => {
                    applied.sync_first = true;
                    self.arm(arming, &keys);
                }
                Effect::Disarmed { arming, keys } => self.disarm(arming, &keys),
                Effect::ResourcesChanged => applied.resources_changed = true,
                Effect::Rejected(rejection) => applied.rejected.push(rejection),
            }
        }
        applied
    }

    /// Finds every session that could have looked before the hold. The table already bars the keys.
    fn collect(&self, id: HoldId, keys: &[Key], at: Position, drain_timeout: Duration) {
        let frozen = self.frozen_for(keys);
        let drain_timeout = frozen.map_or(drain_timeout, |until| drain_timeout.min(in_good_time(until)));
        let hold = Arc::new(self.new_hold(id, at, drain_timeout).freezes(frozen));
        let hold = match self.holds.lock().entry(id) {
            // The same hold names more keys: it is not quiet until these are, too.
            Slot::Occupied(mut slot) => {
                hold.goes_on_from(slot.get());
                slot.insert(hold.clone());
                hold
            }
            Slot::Vacant(slot) => slot.insert(hold).clone(),
        };
        for key in keys {
            for entry in self.shards.under(*key) {
                entry.owe(&hold);
            }
        }
        if keys.iter().any(|key| self.shards.is_domain_in_use(*key)) {
            for entry in self.shards.all() {
                if self.table.read().look(&entry.filed_for()) == Look::Held {
                    entry.owe(&hold);
                }
            }
        }
        if let Some(frozen) = frozen {
            self.settle_those_under(keys);
            if hold.outstanding() > 1 {
                self.lease().look_at(frozen);
            }
        }
        hold.confirmed();
    }

    fn end_hold(&self, id: HoldId, keys: &[Key], to: Option<&DestinationName>) {
        let ended = self.holds.lock().remove(&id);
        if let Some(ended) = &ended {
            self.remember_ended(ended);
        }
        if ended.is_some_and(|ended| ended.frozen.is_some()) {
            self.settle_those_under(keys);
        }
        self.let_armings_rest();
        for entry in self.concerned(keys) {
            // A flip that did not wait for this node (it had been given up, and lives): what is elsewhere ends.
            if let (Some(to), Some(on)) = (to, entry.destination())
                && *to != on
                && entry
                    .first_key()
                    .is_some_and(|routed_by| keys.contains(&routed_by))
            {
                entry.force(Order::Kick);
            }
            if entry.phase() == Phase::Waiting {
                // The release or the flip lets it go on.
                link_current(&entry.about.trace);
            }
            entry.hold_ended(Some(id));
        }
    }

    /// For the last word on it. Of a hold that was never quiet nothing was acknowledged, and nothing is to be added.
    fn remember_ended(&self, hold: &Hold) {
        if !hold.is_quiesced() || hold.met() == Met::default() {
            return;
        }
        let mut ended = self.ended_holds.lock();
        if ended.len() < ENDED_HOLDS {
            ended.push(hold.quiesced());
            self.quiesced.notify_one();
        }
    }

    /// A login begins to wait: for every hold that bars it.
    pub(super) fn parked(&self, acting_for: &ActingFor) {
        self.on_holds_that_bar(acting_for, Hold::parked_one);
    }

    fn on_holds_that_bar<T>(&self, acting_for: &ActingFor, of: impl Fn(&Hold) -> T) -> Vec<T> {
        let on: Vec<HoldId> = {
            let table = self.table.read();
            acting_for
                .identifiers()
                .iter()
                .filter_map(|identifier| table.hold_on(identifier))
                .collect()
        };
        let holds = self.holds.lock();
        on.iter()
            .filter_map(|id| holds.get(id))
            .map(|hold| of(hold))
            .collect()
    }

    /// What asked for the holds that bar a session now: for its own trace.
    pub(crate) fn causes_of_holds(&self, acting_for: &ActingFor) -> Vec<Trace> {
        self.on_holds_that_bar(acting_for, |hold| hold.trace.cause().clone())
    }

    /// What asked for a hold.
    pub(crate) fn cause_of_hold(&self, hold: HoldId) -> Trace {
        self.holds
            .lock()
            .get(&hold)
            .and_then(|hold| hold.trace.cause().clone())
    }

    /// After a whole new table: what is on another destination than the one where it would go now ends.
    fn end_those_elsewhere(&self) {
        for entry in self.shards.all() {
            if let Some(on) = entry.destination()
                && let Look::Route(route) = self.with_table(|table| table.look(&entry.acting_for))
                && route.destination != on
            {
                entry.force(Order::Kick);
            }
            entry.hold_ended(None);
        }
    }

    /// The table's hash has another key: every session is filed anew.
    fn file_under(&self, hash: mailswitch_proto::identifier::HashKey) {
        let mut filing = self.filing.write();
        if *filing == hash {
            return;
        }
        let all = self.shards.all();
        self.shards.clear();
        for entry in all {
            let filed = filed(&entry.filed_for(), hash);
            entry.file_anew(filed.clone());
            self.shards.insert(&entry, &filed);
        }
        *filing = hash;
    }

    fn new_hold(&self, id: HoldId, applied: Position, drain_timeout: Duration) -> Hold {
        let drain_until = Instant::now() + drain_timeout;
        Hold::new(id, applied, drain_until, self.quiesced.clone())
    }
}

/// How long sessions may take for a quiet moment that are reset at `until`: their legs are to come to their own end before
/// (Q2), and backends get the time for it that they always get, or half of what there is.
fn in_good_time(until: Boot) -> Duration {
    let left = until.since(Boot::now());
    left - LEG_END_TIMEOUT.min(left / 2)
}
