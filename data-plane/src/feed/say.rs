//! What the node says. Acknowledgements are levels (promise Q6): what is true is said once per stream, and all of it
//! again after each Hello and on request. A hold is acknowledged only once it is on the disk (Q5).

use std::collections::HashSet;

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::node_message::Message;
use mailswitch_proto::id::ArmingId;
use mailswitch_proto::revision::{Position, Revision};

use super::goodbye::Membership;
use super::stream::{Stream, of};
use crate::sessions::{Quiesced, Stuck};
use crate::table::Rejection;

impl Stream<'_> {
    /// Says what became true since it was last said.
    pub(super) async fn acknowledge(&mut self) {
        // Before the welcome nobody knows who speaks.
        if self.fleet.is_none() {
            return;
        }
        // Who has left is not registered: nobody waits for what it would acknowledge.
        if self.node.membership == Membership::Left {
            return;
        }
        // What we would say of our sessions is not true of the process before us.
        if self.node.knowledge.sessions().has_a_predecessor() {
            return;
        }
        let Some(durable) = self.node.writer.durable().borrow().position else {
            return;
        };
        self.unmark_once_synced(durable.revision);
        if self.said_applied != Some(durable.revision) {
            self.said_applied = Some(durable.revision);
            let applied = wire::Applied {
                revision: durable.revision.0,
                digest: durable.digest.to_vec(),
            };
            self.say(Message::Applied(applied)).await;
        }
        let quiet = self.node.knowledge.sessions().quiesced();
        // The last word on those that are over: what they have met since it was said, for the operator.
        for ended in self.node.knowledge.sessions().ended_holds() {
            if self.said.get(&ended.hold).is_some_and(|said| *said != ended.met) {
                self.say_quiesced(&ended).await;
            }
        }
        let still_true: HashSet<_> = quiet.iter().map(|quiesced| quiesced.hold).collect();
        self.said.retain(|hold, _| still_true.contains(hold));
        for quiesced in quiet {
            if quiesced.applied.revision <= durable.revision && !self.said.contains_key(&quiesced.hold) {
                self.said.insert(quiesced.hold, quiesced.met);
                self.say_quiesced(&quiesced).await;
            }
        }
        // The end of a hold lets armings rest on a lease that was there before.
        self.say_armings().await;
    }

    /// More logins wait for the end of holds that were acknowledged.
    pub(super) async fn say_what_holds_have_met(&mut self) {
        for quiesced in self.node.knowledge.sessions().quiesced() {
            if let Some(said) = self.said.get_mut(&quiesced.hold)
                && *said != quiesced.met
            {
                *said = quiesced.met;
                self.say_quiesced(&quiesced).await;
            }
        }
    }

    async fn say_quiesced(&self, quiesced: &Quiesced) {
        let message = wire::Quiesced {
            hold: quiesced.hold.to_vec(),
            applied_revision: quiesced.applied.revision.0,
            applied_digest: quiesced.applied.digest.to_vec(),
            sessions_closed: quiesced.met.closed,
            logins_parked: quiesced.met.parked,
        };
        self.say(Message::Quiesced(message)).await;
    }

    pub(super) async fn say_arming(&self, arming: ArmingId, applied: Position) {
        let message = wire::ArmingApplied {
            arming: arming.to_vec(),
            applied_revision: applied.revision.0,
            applied_digest: applied.digest.to_vec(),
        };
        self.say(Message::ArmingApplied(message)).await;
    }

    /// Says everything that is true, also what was said before.
    pub(super) async fn repeat_all(&mut self) {
        self.said.clear();
        self.said_applied = None;
        self.acknowledge().await;
        if self.node.membership != Membership::Left {
            for (arming, applied) in self.node.knowledge.sessions().all_resting() {
                self.say_arming(arming, applied).await;
            }
        }
        for stuck in self.node.knowledge.sessions().stuck_legs() {
            self.say_stuck(&stuck).await;
        }
        let rejections = self.node.rejections.clone();
        let revision = self
            .node
            .knowledge
            .sessions()
            .with_table(|table| table.position().revision);
        self.say_rejected(revision, &rejections).await;
    }

    pub(super) async fn say_stuck(&self, stuck: &Stuck) {
        if self.fleet.is_none() {
            // It is said after the welcome, with everything else that is true then.
            return;
        }
        for hold in &stuck.holds {
            let message = wire::Stuck {
                hold: hold.to_vec(),
                destination: stuck
                    .destination
                    .as_ref()
                    .map_or_else(String::new, |name| name.as_str().to_owned()),
                session: stuck.about.id.to_string(),
                protocol: stuck.about.protocol.to_string(),
            };
            self.say(Message::Stuck(message)).await;
        }
    }

    pub(super) async fn say_rejected(&self, revision: Revision, rejections: &[Rejection]) {
        for rejection in rejections {
            tracing::warn!(
                resource = rejection.resource,
                reason = rejection.reason,
                "cannot use a part of what the control plane sent"
            );
            let message = wire::Rejected {
                revision: revision.0,
                resource: rejection.resource.clone(),
                reason: rejection.reason.clone(),
            };
            self.say(Message::Rejected(message)).await;
        }
    }

    /// They were rejected, and can be used now. An earlier control plane shows them until they are applied anew.
    pub(super) async fn say_usable(&self, revision: Revision, usable: &[Rejection]) {
        for Rejection { resource, .. } in usable {
            tracing::info!(resource, "it can be used now");
            let message = wire::Rejected {
                revision: revision.0,
                resource: resource.clone(),
                reason: String::new(),
            };
            self.say(Message::Rejected(message)).await;
        }
    }

    pub(super) async fn say_breaker(&self, breaker: wire::Breaker) {
        // Before the welcome: the report that follows it holds every breaker.
        if self.fleet.is_some() {
            self.say(Message::BreakerChanged(wire::BreakerChanged {
                breaker: Some(breaker),
            }))
            .await;
        }
    }

    pub(super) async fn say_report(&self) {
        let sessions = self.node.knowledge.sessions();
        let report = wire::Report {
            draining: sessions.is_draining(),
            retiring: sessions.is_retiring(),
            ..sessions.report().message(sessions.waiting())
        };
        self.say(Message::Report(report)).await;
    }

    pub(super) async fn say(&self, message: Message) {
        // A stream that takes nothing more ends on its reading side, and everything is said again on the next one.
        if let Some(outgoing) = &self.outgoing {
            let _ = outgoing.send(of(message)).await;
        }
    }
}
