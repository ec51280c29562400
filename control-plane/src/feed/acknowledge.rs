//! What a node says back, its goodbye included: how far it has applied, what is quiet, what it could not use, what it counts.
//!
//! Acknowledgements of holds are written to the database at once, as many as have arrived in one transaction, and wake
//! the driver of cutovers. They are levels (promise Q6): when they cannot be written, or more arrive than can wait,
//! they are let go, and the node is asked to repeat all that are true once the database answers again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mailswitch_proto::channel::Peer;
use mailswitch_proto::fleet::v1::{self as wire, node_message::Message};
use mailswitch_proto::id::{ArmingId, HoldId, InstanceId, InvalidId};
use mailswitch_proto::revision::{Digest, InvalidDigest, Position, Revision};
use tokio::sync::mpsc;
use tonic::Streaming;

use super::lease::Asked;
use crate::change::node::{Left, node_leave};
use crate::change::{self, Actor, Context};
use crate::nodes::ask::Link;
use crate::process::ControlPlane;
use crate::routing::log::Standing;
use crate::store::hold::{Ack, Met, Stuck, hold_ack_add, hold_stuck_add};
use crate::store::{self, arming};

/// Acknowledgements that wait for the database. A wave holds some hundreds of accounts at once.
const WAITING: usize = 4096;

/// In one transaction.
const TOGETHER: usize = 512;

/// After the database did not take them.
const BACK_OFF: Duration = Duration::from_millis(200);

