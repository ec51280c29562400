//! The control plane: what the database takes in one transaction, and drivers that ask the real cutover steps what follows
//! (D1, F1, F2). Between a driver's step and its commit anything may happen.

use chrono::{DateTime, Utc};
use mailswitch_control_plane::cutover::operation::{
    Fence as RealFence, FencedIs, Hook, HookKind, Kind, Operation, Outcome, Step, Subject,
};
use mailswitch_control_plane::cutover::proof::Leases;
use mailswitch_control_plane::cutover::steps::{self, Action, Event};

use crate::fault::Fault;
use crate::rules;
use crate::table::{Change, Entry, Log, Table};
use crate::world::{Commit, Db, Dest, Fence, NODES, Op, Said, World};

impl Default for Db {
    fn default() -> Self {
        Self {
            log: Log::default(),
            table: Table::default(),
            registry: [Some(0); NODES],
            registered_at: [0; NODES],
            fenced: [false; NODES],
            op: None,
            quiesced: Said::default(),
            armed: Said::default(),
            verified: false,
            doubts: [false; NODES],
            given_up: false,
            settling: None,
        }
    }
}

/// What a driver hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum News {
    /// It drives, and does what is due.
    Due,
    /// Nodes had their moment to acknowledge the arming.
    ArmingWaited,
    /// Every node is quiet, or counts as lapsed.
    AllQuiet,
    /// The verification passed.
    Verified,
    /// `max_hold` is over.
    Deadline,
    /// An operator wants its end.
    Abort,
}

/// The operation as the programs know it, and back: only what the rules look at differs from one to the next.
fn real(op: &Op) -> Operation {
    let at: DateTime<Utc> = DateTime::UNIX_EPOCH;
    Operation {
        id: uuid::Uuid::nil().into(),
        kind: Kind::Cutover,
        subject: Subject {
            account: None,
            name: String::new(),
            identifiers: Vec::new(),
            keys: Vec::new(),
        },
        from_any: Vec::new(),
        source: String::new(),
        target: String::new(),
        step: op.step,
        outcome: op.outcome,
        arming: None,
        lease_ms: 0,
        fenced: FencedIs::Unsaid,
        lapsed: Vec::new(),
        taken_as_off: Vec::new(),
        hold: (op.hold != 0).then(|| uuid::Uuid::from_u128(op.hold.into()).into()),
        hold_revision: None,
        end_revision: None,
        copy: Hook::None,
        verify: op.verify,
        drain_timeout_ms: 0,
        max_hold_ms: 0,
        deadline: None,
        abort_asked: None,
        cause: String::new(),
        missing: if op.missing {
            vec![String::new()]
        } else {
            Vec::new()
        },
        traceparent: String::new(),
        reason: String::new(),
        started_by: String::new(),
        started_from: String::new(),
        started_at: at,
        held_at: None,
        ended_at: None,
        fence: RealFence {
            term: op.fence.term.into(),
            holder: uuid::Uuid::nil().into(),
        },
    }
}

/// What the real steps make of an event.
fn step(op: &Op, event: &Event) -> (Op, Vec<Action>) {
    let (moved, actions) = steps::step(real(op), event);
    let op = Op {
        step: moved.step,
        outcome: moved.outcome,
        missing: !moved.missing.is_empty(),
        verify: moved.verify,
        ..*op
    };
    (op, actions)
}

fn names(missing: impl Iterator<Item = usize>) -> Vec<String> {
    missing.map(|node| node.to_string()).collect()
}

impl World {
    /// Commits a change.
    pub(crate) fn push(&mut self, change: Change) {
        let entry = Entry {
            branch: self.ids.branch,
            change,
        };
        self.db.log.0.push(entry);
        self.db.table.apply(entry);
    }

    /// An operator asks for a cutover from where the account is.
    pub fn begins(&mut self, driver: usize, verify: Hook, own_arming: bool) {
        let fence = self.new_fence(1);
        let source = self.db.table.resolves();
        self.db.op = Some(Op {
            step: Step::Planned,
            outcome: None,
            source,
            target: source.other(),
            hold: 0,
            missing: false,
            verify,
            own_arming,
            fence,
        });
        self.db.verified = false;
        self.drivers[driver] = crate::world::Driver {
            fence: Some(fence),
            ..Default::default()
        };
        self.truth.told = None;
        self.truth.flipped = false;
    }

    fn new_fence(&mut self, term: u8) -> Fence {
        self.ids.holder += 1;
        Fence {
            term,
            holder: self.ids.holder,
        }
    }

    /// A replica takes the operation over: its driver was silent, dead or not.
    pub fn takes_over(&mut self, driver: usize) {
        let Some(op) = self.db.op else { return };
        let fence = self.new_fence(op.fence.term + 1);
        self.db.op = Some(Op { fence, ..op });
        self.drivers[driver] = crate::world::Driver {
            fence: Some(fence),
            ..Default::default()
        };
    }

