//! What can happen next: the model proper, as `stateright` searches it. What follows is in `happen`.

use mailswitch_admission::Stage;
use stateright::{Model, Property};

use crate::control::News;
use crate::fault::Fault;
use crate::rules::may_grant;
use crate::scope::{Logins, Scope, Verified};
use crate::truth;
use crate::world::{Budget, DRIVERS, Db, Dest, Driver, Ids, Link, NODES, Node, Serving, Truth, Words, World};

/// Instances and ids that the sets of what was said have room for.
const LAST: u8 = 3;

/// The model: bounds, and one thing done wrong or none.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// The bounds.
    pub scope: Scope,
    /// What is done wrong.
    pub fault: Option<Fault>,
}

/// Something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "`story` says what each is")]
pub enum Act {
    Login(usize),
    Look(usize),
    Dialled(usize),
    DialFails(usize),
    Answered(usize),
    Recalled(usize),
    BridgeEnds(usize),
    BackendEnds(usize),
    LegStuck(usize),
    ClientGoes(usize),
    HoldEnded(usize),
    WaitedTooLong(usize),

    Deliver(usize),
    SayQuiesced(usize),
    HearQuiesced(u8, usize, u8),
    Cut(usize),
    Hello(usize),
    Welcome(usize),
    OldSnapshot(usize, u8),
    Restart(usize, u8),

    Ask(usize),
    Grant(usize),
    Granted(usize),
    SayArmed(usize),
    HearArmed(u8, usize, u8),
    Tick,

    Leave(usize),
    Left(usize),
    Fence(usize),
    Fenced(usize),
    Unfence(usize),
    HearGoodbye(usize),

    Begin(usize),
    Drive(usize, News),
    Commit(usize),
    SeeHold(usize),
    TakeOver(usize),
    DriverDies(usize),
    Verify,
    HearVerified,
    Tell,
    Arm,
    DomainMoves,

    Backup,
    GoBack,
    TakeBack(usize),
    GiveUp(Dest),
    Settle,
}

impl Model for Fleet {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        let mut db = Db::default();
        for node in self.scope.nodes..NODES {
            db.registry[node] = None;
        }
        vec![World {
            db,
            backup: None,
            lost: None,
            drivers: [Driver::default(); DRIVERS],
            nodes: std::array::from_fn(|_| Node::default()),
            words: Words::default(),
            truth: Truth::default(),
            left: self.scope.budget,
            ids: Ids::default(),
        }]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        for node in 0..self.scope.nodes {
            self.session_acts(world, node, acts);
            self.feed_acts(world, node, acts);
            self.lease_acts(world, node, acts);
            self.leaving_acts(world, node, acts);
        }
        if self.scope.lease > 0 && time_matters(world) {
            acts.push(Act::Tick);
        }
        self.operator_acts(world, acts);
        for driver in 0..DRIVERS {
            self.driver_acts(world, driver, acts);
        }
        recovery_acts(world, acts);
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = world.clone();
        self.happens(&mut next, act);
        self.forget_what_cannot_matter(&mut next);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        truth::properties(self)
    }

    fn format_action(&self, act: &Act) -> String {
        act.to_string()
    }
}

/// Whether something runs on a clock.
fn time_matters(world: &World) -> bool {
    let nodes = world.nodes.iter();
    let mut on_nodes = nodes.map(|node| node.lease > 0 || node.frozen > 0 || node.asked.is_some());
    on_nodes.any(|runs| runs)
        || world
            .drivers
            .iter()
            .any(|driver| driver.saw.is_some_and(|(_, left)| left > 0))
}

