//! What a change has to know of the nodes (promise F4): whether sessions exist where it would move someone.

use std::collections::HashSet;

use futures::future::BoxFuture;
use mailswitch_proto::id::InstanceId;
use mailswitch_proto::identifier::Key;

/// Whose sessions are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Those of these keys.
    Keys(Vec<Key>),
    /// Those on this destination.
    Destination(String),
}

/// What the nodes said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Sessions, over all nodes that answered.
    pub sessions: u64,
    /// Registered nodes that did not answer.
    pub unanswered: Vec<String>,
}

/// The nodes, as the feed reaches them.
pub trait Nodes: Send + Sync + 'static {
    /// Asks every registered node for its sessions.
    fn sessions(&self, whose: Whose) -> BoxFuture<'_, Observed>;

    /// Why the database cannot be believed now: a node is ahead of it, or on another branch (promise D3). Nothing is held,
    /// flipped or released meanwhile: an account whose flip was lost here would be released to where it is not.
    fn doubt(&self) -> Option<String> {
        None
    }

    /// Asks every connected node to repeat all acknowledgements that are true (promise Q6).
    fn repeat_acknowledgements(&self);

    /// The processes whose streams are up here, and that serve. For patience only: nothing is proven by it.
    fn serving(&self) -> HashSet<InstanceId> {
        HashSet::new()
    }
}

/// A fleet without nodes: what a new control plane starts with, and tests of what needs none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNodes;

impl Nodes for NoNodes {
    fn sessions(&self, _: Whose) -> BoxFuture<'_, Observed> {
        Box::pin(std::future::ready(Observed {
            sessions: 0,
            unanswered: Vec::new(),
        }))
    }

    fn repeat_acknowledgements(&self) {}
}
