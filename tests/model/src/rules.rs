//! The rules that are not yet pure functions of the programs, each as one. When a program has it, this one goes and the
//! model calls the program's.

use mailswitch_admission::{Lease, View};
use mailswitch_control_plane::cutover::operation::FencedIs;
use mailswitch_control_plane::cutover::proof::{self, Facts, Leases, Standing, Terms, standing};

use crate::fault::Fault;
use crate::world::{Asked, Db, Dest, Node, Said, Serving};

/// What a look at the account shows on a node (A4, N4, N5, L1).
#[must_use]
pub fn look(node: &Node, fault: Option<Fault>) -> View<Dest> {
    if node.serving != Serving::Yes {
        return match fault {
            Some(Fault::DefaultOnError) => View::Route(Dest::Old),
            _ => View::Refused,
        };
    }
    let table = &node.table;
    if table.hold != 0 {
        return View::Held;
    }
    if table.arming == 0 {
        return View::Route(table.resolves());
    }
    // Strictly: a session that has time for the first lease is not admitted once more.
    let live = match fault {
        Some(Fault::ArmedWithoutLease) => true,
        Some(Fault::ArmedServedAfterRestart) if node.lease == 0 && node.instance > 0 => true,
        _ => node.lease > 0 && !node.rests_on_nothing,
    };
    View::Armed(table.resolves(), if live { Lease::Live } else { Lease::Lapsed })
}

/// Whether a replica that has just read the database may grant a lease to a node that had applied this much (L2).
#[must_use]
pub fn may_grant(db: &Db, node: usize, instance: u8, asked: Asked, fault: Option<Fault>) -> bool {
    let Asked { applied, branch, .. } = asked;
    let on_chain = applied == 0
        || db
            .log
            .after(applied - 1)
            .is_some_and(|entry| entry.branch == branch);
    let caught_up = match fault {
        Some(Fault::GrantToWhoIsBehind) => true,
        Some(Fault::DisarmingForgotten) if db.table.arming == 0 => true,
        _ => applied >= db.table.armed_changed,
    };
    db.registry[node] == Some(instance) && !db.fenced[node] && on_chain && caught_up && !db.in_doubt()
}

/// The registered nodes that stand in the way of a flip, as the programs count them (`cutover::proof`; F1, L3, L4, N3).
pub fn missing(db: &Db, hold: u8, leases: Leases, fault: Option<Fault>) -> impl Iterator<Item = usize> {
    let registry = db.registry;
    (0..registry.len()).filter(move |node| {
        let Some(instance) = registry[*node] else {
            return false;
        };
        let by_it = |said: Said| said.all().any(|(_, who, of)| who == *node && of == instance);
        let quiesced = match fault {
            Some(Fault::UnnamedAcknowledgements) => by_it(db.quiesced),
            _ => db.quiesced.has(hold, *node, instance),
        };
        // Only the arming in force, that this hold follows (L4).
        let armed = match fault {
            Some(Fault::LapseOfAnotherArming) => db.table.arming != 0 && by_it(db.armed),
            _ => db.table.arming != 0 && db.armed.has(db.table.arming, *node, instance),
        };
        let said = |it| {
            if it {
                proof::Said::Acknowledged
            } else {
                proof::Said::Nothing
            }
        };
        let facts = Facts {
            hold: said(quiesced),
            arming: said(armed),
            fence: match db.fenced[*node] {
                true => proof::Fence::Fenced,
                false => proof::Fence::None,
            },
        };
        let fenced = match fault {
            Some(Fault::FenceCountsAtOnce) => FencedIs::Off,
            _ => FencedIs::Unsaid,
        };
        standing(facts, Terms { leases, fenced }) == Standing::Missing
    })
}

impl Db {
    /// The database may have gone back in time (D3).
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        self.doubts.contains(&true)
    }
}