impl Fleet {
    fn session_acts(&self, world: &World, n: usize, acts: &mut Vec<Act>) {
        let node = &world.nodes[n];
        if node.lingering.is_some() {
            acts.push(Act::BackendEnds(n));
        }
        let Some(session) = &node.session else {
            let begins = match self.scope.logins {
                Logins::StepByStep => node.serving == Serving::Yes,
                Logins::AtOnce => node.would_go_on(self.fault),
            };
            if begins && (node.serving == Serving::Yes || self.fault == Some(Fault::DefaultOnError)) {
                acts.push(Act::Login(n));
            }
            return;
        };
        let mishap = world.left.mishaps > 0;
        let recalled = node.owes && session.registered;
        match session.state.stage {
            Stage::Registered => acts.push(Act::Look(n)),
            Stage::Waiting => {
                acts.push(Act::WaitedTooLong(n));
                if node.would_go_on(self.fault) {
                    acts.push(Act::HoldEnded(n));
                }
            }
            Stage::Dialling { .. } => {
                acts.push(Act::Dialled(n));
                if mishap {
                    acts.push(Act::DialFails(n));
                }
            }
            Stage::Ready { .. } | Stage::Accepted { .. } => acts.push(Act::Look(n)),
            Stage::Authenticating { .. } => acts.push(Act::Answered(n)),
            Stage::Bridged { .. } => acts.push(Act::BridgeEnds(n)),
            Stage::Ending { .. } => {
                acts.push(Act::BackendEnds(n));
                if mishap {
                    acts.push(Act::LegStuck(n));
                }
            }
            Stage::Ended => {}
        }
        if let Stage::Dialling { .. }
        | Stage::Ready { .. }
        | Stage::Authenticating { .. }
        | Stage::Accepted { .. } = session.state.stage
        {
            if recalled {
                acts.push(Act::Recalled(n));
            }
            if mishap {
                acts.push(Act::ClientGoes(n));
            }
        }
    }

    fn feed_acts(&self, world: &World, n: usize, acts: &mut Vec<Act>) {
        let node = &world.nodes[n];
        let db = &world.db;
        match node.link {
            Link::Down => {
                let room = !node.mark || (node.instance < LAST && !db.fenced[n]);
                let heard = db.doubts[n] && !db.log.has(&node.table) && !db.given_up;
                if room && !heard && !(db.fenced[n] && db.registry[n].is_none()) {
                    acts.push(Act::Hello(n));
                }
            }
            Link::Answered(..) => {
                acts.push(Act::Welcome(n));
                if self.fault == Some(Fault::OldSnapshot) {
                    acts.extend((0..db.log.head()).map(|revision| Act::OldSnapshot(n, revision)));
                }
            }
            Link::Up => {
                if db.log.has(&node.table) && db.log.after(node.table.revision).is_some() {
                    acts.push(Act::Deliver(n));
                }
                let (hold, instance) = (node.table.hold, node.instance);
                if hold != 0
                    && !node.owes
                    && !world.words.quiesced.has(hold, n, instance)
                    && !db.quiesced.has(hold, n, instance)
                {
                    acts.push(Act::SayQuiesced(n));
                }
            }
        }
        if self.scope.trouble.is_on(n) && node.link != Link::Down {
            acts.push(Act::Cut(n));
        }
        let heard = world.words.quiesced.all().filter(|(_, who, _)| *who == n);
        acts.extend(heard.map(|(hold, node, instance)| Act::HearQuiesced(hold, node, instance)));
        if self.scope.trouble.is_on(n) && world.left.crashes > 0 && node.instance < LAST {
            // What was written behind may be lost, down to what was synced.
            let oldest = if db.log.has(&node.table) {
                node.disk.revision
            } else {
                node.table.revision
            };
            acts.extend((oldest..=node.table.revision).map(|revision| Act::Restart(n, revision)));
            if !db.log.has(&node.table) && node.disk.revision < node.table.revision {
                acts.push(Act::Restart(n, node.disk.revision));
            }
        }
    }

    fn lease_acts(&self, world: &World, n: usize, acts: &mut Vec<Act>) {
        if self.scope.lease == 0 {
            return;
        }
        let node = &world.nodes[n];
        if node.link == Link::Up {
            if node.table.arming != 0 && node.asked.is_none() && node.lease < self.lease() {
                acts.push(Act::Ask(n));
            }
            match node.asked {
                Some(asked) if asked.granted => acts.push(Act::Granted(n)),
                Some(asked) if may_grant(&world.db, n, node.instance, asked, self.fault) => {
                    acts.push(Act::Grant(n));
                }
                Some(_) | None => {}
            }
            let arming = node.table.arming;
            let under_lease = node.lease > 0 && !node.rests_on_nothing;
            if arming != 0
                && (under_lease || self.fault == Some(Fault::ArmingAcknowledgedWithoutLease))
                && !world.words.armed.has(arming, n, node.instance)
                && !world.db.armed.has(arming, n, node.instance)
            {
                acts.push(Act::SayArmed(n));
            }
        }
        let heard = world.words.armed.all().filter(|(_, who, _)| *who == n);
        acts.extend(heard.map(|(arming, node, instance)| Act::HearArmed(arming, node, instance)));
    }

    /// On the true clock: a node's may be slower than ours, within the margin; the margin is in these ticks already.
    pub(crate) fn lease(&self) -> u8 {
        self.scope.lease + u8::from(self.fault == Some(Fault::ClockBeyondMargin))
    }