    /// The operation, if this driver drives it and there is no doubt.
    #[must_use]
    pub fn driven_by(&self, driver: usize) -> Option<Op> {
        self.db.op.filter(|op| {
            Some(op.fence) == self.drivers[driver].fence && op.outcome.is_none() && !self.db.in_doubt()
        })
    }

    /// The driver's word on leases (L3).
    #[must_use]
    pub fn leases(&self, driver: usize) -> Leases {
        match self.drivers[driver].saw {
            Some((hold, 0)) if hold == self.db.table.hold => Leases::Over,
            _ => Leases::MayBeLive,
        }
    }

    /// What a driver can hear now.
    pub fn news(&self, driver: usize, fault: Option<Fault>) -> Vec<News> {
        let Some(op) = self.driven_by(driver) else {
            return Vec::new();
        };
        if self.drivers[driver].about_to.is_some() {
            return Vec::new();
        }
        let quiet = || {
            rules::missing(&self.db, op.hold, self.leases(driver), fault)
                .next()
                .is_none()
        };
        let mut news = Vec::new();
        match op.step {
            Step::Planned => news.extend([News::Due, News::Abort]),
            Step::Arming => news.extend([News::ArmingWaited, News::Abort]),
            Step::Flipping | Step::Releasing => news.push(News::Due),
            Step::Holding | Step::Draining => {
                if quiet() {
                    news.push(News::AllQuiet);
                }
                news.push(News::Deadline);
            }
            _ => {
                if self.db.verified {
                    news.push(News::Verified);
                }
                news.push(News::Deadline);
            }
        }
        news
    }

    /// A driver reads, asks the steps, and writes the operation down (D1). What it commits next comes later.
    pub fn drives(&mut self, driver: usize, news: News, fault: Option<Fault>) {
        let Some(op) = self.driven_by(driver) else { return };
        let missing = || names(rules::missing(&self.db, op.hold, self.leases(driver), fault));
        let event = match news {
            News::Due if op.step == Step::Flipping && fault == Some(Fault::ConditionsBeforeFlip) => {
                // Decided here, and not again.
                match missing() {
                    none if none.is_empty() => Event::Taken,
                    some => Event::FlipRefused(some),
                }
            }
            News::Due => Event::Taken,
            News::AllQuiet => Event::Missing(Vec::new()),
            News::Verified => Event::HookPassed(HookKind::Verify),
            News::ArmingWaited => Event::ArmingWaited,
            News::Deadline => Event::Deadline {
                missing: missing(),
                leased: Vec::new(),
            },
            News::Abort => Event::AbortAsked(String::new()),
        };
        let (moved, actions) = step(&op, &event);
        self.db.op = Some(moved);
        self.drivers[driver].about_to = actions.iter().find_map(|action| {
            let commit = match action {
                Action::Arm => Commit::Arm,
                Action::Hold => Commit::Hold,
                Action::Flip => Commit::Flip,
                Action::Release => Commit::Release,
                _ => return None,
            };
            Some((commit, moved))
        });
    }

    /// A driver's transaction. All that it rests on is looked at inside (F1).
    pub fn commits(&mut self, driver: usize, fault: Option<Fault>) {
        let Some((commit, knew)) = self.drivers[driver].about_to.take() else {
            return;
        };
        if commit == Commit::Flip && fault == Some(Fault::ConditionsBeforeFlip) {
            return self.flips(knew);
        }
        let Some(op) = self.driven_by(driver).filter(|op| op.step == knew.step) else {
            // Another process drives it: nothing is written.
            return;
        };
        match commit {
            Commit::Arm => {
                if op.own_arming {
                    self.arms();
                }
                let (moved, _) = step(&op, &Event::Armed);
                self.db.op = Some(moved);
            }
            Commit::Hold => {
                if self.db.table.hold != 0 || self.db.table.resolves() != op.source {
                    let (moved, _) = step(&op, &Event::HoldRefused(String::new()));
                    self.db.op = Some(moved);
                    return;
                }
                let hold = self.new_hold();
                let (moved, _) = step(&op, &Event::Held);
                self.db.op = Some(Op { hold, ..moved });
                self.push(Change::Held(hold));
            }
            Commit::Flip => {
                let missing = names(rules::missing(&self.db, op.hold, self.leases(driver), fault));
                let unverified = op.verify == Hook::Wanted;
                if self.db.table.hold != op.hold || unverified || !missing.is_empty() {
                    let (moved, _) = step(&op, &Event::FlipRefused(missing));
                    self.db.op = Some(moved);
                    return;
                }
                self.flips(op);
            }
            Commit::Release => {
                if self.db.table.hold != op.hold {
                    return;
                }
                let (moved, _) = step(&op, &Event::Released);
                self.db.op = Some(moved);
                if op.hold == 0 {
                    if op.own_arming && self.db.table.arming != 0 {
                        self.push(Change::Disarmed);
                        self.forget_what_is_over();
                    }
                    return;
                }
                let to = (fault != Some(Fault::AbortFollowsDomain)).then_some(op.source);
                self.ends(op, to);
            }
        }
    }

