//! A database that may have gone back in time: who is doubted, what is taken from a node, and what is given up (D3, D4).

use mailswitch_control_plane::cutover::operation::{Hook, Outcome, Step};
use mailswitch_control_plane::cutover::proof::Leases;

use crate::fault::Fault;
use crate::rules;
use crate::table::{Change, Log};
use crate::world::{Db, Dest, Fence, NODES, Op, World};

impl World {
    /// Everybody who is registered has said where he stands. What none of them knew is gone, and was not promised.
    pub(crate) fn the_database_is_believed(&mut self) {
        let gone = |lost: &Log| !self.db.log.0.starts_with(&lost.0);
        if self.lost.as_deref().is_some_and(gone) {
            self.lost = None;
            self.truth = crate::world::Truth {
                lied: self.truth.lied,
                unverified: self.truth.unverified,
                ..Default::default()
            };
        }
    }

    /// The database is what it was at its backup. Who is registered now stays so (D5, decision 0019), and has to say first
    /// where it stands (D3).
    pub fn goes_back(&mut self, fault: Option<Fault>) {
        let Some(backup) = self.backup.take() else { return };
        let Db {
            registry,
            registered_at,
            fenced,
            ..
        } = self.db;
        self.lost = Some(Box::new(std::mem::take(&mut self.db.log)));
        self.db = *backup;
        self.db.registry = registry;
        self.db.registered_at = registered_at;
        self.db.fenced = fenced;
        self.ids.branch += 1;
        for node in 0..NODES {
            self.nodes[node].is_cut();
            // Fenced or not: one that has not heard of it goes on as it was.
            let asked = !fenced[node] || fault != Some(Fault::FencedNotWaitedFor);
            self.db.doubts[node] =
                registry[node].is_some() && asked && fault != Some(Fault::FlipDespiteDoubt);
        }
        if fault != Some(Fault::FlipDespiteDoubt) && !self.db.in_doubt() {
            self.the_database_is_believed();
        }
    }

    /// `recover` takes the revisions that a node has and the database lost (D3).
    pub fn takes_back(&mut self, node: usize) {
        let Some(lost) = &self.lost else { return };
        let table = self.nodes[node].table;
        self.db.log = Log(lost.0[..usize::from(table.revision)].to_vec());
        self.db.table = table;
        self.db.doubts[node] = false;
        let source = self.db.log.last_held_from().unwrap_or(table.resolves());
        let mut op = self.db.op.take().unwrap_or(Op {
            step: Step::Planned,
            outcome: None,
            source,
            target: source.other(),
            hold: 0,
            missing: false,
            verify: Hook::None,
            own_arming: table.arming != 0,
            fence: Fence { term: 0, holder: 0 },
        });
        op.fence.term += 1;
        op.fence.holder = 0;
        if table.hold != 0 {
            // From the journal (Q1): it is held, and the rest is asked for again.
            op.hold = table.hold;
            op.step = Step::Draining;
            op.outcome = None;
        } else if op.outcome.is_none() && table.own.is_some() {
            let done = table.resolves() == op.target;
            op.step = if done { Step::Done } else { Step::Aborted };
            op.outcome = Some(if done { Outcome::Done } else { Outcome::Released });
        }
        self.db.op = Some(op);
        self.forget_what_is_over();
        if !self.db.in_doubt() {
            self.the_database_is_believed();
        }
    }

    /// `recover` gives them up: the account gets a new hold, and goes to one side once every node has quiesced that (D4).
    pub fn gives_up(&mut self, to: Dest, fault: Option<Fault>) {
        self.db.given_up = true;
        self.db.doubts = [false; NODES];
        self.db.op = None;
        self.truth = crate::world::Truth {
            lied: self.truth.lied,
            unverified: self.truth.unverified,
            ..Default::default()
        };
        let hold = if fault == Some(Fault::GiveUpKeepsHold) && self.db.table.hold != 0 {
            self.db.table.hold
        } else {
            let hold = self.new_hold();
            self.push(Change::Held(hold));
            hold
        };
        self.forget_what_is_over();
        self.db.settling = Some((hold, to));
    }

    /// Whether the account that given-up revisions touched may go.
    #[must_use]
    pub fn may_settle(&self, fault: Option<Fault>) -> bool {
        self.db.settling.is_some_and(|(hold, _)| {
            rules::missing(&self.db, hold, Leases::MayBeLive, fault)
                .next()
                .is_none()
        })
    }

    /// It goes.
    pub fn settles(&mut self) {
        let Some((hold, to)) = self.db.settling.take() else {
            return;
        };
        self.push(Change::Ended {
            hold,
            to: Some(to),
            disarmed: false,
        });
        self.forget_what_is_over();
    }
}
