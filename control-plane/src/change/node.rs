//! Registration of nodes, and their goodbyes (promise N1 to N4). A registration is a revision: a flip that looked at the registered nodes
//! cannot commit past it (promise F1).

use mailswitch_proto::id::InstanceId;
use mailswitch_proto::revision::Revision;
use serde::{Deserialize, Serialize};

use super::doubt::InDoubt;
use super::{Change, Committed, Context, Draft, Error, Refusal, Writer};
use crate::store::audit::Proof;
use crate::store::change::Breadth;
use crate::store::doubt::{Doubt, doubt_list, doubt_remove};
use crate::store::fence::fence_remove;
use crate::store::node::{Node, node_list, node_put, node_remove};

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// This process, as it will be registered; `registered` is not looked at.
    pub node: Node,
    /// The processes of its state directory that are gone: the new one holds the locks that they held.
    pub replaces: Vec<InstanceId>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The revision of its registration. Unless it was registered before, it serves only at or after it (promise N4).
    pub revision: u64,
    /// Whether it was registered before.
    pub since: Since,
}

/// Whether a process was registered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// It was.
    Before,
    /// It is now.
    Now,
}

/// Registers a process of a node. One that is registered already costs no revision.
///
/// # Errors
/// Refused when its name is taken by another machine.
pub async fn node_register(writer: &Writer, context: &Context, hello: &Hello) -> Result<Registered, Error> {
    Ok(writer.commit(context, &Register(hello)).await?.output)
}

/// Removes the registrations of a node, or of one process of it: it no longer counts in a flip.
///
/// # Errors
/// Refused when there is none, or without the operator's word that it is stopped.
pub async fn node_forget(
    writer: &Writer,
    context: &Context,
    forget: &Forget,
) -> Result<Committed<u64>, Error> {
    writer.commit(context, forget).await
}

/// A process says goodbye: it no longer counts in a flip (promise N2). Nothing changes when it is not registered: it was
/// heard before, or another process took its place.
///
/// # Errors
/// The database's.
pub async fn node_leave(
    writer: &Writer,
    context: &Context,
    instance: InstanceId,
) -> Result<Committed<Left>, Error> {
    writer.commit(context, &Leave(instance)).await
}

/// What a goodbye changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Left {
    /// It was registered until now.
    Now,
    /// It was not registered.
    Before,
}

struct Leave(InstanceId);

impl Change for Leave {
    type Output = Left;

    fn verb(&self) -> &'static str {
        "node leave"
    }

    fn request(&self) -> String {
        self.0.to_string()
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<Left, Error> {
        let all = node_list(draft.conn).await?;
        let Some(known) = all.iter().find(|known| known.instance == self.0) else {
            return Ok(Left::Before);
        };
        node_remove(draft.conn, known.instance).await?;
        draft.touch(Breadth::Nodes);
        draft.audit(
            self.verb(),
            &known.name,
            &known.instance.to_string(),
            "left: it has no session and serves nobody",
            Proof::Standing,
        );
        Ok(Left::Now)
    }
}

struct Register<'a>(&'a Hello);

impl Change for Register<'_> {
    type Output = Registered;

    fn verb(&self) -> &'static str {
        "node register"
    }

    fn request(&self) -> String {
        format!("{:?}", self.0)
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<Registered, Error> {
        let Hello { node, .. } = self.0;
        let all = node_list(draft.conn).await?;
        if let Some(known) = all.iter().find(|known| known.instance == node.instance) {
            let registered = known_process(draft, known, node).await?;
            let gone = replaced(draft, &all, self.0).await?;
            if !gone.is_empty() {
                draft.touch(Breadth::Nodes);
                let after = format!("{} goes on without them", node.instance);
                draft.audit(self.verb(), &node.name, &gone, &after, Proof::Standing);
            }
            return Ok(registered);
        }
        let namesakes: Vec<&Node> = all.iter().filter(|known| known.name == node.name).collect();
        if let Some(other) = namesakes.iter().find(|known| known.machine != node.machine) {
            return Err(Refusal::precondition(
                format!(
                    "a node {} of another machine is registered (process {}, since revision {})",
                    node.name, other.instance, other.registered
                ),
                format!(
                    "give this one another name; or, if that machine's node is stopped: mailswitchctl node forget {} \
                     --i-stopped-it",
                    node.name
                ),
            )
            .into());
        }
        let before = replaced(draft, &all, self.0).await?;
        let registered = Node {
            registered: draft.revision(),
            ..node.clone()
        };
        node_put(draft.conn, &registered).await?;
        draft.touch(Breadth::Nodes);
        draft.audit(
            self.verb(),
            &node.name,
            &before,
            &node.instance.to_string(),
            Proof::Standing,
        );
        Ok(Registered {
            revision: registered.registered.0,
            since: Since::Now,
        })
    }
}

