//! Leaving the fleet, being fenced out of it, and coming back (promise N2, N3).
//!
//! Member -> Leaving (drained; until no session is left) -> Marking (until the left mark is on the disk) -> Left (the
//! goodbye is said, and said again on each stream until the control plane has it). The mark is written only while a
//! control plane listens: a node that none can hear stays registered, and serves.
//!
//! An order to be fenced is the same without the wait: it is Marking at once, with every leg reset, and says its goodbye when
//! the mark is on the disk and the last session is over.
//!
//! A process that has handed its sockets and its state directory over (decision 0027) leaves without being told: when its
//! last session is over it says goodbye. Its mark is in memory only; nobody ever starts as this instance.
//!
//! Where it can die: before the mark, it starts as a node that was never told. With the mark, it serves nobody and starts as a
//! new instance, whose Hello registers it, whether or not the goodbye was heard; synced, it takes the mark back. An
//! instance that was marked never serves again, so a goodbye that comes late concerns nobody. That is why a node that is
//! resumed goes on under a new instance too.

use std::time::Duration;

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::node_message::Message;
use mailswitch_proto::revision::Revision;
use tokio::time::Instant;

use super::stream::{Node, Stream};
use crate::state_file::Mark;
use crate::table::Serving;

/// Between two looks whether the last session is over, while the node leaves.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The control plane closes a stream that has nothing more to say; one that hangs does not keep the node.
const HANG_UP_WITHIN: Duration = Duration::from_secs(2);

/// Whether this instance belongs to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// It does, also while it is drained.
    Member,
    /// It was told to leave, and has sessions.
    Leaving,
    /// It serves nobody any more; its mark is not known to be on the disk.
    Marking,
    /// The mark is on the disk.
    Left,
    /// It is resumed: the next stream registers it, as a new instance.
    Returns,
}

impl Node {
    /// Its process has handed over, and the goodbye is said: nobody comes back as this instance.
    pub(super) fn has_said_its_last(&self) -> bool {
        self.membership == Membership::Left && self.knowledge.sessions().is_retiring()
    }
}

impl Stream<'_> {
    /// The node is drained already.
    pub(super) fn leave(&mut self) {
        if self.node.membership == Membership::Member {
            tracing::info!("the node leaves the fleet once its last session is over");
            self.node.membership = Membership::Leaving;
        }
    }

    /// N3. It serves nobody from here on, whether or not the mark gets to the disk.
    pub(super) fn fence(&mut self) {
        let sessions = self.node.knowledge.sessions();
        tracing::warn!(
            "the node is fenced: its sessions are reset, and it serves nobody until it is resumed and has synced"
        );
        sessions.fence();
        match self.node.membership {
            Membership::Member | Membership::Leaving | Membership::Returns => {
                self.node.membership = Membership::Marking;
                self.node.writer.mark(Mark::Left);
            }
            Membership::Marking | Membership::Left => {}
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        let leaves = match self.node.membership {
            Membership::Leaving | Membership::Marking => true,
            Membership::Member | Membership::Returns => self.node.knowledge.sessions().is_retiring(),
            Membership::Left => false,
        };
        leaves && self.fleet.is_some()
    }

    pub(super) async fn leave_once_empty(&mut self) {
        let sessions = self.node.knowledge.sessions();
        if !sessions.are_all_over() {
            return;
        }
        if self.node.membership == Membership::Leaving || sessions.is_retiring() {
            sessions.leave();
            self.node.membership = Membership::Marking;
            self.node.writer.mark(Mark::Left);
        }
        self.say_goodbye_once_marked().await;
    }

    /// The mark first, then the goodbye. Of a node that is fenced the last session may be over behind its mark.
    pub(super) async fn say_goodbye_once_marked(&mut self) {
        if self.fleet.is_none() {
            return;
        }
        if self.node.membership == Membership::Marking
            && self.node.writer.durable().borrow().mark == Mark::Left
            && self.node.knowledge.sessions().are_all_over()
        {
            tracing::info!("the node has left the fleet: it serves nobody until it is resumed or restarted");
            self.node.membership = Membership::Left;
        }
        if self.node.membership == Membership::Left {
            let instance = self.node.directory.instance().to_vec();
            self.say(Message::Goodbye(wire::Goodbye { instance })).await;
            if self.node.has_said_its_last() {
                self.hang_up();
            }
        }
    }

    /// The operator takes the drain back. Nobody is served before the next registration when the node was marked.
    pub(super) fn stay(&mut self) -> Result<(), String> {
        match self.node.membership {
            Membership::Leaving => self.node.membership = Membership::Member,
            Membership::Marking | Membership::Left => {
                self.node.directory.renew().map_err(|error| error.to_string())?;
                self.node.membership = Membership::Returns;
            }
            Membership::Member | Membership::Returns => {}
        }
        Ok(())
    }

    /// After the answer: this stream is that of the instance that left.
    pub(super) fn hang_up_if_it_returns(&mut self) {
        if self.node.membership == Membership::Returns {
            self.hang_up();
        }
    }

    fn hang_up(&mut self) {
        self.outgoing = None;
        self.leave_at = Some(Instant::now() + HANG_UP_WITHIN);
    }

    /// A Hello was answered that was no goodbye: the instance is registered, and the table knows from where it serves.
    pub(super) fn is_back(&mut self) {
        if let Membership::Returns | Membership::Member = self.node.membership {
            self.node.membership = Membership::Member;
            self.node.knowledge.sessions().comes_back();
        }
    }

    /// The mark goes when what is on the disk may be served.
    pub(super) fn unmark_once_synced(&self, durable: Revision) {
        let sessions = self.node.knowledge.sessions();
        if self.node.membership != Membership::Member
            || sessions.has_left()
            || self.node.writer.durable().borrow().mark == Mark::None
        {
            return;
        }
        let synced = sessions.with_table(|table| match table.serving() {
            Serving::NotSynced => false,
            Serving::From(revision) => durable >= revision,
            Serving::Yes => true,
        });
        if synced {
            self.node.writer.mark(Mark::None);
        }
    }
}
