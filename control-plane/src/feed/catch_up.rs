//! What a node needs first: nothing, the deltas that it missed, a snapshot, or to wait for an operator because it
//! knows more than the database (promise D3).
//!
//! Answered only from state at or after the revision that was read after its Hello arrived (promise N4).

use std::sync::Arc;
use std::time::Duration;

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::id::FleetId;
use mailswitch_proto::revision::{Position, Revision};

use super::accept::{Hello, Purpose};
use super::register::{RegisterError, Registered};
use crate::change::log::{Relation, relation};
use crate::change::node::Since;
use crate::nodes::Node;
use crate::process::ControlPlane;
use crate::routing::Epoch;
use crate::routing::log::Standing;

/// Reading the log up to what was just committed takes milliseconds; longer, and something is wrong with this replica.
const WITHIN: Duration = Duration::from_secs(10);

/// From where a node's stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// Nothing is sent: it keeps what it has.
    Nowhere,
    /// It stands here: deltas follow.
    After(Revision),
    /// Everything, at this revision or later.
    Snapshot {
        /// Not from before.
        at_least: Revision,
    },
}

/// How a node's stream begins.
#[derive(Debug)]
pub struct Start {
    /// Before anything else.
    pub welcome: wire::Welcome,
    /// What follows it.
    pub at: StartAt,
    /// The load of the state that this was decided on.
    pub epoch: Epoch,
}

impl Start {
    /// The node, as it is now.
    #[must_use]
    pub fn node(&self, hello: &Hello, registered: &Registered) -> Node {
        let mut node = Node::new(hello.node.clone(), hello.instance);
        node.process = hello.process;
        node.site.clone_from(&hello.site);
        node.version.clone_from(&hello.version);
        node.listeners.clone_from(&hello.listeners);
        node.registered_revision = registered.revision;
        node.applied = hello.known;
        node.sent = hello.known.revision;
        node.diverged = self.welcome.diverged;
        node.guest = hello.purpose == Purpose::Left;
        node
    }
}

/// Waits for the state that the answer must come from, and decides.
///
/// # Errors
/// When the database does not answer where the node's position lies.
pub async fn start(
    plane: &Arc<ControlPlane>,
    hello: &Hello,
    registered: &Registered,
) -> Result<Start, RegisterError> {
    let needed = registered.read.revision;
    if tokio::time::timeout(WITHIN, plane.routing.reached(needed))
        .await
        .is_err()
    {
        return Err(RegisterError::Behind {
            revision: needed,
            within: WITHIN,
        });
    }
    let epoch = plane.routing.subscribe().borrow().0;
    let known = match plane.routing.standing(hello.known) {
        Standing::TooOld => of_relation(relation(plane.writer.pool(), hello.known).await?),
        known => known,
    };
    let planned = plan(Case {
        fleet: hello.fleet,
        ours: plane.routing.fleet(),
        known: hello.known,
        standing: known,
        at_least: registered.read.revision,
    });
    let diverged = planned == StartAt::Nowhere && hello.purpose == Purpose::Serve;
    let at = match hello.purpose {
        Purpose::Serve => planned,
        // It is told what has become of the accounts when it comes back.
        Purpose::Left => StartAt::Nowhere,
    };
    if diverged {
        tracing::error!(
            known = %hello.known.revision, digest = %hello.known.digest, ours = %plane.routing.position().revision,
            "the node is ahead of the database, or on another branch: it keeps what it has",
        );
    }
    Ok(Start {
        welcome: wire::Welcome {
            fleet: plane.routing.fleet().to_vec(),
            registered_revision: registered.revision.0,
            newly_registered: registered.since == Since::Now,
            diverged,
            replica: plane.replica.clone(),
            not_replaced: hello
                .not_replaced
                .iter()
                .map(|instance| instance.to_vec())
                .collect(),
        },
        at,
        epoch,
    })
}

struct Case {
    fleet: Option<FleetId>,
    ours: FleetId,
    known: Position,
    standing: Standing,
    at_least: Revision,
}

/// A node of another fleet holds a table that is not ours to replace: somebody pointed it here by mistake, or the
/// database was made anew.
fn plan(case: Case) -> StartAt {
    let snapshot = StartAt::Snapshot {
        at_least: case.at_least,
    };
    if case.known.revision == Revision::NONE {
        return snapshot;
    }
    if case.fleet.is_some_and(|fleet| fleet != case.ours) {
        return StartAt::Nowhere;
    }
    match case.standing {
        Standing::OnChain => StartAt::After(case.known.revision),
        Standing::TooOld => snapshot,
        Standing::Diverged => StartAt::Nowhere,
    }
}

/// What the log in the database says of a position before the tail in memory: on our chain or trimmed, it is too old
/// for deltas.
fn of_relation(relation: Relation) -> Standing {
    match relation {
        Relation::OnChain | Relation::Trimmed => Standing::TooOld,
        Relation::Diverged => Standing::Diverged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(standing: Standing) -> Case {
        let ours = FleetId::random();
        Case {
            fleet: Some(ours),
            ours,
            known: Position::NONE.after(b"1"),
            standing,
            at_least: Revision(5),
        }
    }

    const SNAPSHOT: StartAt = StartAt::Snapshot {
        at_least: Revision(5),
    };

    #[test]
    fn a_node_on_our_chain_gets_what_it_missed() {
        assert_eq!(plan(case(Standing::OnChain)), StartAt::After(Revision(1)));
    }

    #[test]
    fn a_node_that_is_too_old_or_empty_gets_a_snapshot() {
        assert_eq!(plan(case(Standing::TooOld)), SNAPSHOT);
        let empty = Case {
            known: Position::NONE,
            fleet: None,
            ..case(Standing::OnChain)
        };
        assert_eq!(plan(empty), SNAPSHOT);
    }

    #[test]
    fn a_node_ahead_or_of_another_fleet_is_sent_nothing() {
        assert_eq!(plan(case(Standing::Diverged)), StartAt::Nowhere);
        let foreign = Case {
            fleet: Some(FleetId::random()),
            ..case(Standing::OnChain)
        };
        assert_eq!(plan(foreign), StartAt::Nowhere);
    }
}