    fn flips(&mut self, op: Op) {
        let (moved, _) = step(&op, &Event::Flipped);
        self.db.op = Some(moved);
        self.truth.past_silence |= rules::missing(&self.db, op.hold, Leases::MayBeLive, None)
            .next()
            .is_some();
        self.ends(op, Some(op.target));
        self.truth.cleared = Some(op.source);
        self.truth.flipped = true;
        self.truth.lied |= self.truth.told.is_some_and(|told| told != Outcome::Done);
    }

    fn ends(&mut self, op: Op, to: Option<Dest>) {
        self.push(Change::Ended {
            hold: op.hold,
            to,
            disarmed: op.own_arming && self.db.table.arming != 0,
        });
        self.forget_what_is_over();
    }

    /// A hold on which nothing was ever said.
    pub(crate) fn new_hold(&mut self) -> u8 {
        self.ids.hold += 1;
        self.ids.hold
    }

    /// The account is armed (L1), by its cutover or ahead of it.
    pub fn arms(&mut self) {
        if self.db.table.arming == 0 && self.db.table.hold == 0 {
            self.ids.arming += 1;
            self.push(Change::Armed(self.ids.arming));
        }
    }

    /// Its domain goes elsewhere: only while that moves nobody (F4).
    pub fn domain_moves(&mut self) {
        let to = self.db.table.domain.other();
        self.push(Change::Domain(to));
    }

    pub(crate) fn forget_what_is_over(&mut self) {
        let Table { hold, arming, .. } = self.db.table;
        self.db.quiesced.retain(|of| of == hold);
        self.db.armed.retain(|of| of == arming || arming == 0);
        self.db.verified &= hold != 0;
    }

    /// The operator is told how it ended (F3).
    pub fn tells(&mut self) {
        let Some(op) = self.db.op else { return };
        self.truth.told = op.outcome;
        let on = self.db.table.resolves();
        self.truth.lied |= match op.outcome {
            Some(Outcome::Done) => on != op.target || !self.truth.flipped,
            Some(_) => on != op.source || self.truth.flipped,
            None => false,
        };
    }

    /// `Quiesced` arrives and is written down: only for the hold that it names (Q4).
    pub fn hears_quiesced(&mut self, hold: u8, node: usize, instance: u8, fault: Option<Fault>) {
        self.words.quiesced.remove(hold, node, instance);
        let counts = hold == self.db.table.hold
            || (fault == Some(Fault::UnnamedAcknowledgements) && self.db.table.hold != 0);
        if counts {
            self.db.quiesced.add(hold, node, instance);
        }
    }

    /// `ArmingApplied` arrives.
    pub fn hears_armed(&mut self, arming: u8, node: usize, instance: u8, fault: Option<Fault>) {
        self.words.armed.remove(arming, node, instance);
        if arming == self.db.table.arming || fault == Some(Fault::LapseOfAnotherArming) {
            self.db.armed.add(arming, node, instance);
        }
    }

    /// The verification's result arrives: only for the hold that it names (Q4).
    pub fn hears_verified(&mut self, fault: Option<Fault>) {
        let Some(hold) = self.words.verified.take() else {
            return;
        };
        let counts = hold == self.db.table.hold;
        if counts || fault == Some(Fault::VerifyOfAnotherHold) {
            self.db.verified = self.db.table.hold != 0;
            self.truth.unverified |= !counts && self.db.table.hold != 0;
        }
    }

    /// A goodbye arrives: it ends the registration of the instance that it names (N2).
    pub fn hears_goodbye(&mut self, node: usize, fault: Option<Fault>) {
        let Some(instance) = self.words.goodbye[node].take() else {
            return;
        };
        if self.db.registry[node] == Some(instance) || fault == Some(Fault::GoodbyeWithoutInstance) {
            self.db.registry[node] = None;
        }
    }

    /// A node says Hello: it is registered in the transaction that says from where its answer comes, unless it knows what
    /// this database does not (N1, N4, D3).
    pub fn hears_hello(&mut self, node: usize, fault: Option<Fault>) {
        let it = &mut self.nodes[node];
        let known = self.db.log.has(&it.table);
        if !known && !self.db.given_up {
            self.db.doubts[node] = self.db.registry[node].is_some();
            return;
        }
        self.db.doubts[node] = false;
        if !self.db.in_doubt() {
            self.the_database_is_believed();
        }
        let it = &mut self.nodes[node];
        // One that left comes back as another process (N2), and stays that one until it is welcomed.
        let resumed = it.left_as == Some(it.instance);
        let instance = it.instance + u8::from(resumed);
        let newly = self.db.registry[node] != Some(instance);
        if newly && self.db.in_doubt() && fault != Some(Fault::FlipDespiteDoubt) {
            return;
        }
        let it = &mut self.nodes[node];
        it.instance = instance;
        self.db.registry[node] = Some(instance);
        if newly {
            self.db.registered_at[node] = self.db.log.head();
        }
        it.link = crate::world::Link::Answered(self.db.registered_at[node], newly);
    }
}
