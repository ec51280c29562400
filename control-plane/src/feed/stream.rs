//! What a node is sent, in order: Welcome, a snapshot if it needs one, then every delta as it is committed, and
//! requests between.
//!
//! The stream is a cursor into the log in memory. A delta leaves when it is committed, never later for company
//! (holds and flips are among them). A cursor that the log has left behind, or that meets a change set too large for
//! one message, gets a snapshot.

use std::sync::Arc;

use mailswitch_proto::fleet::v1::{self as wire, fleet_message::Message};
use mailswitch_proto::id::InstanceId;
use mailswitch_proto::revision::Revision;

use super::Outbox;
use super::catch_up::{Start, StartAt};
use crate::nodes::ask::Requests;
use crate::process::ControlPlane;
use crate::routing::Epoch;
use crate::routing::log::{Entry, Following};

/// In which nodes spread their moves to another replica: what a replica that stops waits for them.
const MOVE_WITHIN_MILLIS: u64 = 1000;

/// Why a node has to say Hello again.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Its position means nothing in what this replica knows now.
    #[error("the database was replaced by another state of it: say Hello again")]
    Replaced,
}

/// The node hung up.
struct Closed;

/// Sends until the node hangs up, or has to start over.
///
/// # Errors
/// When it has to say Hello again.
pub async fn send(
    plane: &Arc<ControlPlane>,
    instance: InstanceId,
    start: Start,
    mut requests: Requests,
    outbox: &Outbox,
) -> Result<(), StreamError> {
    let mut news = plane.routing.subscribe();
    news.mark_unchanged();
    let mut sender = Sender {
        plane,
        instance,
        outbox,
        at: start.at,
        epoch: start.epoch,
    };
    if sender.say(Message::Welcome(start.welcome)).await.is_err() {
        return Ok(());
    }
    // What it was to do before it came: a fenced node leaves before it is told anything else (promise N3).
    while let Some(request) = requests.ready() {
        if sender.pass(request).await.is_err() {
            return Ok(());
        }
    }
    let mut staying = true;
    loop {
        if news.borrow_and_update().0 != start.epoch {
            return Err(StreamError::Replaced);
        }
        if sender.catch_up().await.is_err() {
            return Ok(());
        }
        let done = tokio::select! {
            biased;
            Some(request) = requests.next() => sender.pass(request).await,
            changed = news.changed() => changed.map_err(|_| Closed),
            () = plane.stopping.cancelled(), if staying => {
                staying = false;
                sender.say(Message::Move(wire::Move { within_millis: MOVE_WITHIN_MILLIS })).await
            }
            () = outbox.closed() => Err(Closed),
        };
        if done.is_err() {
            return Ok(());
        }
    }
}

struct Sender<'a> {
    plane: &'a Arc<ControlPlane>,
    instance: InstanceId,
    outbox: &'a Outbox,
    at: StartAt,
    epoch: Epoch,
}

impl Sender<'_> {
    /// Everything that there is now.
    async fn catch_up(&mut self) -> Result<(), Closed> {
        loop {
            match self.at {
                // It keeps what it has until an operator decided (promise D3).
                StartAt::Nowhere => return Ok(()),
                StartAt::Snapshot { at_least } => self.snapshot(at_least).await?,
                StartAt::After(revision) => match self.plane.routing.following(revision) {
                    Following::End => return Ok(()),
                    Following::Entry(entry) if entry.payload.len() <= self.plane.bounds.delta => {
                        self.delta(entry).await?
                    }
                    Following::Entry(Entry { position, .. }) => {
                        self.at = StartAt::Snapshot {
                            at_least: position.revision,
                        };
                    }
                    Following::Gone => self.at = StartAt::Snapshot { at_least: revision },
                },
            }
        }
    }

    async fn delta(&mut self, entry: Entry) -> Result<(), Closed> {
        let revision = entry.position.revision;
        self.say(Message::Delta(wire::Delta {
            revision: revision.0,
            predecessor: entry.predecessor.to_vec(),
            digest: entry.position.digest.to_vec(),
            payload: entry.payload,
        }))
        .await?;
        self.sent(revision);
        Ok(())
    }

    async fn snapshot(&mut self, at_least: Revision) -> Result<(), Closed> {
        let Some(snapshot) = self.plane.routing.snapshot(self.epoch, at_least).await else {
            // It has to say Hello again: nothing more is sent.
            self.at = StartAt::Nowhere;
            return Ok(());
        };
        let revision = snapshot.position.revision;
        tracing::info!(%revision, keys = snapshot.keys, "sending a snapshot");
        self.say(Message::SnapshotBegin(wire::SnapshotBegin {
            revision: revision.0,
            digest: snapshot.position.digest.to_vec(),
            hash_key: snapshot.hash_key.0.to_vec(),
            keys: snapshot.keys,
        }))
        .await?;
        for chunk in &snapshot.chunks {
            self.say(Message::SnapshotChunk(chunk.clone())).await?;
        }
        self.say(Message::SnapshotEnd(wire::SnapshotEnd { revision: revision.0 }))
            .await?;
        self.sent(revision);
        Ok(())
    }

    fn sent(&mut self, revision: Revision) {
        self.at = StartAt::After(revision);
        self.plane.nodes.sent(self.instance, revision);
    }

    async fn say(&self, message: Message) -> Result<(), Closed> {
        self.pass(wire::FleetMessage {
            message: Some(message),
        })
        .await
    }

    async fn pass(&self, message: wire::FleetMessage) -> Result<(), Closed> {
        self.outbox.send(Ok(message)).await.map_err(|_| Closed)
    }
}
