//! Asking for leases, and what an answer means (promise L1, L4). When is decided by `lease/asking.rs`, and how long one
//! lasts by the boot-time clock; the runtime's timers only bring the request on its way.

use std::time::Duration;

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::node_message::Message;
use mailswitch_proto::revision::Revision;

use super::goodbye::Membership;
use super::stream::Stream;
use crate::lease::Boot;
use crate::lease::asking::Need;

impl Stream<'_> {
    /// When the next request goes. None: nothing is armed, or nobody would answer.
    pub(super) fn asks_in(&self) -> Option<Duration> {
        let sessions = self.node.knowledge.sessions();
        if self.fleet.is_none() || self.node.membership == Membership::Left {
            return None;
        }
        // For an arming that is not on the disk yet there is nothing to be asked: a lease would not be behind it.
        let newest = sessions.newest_arming_that_waits(self.durable()?);
        if newest.is_none() && !sessions.rests_on_the_lease() {
            return None;
        }
        let need = Need {
            newest,
            usual: sessions.policy().first_lease,
        };
        Some(self.node.asking.next(need).since(Boot::now()))
    }

    pub(super) async fn ask_for_a_lease(&mut self) {
        let Some(durable) = self.durable() else {
            return;
        };
        let request = self.node.asking.ask(Boot::now(), durable, rand::random());
        self.say(Message::LeaseRequest(request)).await;
    }

    pub(super) async fn take_grant(&mut self, grant: &wire::LeaseGrant) {
        let Some(granted) = self.node.asking.granted(grant) else {
            tracing::debug!(serial = grant.serial, "a lease was granted that nobody waits for");
            return;
        };
        self.node.knowledge.sessions().granted(granted);
        self.say_armings().await;
    }

    /// Says which armings began to rest on the lease. They are on the disk: the lease was asked for behind that.
    pub(super) async fn say_armings(&mut self) {
        // Not for the process before us.
        if self.node.knowledge.sessions().has_a_predecessor() {
            return;
        }
        for (arming, applied) in self.node.knowledge.sessions().newly_resting() {
            self.say_arming(arming, applied).await;
        }
    }

    fn durable(&self) -> Option<Revision> {
        let durable = self.node.writer.durable();
        let position = durable.borrow().position;
        position.map(|position| position.revision)
    }
}
