//! `node fence` and `node unfence` (promise N3). The fence is a record beside the registration: a fenced node counts in every
//! flip like any other, until it says goodbye, lapses, or a cutover brings the operator's word that it is off. Its lease is
//! not renewed.
//!
//! Fencing only takes something from the node, so it needs no revision, and can be done while the database is doubted. It settles
//! no doubt: what the node knows it has to say itself, or somebody says that it is off (`node forget`).
//! Unfencing is one: from it on, no flip passes the node on anybody's word.

use super::{Change, Committed, Context, Draft, Error, Refusal, Writer};
use crate::store::audit::Proof;
use crate::store::change::Breadth;
use crate::store::doubt::doubt_list;
use crate::store::fence::{Was, fence_put, fence_remove};
use crate::store::node::node_list;

/// Writes down that a node is fenced. Twice is once.
///
/// # Errors
/// Refused when nothing is known of such a node.
pub async fn node_fence(writer: &Writer, context: &Context, node: &str) -> Result<Committed<()>, Error> {
    let fence = Fence {
        node,
        who: &context.actor.who,
    };
    writer.commit(context, &fence).await
}

/// Takes it back.
///
/// # Errors
/// Refused when it is not fenced.
pub async fn node_unfence(writer: &Writer, context: &Context, node: &str) -> Result<Committed<()>, Error> {
    writer.commit(context, &Unfence { node }).await
}

struct Fence<'a> {
    node: &'a str,
    who: &'a str,
}

impl Change for Fence<'_> {
    type Output = ();

    fn verb(&self) -> &'static str {
        "node fence"
    }

    fn request(&self) -> String {
        self.node.to_owned()
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        if fence_put(draft.conn, self.node, self.who).await? == Was::There {
            draft.note(format!("node {} was fenced already", self.node));
            return Ok(());
        }
        let registered = node_list(draft.conn).await?;
        // A registration is lost with the revisions of a database that went back; the node is not (promise D3).
        let doubts = doubt_list(draft.conn).await?;
        let doubted = doubts.iter().any(|doubt| doubt.node == self.node);
        if !doubted && !registered.iter().any(|node| node.name == self.node) {
            return Err(Refusal::precondition(
                format!("no such node is registered: {}", self.node),
                "see `mailswitchctl node list`; one that has left serves nobody, and need not be fenced",
            )
            .into());
        }
        draft.audit(self.verb(), self.node, "", "fenced", Proof::Standing);
        Ok(())
    }
}

struct Unfence<'a> {
    node: &'a str,
}

impl Change for Unfence<'_> {
    type Output = ();

    fn verb(&self) -> &'static str {
        "node unfence"
    }

    fn request(&self) -> String {
        self.node.to_owned()
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        if fence_remove(draft.conn, self.node).await? == Was::Absent {
            return Err(Refusal::precondition(
                format!("node {} is not fenced", self.node),
                "nothing has to be done; see `mailswitchctl node list`",
            )
            .into());
        }
        draft.touch(Breadth::Nodes);
        draft.audit(self.verb(), self.node, "fenced", "", Proof::Standing);
        Ok(())
    }
}
