//! Whatever happened, everything can still come to its end: from each state, when nothing more goes wrong, the operation
//! ends, no node holds the account any more, and nobody waits. And when no node is ever heard again, the hold at least can
//! be released.
//!
//! A state is shown to have an end by walking to it: the most useful step first, no mishap. What was shown once is
//! remembered, so a search pays for about one step a state.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::Model;

use crate::control::News;
use crate::fault::Fault;
use crate::fleet::{Act, Fleet};
use crate::world::{Budget, Link, World};

/// Longer walks would be a loop.
const STEPS: usize = 120;

/// Who helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum With {
    /// Nodes that come back, and an operator.
    Everybody,
    /// The drivers and their database.
    Drivers,
}

thread_local! {
    /// States from which an end was shown: of this thread's search.
    static KNOWN: RefCell<HashSet<u64>> = RefCell::default();
}

/// From here an end is reachable without any further mishap.
pub fn ends(fleet: &Fleet, world: &World, with: With) -> bool {
    if fleet.fault.is_some_and(|fault| fault != Fault::NobodyTakesOver) {
        // What such a fault breaks is told by the other properties.
        return true;
    }
    let mut at = World {
        left: Budget::default(),
        backup: None,
        ..world.clone()
    };
    let mut seen = Vec::new();
    let mut acts = Vec::new();
    for _ in 0..STEPS {
        let mut hasher = DefaultHasher::new();
        (&at, with).hash(&mut hasher);
        let hash = hasher.finish();
        if is_over(&at, fleet.scope.nodes, with) || KNOWN.with_borrow(|known| known.contains(&hash)) {
            KNOWN.with_borrow_mut(|known| known.extend(seen));
            return true;
        }
        seen.push(hash);
        acts.clear();
        fleet.actions(&at, &mut acts);
        let useful = acts.iter().filter_map(|act| Some((rank(&at, *act, with)?, *act)));
        let Some((_, act)) = useful.min_by_key(|(rank, _)| *rank) else {
            return false;
        };
        let Some(next) = fleet.next_state(&at, act) else {
            return false;
        };
        at = next;
    }
    false
}

fn is_over(world: &World, nodes: usize, with: With) -> bool {
    let db = &world.db;
    let released = db.op.is_none_or(|op| op.outcome.is_some()) && db.table.hold == 0;
    if with == With::Drivers {
        // D3, D4: what may have gone back waits for the nodes, or for the operator.
        return released || db.in_doubt() || db.settling.is_some();
    }
    let mut nodes = world.nodes.iter().enumerate().take(nodes);
    released
        && !db.in_doubt()
        && nodes.all(|(n, node)| {
            // One that left and knows more than the database stays away until somebody looks after it.
            let diverged = db.registry[n].is_none() && !db.log.has(&node.table);
            let away = db.fenced[n] || (node.mark && node.instance == 3) || diverged;
            away || (node.link == Link::Up && node.table == db.table && node.session.is_none())
        })
}

/// What leads on, the most useful first; none: a mishap, or a beginning.
fn rank(world: &World, act: Act, with: With) -> Option<u8> {
    let of_drivers = match act {
        Act::Commit(_) => 11,
        Act::Drive(_, News::Deadline | News::Abort) if with == With::Drivers => 12,
        Act::Drive(..) => 13,
        Act::TakeOver(_) => 14,
        _ if with == With::Drivers => return None,
        _ => 0,
    };
    if of_drivers > 0 {
        return Some(of_drivers);
    }
    Some(match act {
        Act::Welcome(_) => 0,
        // It is told that it diverged: what is done about it is the operator's.
        Act::Hello(n)
            if (world.db.doubts[n] || world.db.registry[n].is_none())
                && !world.db.given_up
                && !world.db.log.has(&world.nodes[n].table) =>
        {
            return None;
        }
        // Who is waited for speaks first: nobody is registered before.
        Act::Hello(n) if world.db.doubts[n] => 1,
        Act::TakeBack(_) => 2,
        Act::Hello(_) | Act::Deliver(_) => 3,
        Act::Recalled(_) | Act::BackendEnds(_) => 4,
        Act::BridgeEnds(_) | Act::HoldEnded(_) | Act::Dialled(_) | Act::Answered(_) | Act::Look(_) => 5,
        Act::Granted(_) | Act::Grant(_) => 6,
        Act::SayQuiesced(_) | Act::HearQuiesced(..) => 7,
        Act::Verify | Act::HearVerified => 8,
        Act::Left(_) | Act::Fenced(_) | Act::HearGoodbye(_) => 9,
        Act::Settle => 10,
        Act::Ask(_) => 15,
        Act::WaitedTooLong(_) => 16,
        Act::GiveUp(_) => 17,
        _ => return None,
    })
}
