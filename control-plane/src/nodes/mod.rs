//! What this replica knows of each node: registered, connected, sent, applied, reported, rejected.
//!
//! For sight only, and for reaching a node over its stream. What a cutover rests on (registrations,
//! acknowledgements) is in the database, and is decided there (promise F1).

pub mod ask;
pub mod node;
pub mod registry;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::id::InstanceId;
use mailswitch_proto::revision::{Position, Revision};
use parking_lot::Mutex;

use self::ask::Link;
pub use self::node::Node;
use crate::change::doubt;
use crate::store::doubt::Doubt;

/// One connection of a node's stream: a later one of the same instance replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId(u64);

/// All nodes, by instance: two live instances of one name both count (promise N1).
#[derive(Debug, Default)]
pub struct Nodes {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: HashMap<InstanceId, Node>,
    doubts: Vec<Doubt>,
    connections: u64,
}

impl Nodes {
    /// What the database said at `at`, or later, who is registered. Keeps what is known of those who still are, and lets
    /// go of those who are not. One of them that is connected serves although no flip asks it: its stream is ended, and
    /// it is registered anew with its next Hello (promise N3).
    pub fn registered(&self, registrations: Vec<Node>, at: Revision) {
        let mut inner = self.inner.lock();
        let known: HashMap<InstanceId, Node> = registrations
            .into_iter()
            .map(|node| (node.instance, node))
            .collect();
        inner.nodes.retain(|instance, node| {
            let gone = !known.contains_key(instance);
            if gone && !node.is_guest() && node.registered_revision <= at {
                node.end();
            }
            !gone || node.is_connected()
        });
        for (instance, node) in known {
            match inner.nodes.get_mut(&instance) {
                Some(existing) => existing.registered_revision = node.registered_revision,
                None => {
                    inner.nodes.insert(instance, node);
                }
            }
        }
    }

    /// A stream begins. `replaces` are the instances whose registrations this one took over.
    pub fn connected(&self, node: Node, replaces: &[InstanceId], link: Link) -> ConnectionId {
        let mut inner = self.inner.lock();
        for replaced in replaces.iter().filter(|replaced| **replaced != node.instance) {
            // A copy of it that connected meanwhile says Hello again, and is registered beside this one.
            if let Some(before) = inner.nodes.remove(replaced) {
                before.end();
            }
        }
        inner.connections += 1;
        let id = ConnectionId(inner.connections);
        let mut node = Node {
            link: Some((id, link)),
            ..node
        };
        if let Some(before) = inner.nodes.remove(&node.instance) {
            if before.process != node.process {
                // A copy that said Hello at the same moment: with its next one it is told.
                before.end();
            }
            node.keep_of(before);
        }
        node.touch();
        inner.nodes.insert(node.instance, node);
        id
    }

    /// A stream ended; nothing when the node has another one already.
    pub fn disconnected(&self, instance: InstanceId, connection: ConnectionId) {
        self.with(instance, |node| {
            if node.link.as_ref().is_some_and(|(id, _)| *id == connection) {
                node.link = None;
                node.seen = Some(Instant::now());
            }
        });
        // Nobody waits for who has left.
        self.inner
            .lock()
            .nodes
            .retain(|_, node| node.is_connected() || !node.left);
    }

    /// The stream carried everything up to `revision` to the node's socket.
    pub fn sent(&self, instance: InstanceId, revision: Revision) {
        self.with(instance, |node| node.sent = node.sent.max(revision));
    }

    /// The node has applied everything up to there.
    pub fn applied(&self, instance: InstanceId, position: Position) {
        self.with(instance, |node| {
            node.applied = position;
            node.touch();
        });
    }

    /// What the database said of those who know, or may know, more than it (promise D3).
    pub fn doubted(&self, doubts: Vec<Doubt>) {
        let mut inner = self.inner.lock();
        if doubts != inner.doubts
            && let Some(sentence) = doubt::sentence(&doubts)
        {
            tracing::error!("{sentence}");
        }
        inner.doubts = doubts;
    }