/// Removes those of its name that it replaces: their ids.
async fn replaced(draft: &mut Draft<'_>, all: &[Node], hello: &Hello) -> Result<String, Error> {
    let mut gone = Vec::new();
    let named = |known: &&Node| {
        known.name == hello.node.name
            && known.machine == hello.node.machine
            && known.instance != hello.node.instance
            && hello.replaces.contains(&known.instance)
    };
    for known in all.iter().filter(named) {
        node_remove(draft.conn, known.instance).await?;
        gone.push(known.instance.to_string());
    }
    Ok(gone.join(" "))
}

/// It says Hello again: what it runs and listens on may have changed with a reload.
async fn known_process(draft: &mut Draft<'_>, known: &Node, said: &Node) -> Result<Registered, Error> {
    if known.name != said.name || known.machine != said.machine {
        return Err(Refusal::precondition(
            format!(
                "process {} is registered as node {}, not {}",
                known.instance, known.name, said.name
            ),
            "restart the node",
        )
        .into());
    }
    let now = Node {
        registered: known.registered,
        ..said.clone()
    };
    if now != *known {
        node_put(draft.conn, &now).await?;
    }
    Ok(Registered {
        revision: known.registered.0,
        since: Since::Before,
    })
}

/// `mailswitchctl node forget`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    /// The node.
    pub node: String,
    /// One process of it; none: all.
    pub instance: Option<InstanceId>,
    /// `--i-stopped-it`.
    pub word: Word,
}

/// The operator's word that a machine's node is stopped (promise N3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Not given.
    Missing,
    /// Given.
    Stopped,
}

impl Change for Forget {
    type Output = u64;

    fn verb(&self) -> &'static str {
        "node forget"
    }

    fn request(&self) -> String {
        format!("{self:?}")
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<u64, Error> {
        let gone: Vec<Node> = node_list(draft.conn)
            .await?
            .into_iter()
            .filter(|known| known.name == self.node && self.instance.is_none_or(|one| one == known.instance))
            .collect();
        let named =
            |doubt: &Doubt| doubt.node == self.node && self.instance.is_none_or(|one| one == doubt.instance);
        let mut doubts = doubt_list(draft.conn).await?;
        doubts.retain(named);
        if gone.is_empty() && doubts.is_empty() {
            return Err(Refusal::precondition(
                format!("no such node is registered: {}", self.node),
                "see `mailswitchctl node list`",
            )
            .into());
        }
        if self.word == Word::Missing {
            return Err(Refusal::precondition(
                format!(
                    "{} may be running and serve its table although nobody hears of it",
                    self.node
                ),
                "stop it, and say so with --i-stopped-it",
            )
            .into());
        }
        for node in &gone {
            node_remove(draft.conn, node.instance).await?;
            draft.audit(
                self.verb(),
                &node.name,
                &node.instance.to_string(),
                "forgotten, on the operator's word that it is stopped",
                Proof::Waived,
            );
        }
        for doubt in &doubts {
            let before = doubt.at.map_or_else(
                || "not heard".to_owned(),
                |at| format!("at revision {} ({})", at.revision, at.digest),
            );
            let after =
                "what it knows beyond this database is given up, on the operator's word that it is stopped";
            draft.audit(self.verb(), &doubt.node, &before, after, Proof::Waived);
        }
        let left = node_list(draft.conn).await?;
        if !left.iter().any(|known| known.name == self.node) {
            // Who comes under this name from now on is another node; whether it was fenced is all the same.
            let _ = fence_remove(draft.conn, &self.node).await?;
        }
        let settled: Vec<InstanceId> = doubts.iter().map(|doubt| doubt.instance).collect();
        doubt_remove(draft.conn, &settled).await?;
        // One that is only doubted was never registered here: nothing that a flip looks at changes.
        if !gone.is_empty() {
            draft.touch(Breadth::Nodes);
        }
        Ok(gone.len().max(settled.len()) as u64)
    }

    /// The operator decides (promise D3).
    fn in_doubt(&self) -> InDoubt {
        InDoubt::Allowed
    }
}

/// The revision of a registration.
impl From<Registered> for Revision {
    fn from(registered: Registered) -> Self {
        Self(registered.revision)
    }
}