/// What a node said cannot be.
#[derive(Debug, thiserror::Error)]
pub enum AcknowledgeError {
    /// A hold without an id.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// A digest that is not one.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// Hello is the first message only.
    #[error("Hello came a second time on one stream")]
    HelloAgain,
    /// Its goodbye is not written: it says it again on its next stream.
    #[error("the goodbye could not be written: {0}")]
    Goodbye(#[from] change::Error),
    /// It applied what it was not sent (promise N7).
    #[error("the node says that it applied revision {0} with another digest than it has here")]
    AnotherBranch(Revision),
}

/// Reads until the node hangs up.
///
/// # Errors
/// When it says what cannot be.
pub async fn listen(
    plane: &Arc<ControlPlane>,
    peer: &Peer,
    instance: InstanceId,
    link: Link,
    mut messages: Streaming<wire::NodeMessage>,
) -> Result<(), AcknowledgeError> {
    let (words, waiting) = mpsc::channel(WAITING);
    let dropped = Arc::new(AtomicBool::new(false));
    let listener = Listener {
        plane,
        instance,
        link: link.clone(),
        words,
        dropped: Arc::clone(&dropped),
    };
    let recording = record(plane, waiting, &link, &dropped);
    let reading = async {
        // An error of the stream is the node's end, like its orderly one.
        while let Ok(Some(message)) = messages.message().await {
            if let Some(Message::Goodbye(goodbye)) = &message.message {
                if listener.goodbye(peer, goodbye).await? == Left::Now {
                    return Ok(());
                }
            } else {
                listener.hear(message)?;
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = reading => ended,
        () = recording => Ok(()),
    }
}

/// One node's word on a hold, or on an arming.
enum Word {
    Quiesced(Ack),
    Armed(arming::Ack),
    Stuck(Stuck),
}

struct Listener<'a> {
    plane: &'a Arc<ControlPlane>,
    instance: InstanceId,
    link: Link,
    words: mpsc::Sender<Word>,
    dropped: Arc<AtomicBool>,
}

impl Listener<'_> {
    fn hear(&self, message: wire::NodeMessage) -> Result<(), AcknowledgeError> {
        let nodes = &self.plane.nodes;
        match message.message {
            Some(Message::Hello(_)) => return Err(AcknowledgeError::HelloAgain),
            Some(Message::Applied(applied)) => self.applied(&applied)?,
            Some(Message::Quiesced(quiesced)) => self.quiesced(&quiesced)?,
            Some(Message::Stuck(stuck)) => self.stuck(stuck)?,
            Some(Message::Rejected(rejected)) => {
                tracing::warn!(
                    resource = rejected.resource,
                    revision = rejected.revision,
                    reason = rejected.reason,
                    "the node keeps its last good version of a resource",
                );
                nodes.rejected(self.instance, rejected);
            }
            Some(Message::Report(report)) => nodes.reported(self.instance, report),
            Some(Message::BreakerChanged(wire::BreakerChanged {
                breaker: Some(breaker),
            })) => {
                tracing::warn!(
                    destination = breaker.destination,
                    protocol = breaker.protocol,
                    open = breaker.open,
                    failures = breaker.consecutive_failures,
                    last_error = breaker.last_error,
                    "a breaker changed",
                );
                nodes.breaker(self.instance, breaker);
            }
            Some(Message::Answer(answer)) => nodes.answered(self.instance, answer),
            Some(Message::ArmingApplied(applied)) => self.arming_applied(&applied)?,
            Some(Message::LeaseRequest(request)) => self.plane.leases.ask(Asked {
                instance: self.instance,
                link: self.link.clone(),
                serial: request.serial,
                applied: Revision(request.applied_revision),
            }),
            // What a later version says is nothing to us.
            Some(Message::BreakerChanged(_) | Message::Goodbye(_)) | None => {}
        }
        Ok(())
    }

    /// The very instance that speaks is unregistered (promise N2); its stream has nothing more to say then.
    async fn goodbye(&self, peer: &Peer, goodbye: &wire::Goodbye) -> Result<Left, AcknowledgeError> {
        let named = InstanceId::try_from(goodbye.instance.as_slice())?;
        if named != self.instance {
            tracing::warn!(instance = %named, "a goodbye in the name of another process is ignored");
            return Ok(Left::Before);
        }
        let context = Context {
            actor: Actor {
                who: peer.name.to_string(),
                from: peer.address.ip().to_string(),
            },
            ..Context::own("said goodbye")
        };
        let left = node_leave(&self.plane.writer, &context, named).await?.output;
        self.plane.nodes.left(named);
        if left == Left::Now {
            tracing::info!(instance = %named, "the node has left the fleet: no cutover waits for it any more");
            self.plane.cutovers.wake();
        }
        Ok(left)
    }

    fn applied(&self, applied: &wire::Applied) -> Result<(), AcknowledgeError> {
        let position = position_of(applied.revision, &applied.digest)?;
        // A diverged node stands where it stands.
        if self.plane.routing.standing(position) == Standing::Diverged
            && !self.plane.nodes.is_diverged(self.instance)
        {
            return Err(AcknowledgeError::AnotherBranch(position.revision));
        }
        self.plane.nodes.applied(self.instance, position);
        let believed = self.plane.trouble.suspect.lock().is_none();
        if believed && !self.plane.nodes.is_diverged(self.instance) {
            self.plane.leases.applied(self.instance, position.revision);
        }
        Ok(())
    }

    fn quiesced(&self, quiesced: &wire::Quiesced) -> Result<(), AcknowledgeError> {
        self.say(Word::Quiesced(Ack {
            hold: HoldId::try_from(quiesced.hold.as_slice())?,
            instance: self.instance,
            applied: position_of(quiesced.applied_revision, &quiesced.applied_digest)?,
            met: Met {
                closed: quiesced.sessions_closed,
                parked: quiesced.logins_parked,
            },
        }));
        Ok(())
    }

    fn arming_applied(&self, applied: &wire::ArmingApplied) -> Result<(), AcknowledgeError> {
        self.say(Word::Armed(arming::Ack {
            arming: ArmingId::try_from(applied.arming.as_slice())?,
            instance: self.instance,
            applied: position_of(applied.applied_revision, &applied.applied_digest)?,
        }));
        Ok(())
    }

    fn stuck(&self, stuck: wire::Stuck) -> Result<(), AcknowledgeError> {
        tracing::warn!(
            destination = stuck.destination,
            session = stuck.session,
            protocol = stuck.protocol,
            "a backend leg of a held account did not end",
        );
        self.say(Word::Stuck(Stuck {
            hold: HoldId::try_from(stuck.hold.as_slice())?,
            instance: self.instance,
            // The name that is recorded is that of its registration.
            node: String::new(),
            destination: stuck.destination,
            session: stuck.session,
            protocol: stuck.protocol,
        }));
        Ok(())
    }

    fn say(&self, word: Word) {
        if self.words.try_send(word).is_err() {
            self.dropped.store(true, Ordering::Relaxed);
        }
    }
}

fn position_of(revision: u64, digest: &[u8]) -> Result<Position, InvalidDigest> {
    Ok(Position {
        revision: Revision(revision),
        digest: Digest::try_from(digest)?,
    })
}

/// Writes what arrives, for as long as the stream lasts.
async fn record(
    plane: &Arc<ControlPlane>,
    mut waiting: mpsc::Receiver<Word>,
    link: &Link,
    dropped: &AtomicBool,
) {
    let mut together = Vec::with_capacity(TOGETHER);
    while waiting.recv_many(&mut together, TOGETHER).await > 0 {
        if let Err(error) = write(plane, &mut together).await {
            tracing::warn!(%error, "acknowledgements could not be written; the node will repeat them");
            dropped.store(true, Ordering::Relaxed);
            tokio::time::sleep(BACK_OFF).await;
        }
        if dropped.swap(false, Ordering::Relaxed) {
            link.repeat_acknowledgements();
        }
        together.clear();
    }
}

async fn write(plane: &Arc<ControlPlane>, words: &mut Vec<Word>) -> Result<(), store::Error> {
    let mut conn = plane.writer.pool().acquire().await?;
    let mut acks = Vec::with_capacity(words.len());
    let mut armed = Vec::new();
    let mut concerned = Vec::new();
    for word in words.drain(..) {
        match word {
            Word::Quiesced(ack) => acks.push(ack),
            Word::Armed(ack) => armed.push(ack),
            Word::Stuck(stuck) => {
                concerned.extend(hold_stuck_add(&mut conn, &stuck).await?);
            }
        }
    }
    if !acks.is_empty() {
        concerned.extend(hold_ack_add(&mut conn, &acks).await?);
    }
    if !armed.is_empty() {
        concerned.extend(arming::arming_ack_add(&mut conn, &armed).await?);
    }
    drop(conn);
    plane.cutovers.news(concerned).await
}