    /// Who knows, or may know, more than the database, as far as this replica has read.
    #[must_use]
    pub fn doubts(&self) -> Vec<Doubt> {
        self.inner.lock().doubts.clone()
    }

    /// Whether the node is ahead of the database, or on another branch (promise D3).
    #[must_use]
    pub fn is_diverged(&self, instance: InstanceId) -> bool {
        let inner = self.inner.lock();
        inner.nodes.get(&instance).is_some_and(|node| node.diverged)
    }

    /// Whether its stream is up on this replica.
    #[must_use]
    pub fn is_connected(&self, instance: InstanceId) -> bool {
        let inner = self.inner.lock();
        inner.nodes.get(&instance).is_some_and(Node::is_connected)
    }

    /// Whether its stream is up on this replica, and it has not left.
    #[must_use]
    pub fn serves(&self, instance: InstanceId) -> bool {
        let inner = self.inner.lock();
        inner
            .nodes
            .get(&instance)
            .is_some_and(|node| node.is_connected() && !node.left)
    }

    /// Whether the stream of this instance is that of another process: one of two copies of a state directory.
    #[must_use]
    pub fn serves_another_process(&self, instance: InstanceId, process: Option<InstanceId>) -> bool {
        let inner = self.inner.lock();
        inner.nodes.get(&instance).is_some_and(|node| {
            node.is_connected() && node.process.is_some() && process.is_some() && node.process != process
        })
    }

    /// Counters and gauges of now.
    pub fn reported(&self, instance: InstanceId, report: wire::Report) {
        self.with(instance, |node| {
            node.report = Some(report);
            node.touch();
        });
    }

    /// The node keeps its last good version of a resource; without a reason it can use it now.
    pub fn rejected(&self, instance: InstanceId, rejected: wire::Rejected) {
        self.with(instance, |node| {
            match rejected.reason.is_empty() {
                true => node.rejected.remove(&rejected.resource),
                false => node.rejected.insert(rejected.resource.clone(), rejected),
            };
            node.touch();
        });
    }

    /// A breaker opened or closed.
    pub fn breaker(&self, instance: InstanceId, breaker: wire::Breaker) {
        self.with(instance, |node| {
            node.set_breaker(breaker);
            node.touch();
        });
    }

    /// It said goodbye, and that is written (promise N2).
    pub fn left(&self, instance: InstanceId) {
        self.with(instance, |node| node.left = true);
    }

    /// Taken out of the registry by the operator, at this revision; without an instance, all of that name. What has
    /// connected since it was looked at has to say Hello again (promise N3).
    pub fn forgotten(&self, name: &str, instance: Option<InstanceId>, at: Revision) {
        self.inner.lock().nodes.retain(|_, node| {
            let named = node.name == name && instance.is_none_or(|instance| instance == node.instance);
            let gone = named && node.registered_revision <= at;
            if gone {
                node.end();
            }
            !gone
        });
    }

    /// Every node, by name and instance.
    #[must_use]
    pub fn all(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.inner.lock().nodes.values().cloned().collect();
        nodes.sort_by(|a, b| (&a.name, a.instance).cmp(&(&b.name, b.instance)));
        nodes
    }

    /// The nodes of one name.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<Node> {
        let mut nodes = self.all();
        nodes.retain(|node| node.name == name);
        nodes
    }

    /// Answers of this node go to whoever asked.
    pub fn answered(&self, instance: InstanceId, answer: wire::Answer) {
        let link = self.inner.lock().nodes.get(&instance).and_then(Node::link);
        if let Some(link) = link {
            link.answered(answer);
        }
    }

    /// Waits until no node is connected any more, at most this long.
    pub async fn all_gone(&self, within: Duration) {
        let gone = async {
            while self.all().iter().any(Node::is_connected) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Those that stay are cut off when the process ends.
        let _ = tokio::time::timeout(within, gone).await;
    }

    fn with(&self, instance: InstanceId, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.inner.lock().nodes.get_mut(&instance) {
            change(node);
        }
    }
}