    fn leaving_acts(&self, world: &World, n: usize, acts: &mut Vec<Act>) {
        let node = &world.nodes[n];
        let db = &world.db;
        if self.scope.trouble.is_on(n)
            && world.left.leaves > 0
            && node.link == Link::Up
            && node.serving == Serving::Yes
        {
            acts.push(Act::Leave(n));
        }
        if node.link == Link::Up && node.serving == Serving::No && node.session.is_none() && !node.mark {
            acts.push(Act::Left(n));
        }
        if self.scope.trouble.is_on(n) && world.left.fences > 0 && db.registry[n].is_some() && !db.fenced[n] {
            acts.push(Act::Fence(n));
        }
        if db.fenced[n] {
            acts.push(Act::Unfence(n));
            if node.link == Link::Up {
                acts.push(Act::Fenced(n));
            }
        }
        if world.words.goodbye[n].is_some() {
            acts.push(Act::HearGoodbye(n));
        }
    }

    fn operator_acts(&self, world: &World, acts: &mut Vec<Act>) {
        let db = &world.db;
        let busy = db
            .op
            .is_some_and(|op| op.outcome.is_none() || world.truth.told.is_none());
        let quiet = !busy && !db.in_doubt() && db.settling.is_none();
        if world.left.cutovers > 0 && quiet && db.table.hold == 0 {
            acts.push(Act::Begin(0));
        }
        if db.op.is_some_and(|op| op.outcome.is_some()) && world.truth.told.is_none() {
            acts.push(Act::Tell);
        }
        if world.left.armings > 0 && !busy && !db.in_doubt() && db.table.hold == 0 && db.table.arming == 0 {
            acts.push(Act::Arm);
        }
        // F4: only while nobody follows the domain.
        if world.left.domain > 0 && (db.table.hold != 0 || db.table.own.is_some()) && !db.in_doubt() {
            acts.push(Act::DomainMoves);
        }
        if self.scope.verify == Verified::Asked
            && world.words.verified.is_none()
            && !db.verified
            && db
                .op
                .is_some_and(|op| op.step == mailswitch_control_plane::cutover::operation::Step::Verifying)
        {
            acts.push(Act::Verify);
        }
        if world.words.verified.is_some() {
            acts.push(Act::HearVerified);
        }
    }

    fn driver_acts(&self, world: &World, d: usize, acts: &mut Vec<Act>) {
        acts.extend(
            world
                .news(d, self.fault)
                .into_iter()
                .map(|news| Act::Drive(d, news)),
        );
        if world.drivers[d].about_to.is_some() {
            acts.push(Act::Commit(d));
        }
        let Some(op) = world.db.op.filter(|op| op.outcome.is_none()) else {
            return;
        };
        let drives = world.drivers[d].fence == Some(op.fence);
        if drives && world.left.crashes > 0 {
            acts.push(Act::DriverDies(d));
        }
        let orphaned = world.drivers.iter().all(|driver| driver.fence != Some(op.fence));
        // One that is only slow is replaced now and then; one that is gone always, and by anybody: the first is as good.
        let may = if orphaned {
            d == 0
        } else {
            !drives && world.left.takeovers > 0
        };
        if may && !world.db.in_doubt() && self.fault != Some(Fault::NobodyTakesOver) {
            acts.push(Act::TakeOver(d));
        }
        if world.db.table.arming != 0
            && op.hold != 0
            && world.driven_by(d).is_some()
            && world.drivers[d].saw.is_none_or(|(hold, _)| hold != op.hold)
        {
            acts.push(Act::SeeHold(d));
        }
    }
}

fn recovery_acts(world: &World, acts: &mut Vec<Act>) {
    let db = &world.db;
    let Budget { going_back, .. } = world.left;
    if going_back > 0 && world.backup.is_none() {
        acts.push(Act::Backup);
    }
    if world.backup.as_ref().is_some_and(|backup| backup.log != db.log) {
        acts.push(Act::GoBack);
    }
    if db.in_doubt() {
        for n in 0..NODES {
            let table = &world.nodes[n].table;
            let lost = world.lost.as_ref().is_some_and(|lost| lost.has(table));
            if db.doubts[n] && lost && !db.log.has(table) {
                acts.push(Act::TakeBack(n));
            }
        }
        acts.extend([Act::GiveUp(Dest::Old), Act::GiveUp(Dest::New)]);
    }
    if world.may_settle(None) {
        acts.push(Act::Settle);
    }
}
