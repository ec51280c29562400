//! What comes: snapshots and deltas (promise N7). Each is checked against where the node stands, applied in memory,
//! and handed to the state file; acknowledging follows what the file says.

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::revision::{Digest, InvalidDigest, Position, Revision};
use mailswitch_proto::trace_context;
use prost::Message as _;

use super::stream::Stream;
use crate::sessions::Applied;
use crate::source::alone::wait_policy;
use crate::state_file::Sync;
use crate::table::{Builder, InvalidSnapshot, Policy, Rejection, Serving};

/// What came does not follow what the node has. The stream is dropped, and the next Hello says where it stands.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeError {
    /// N7: never over a gap, never backwards.
    #[error("the control plane sent revision {sent} after {known}")]
    Gap {
        /// What came.
        sent: Revision,
        /// What we have.
        known: Revision,
    },
    /// N7: a delta that another history leads to.
    #[error("revision {0} does not follow from this node's digest")]
    Digest(Revision),
    /// A digest that is not one.
    #[error(transparent)]
    InvalidDigest(#[from] InvalidDigest),
    /// A snapshot that cannot be used.
    #[error(transparent)]
    Snapshot(#[from] InvalidSnapshot),
    /// A snapshot of something older than what the node has.
    #[error("the control plane sent a snapshot of revision {sent}, and this node has {known}")]
    OlderSnapshot {
        /// What came.
        sent: Revision,
        /// What we have.
        known: Revision,
    },
    /// A part of a snapshot that did not begin.
    #[error("the control plane sent a part of a snapshot that did not begin")]
    NoSnapshot,
    /// A change set that is no message. Its digest was right: it is stored so.
    #[error("revision {0} cannot be decoded")]
    Payload(Revision),
    /// A part of it could not be applied: only a snapshot makes the table whole again.
    #[error("revision {0} is damaged: the table has to be sent anew")]
    Damaged(Revision),
}

impl Stream<'_> {
    pub(super) fn begin_snapshot(&mut self, begin: &wire::SnapshotBegin) -> Result<(), TakeError> {
        let known = self.position();
        let sent = Revision(begin.revision);
        if sent < known.revision {
            return Err(TakeError::OlderSnapshot {
                sent,
                known: known.revision,
            });
        }
        self.building = Some(Builder::begin(begin, self.fleet)?);
        Ok(())
    }

    pub(super) fn take_chunk(&mut self, chunk: &wire::SnapshotChunk) -> Result<(), TakeError> {
        self.building
            .as_mut()
            .ok_or(TakeError::NoSnapshot)?
            .chunk(&chunk.changes);
        Ok(())
    }

    pub(super) async fn end_snapshot(&mut self, end: &wire::SnapshotEnd) -> Result<(), TakeError> {
        let builder = self.building.take().ok_or(TakeError::NoSnapshot)?;
        let (mut table, unknown) = builder.end(Revision(end.revision))?;
        // The configuration is there before the table is: nobody meets a table without a default destination.
        let (config, mut rejections) = self.node.resources.assemble(table.resources());
        table.set_policy(Policy::from(&config.routing));
        if let Some(revision) = self.not_before {
            table.serve(Serving::From(revision));
        }
        let position = table.position();
        tracing::info!(revision = %position.revision, keys = table.len(), "took a snapshot");
        let knowledge = &self.node.knowledge;
        knowledge
            .sessions()
            .set_policy(wait_policy(knowledge.sessions().policy(), &config.cutover));
        knowledge.set_config(config);
        let applied = knowledge.sessions().adopt(table);
        self.node.writer.rewrite();
        rejections.extend(unknown);
        rejections.extend(applied.rejected);
        self.node.rejections = rejections.clone();
        self.say_rejected(position.revision, &rejections).await;
        Ok(())
    }

    pub(super) async fn take_delta(&mut self, delta: wire::Delta) -> Result<(), TakeError> {
        let at = self.follows(&delta)?;
        let set =
            wire::ChangeSet::decode(delta.payload.clone()).map_err(|_| TakeError::Payload(at.revision))?;
        let span = tracing::info_span!(
            mailswitch_telemetry::name::span::APPLY,
            revision = at.revision.0,
            changes = set.changes.len()
        );
        trace_context::adopt(&span, trace_context::of_traceparent(&set.traceparent));
        let applied = span.in_scope(|| self.node.knowledge.sessions().apply(&set, at));
        let sync = if applied.sync_first {
            Sync::First
        } else {
            Sync::Behind
        };
        self.node.writer.append(at, delta.payload, sync);
        self.follow(applied, at.revision).await;
        let sessions = self.node.knowledge.sessions();
        if sessions.with_table(|table| table.serving() == Serving::NotSynced) {
            return Err(TakeError::Damaged(at.revision));
        }
        Ok(())
    }

    /// N4: the node was not registered; what it has may be from before others were told that it is gone.
    pub(super) fn serve_only_from(&mut self, revision: Revision) {
        self.not_before = Some(revision);
        self.node.knowledge.sessions().adjust(|table| {
            if table.serving() != Serving::NotSynced {
                table.serve(Serving::From(revision));
            }
        });
    }

    fn position(&self) -> Position {
        self.node
            .knowledge
            .sessions()
            .with_table(|table| table.position())
    }

    fn follows(&self, delta: &wire::Delta) -> Result<Position, TakeError> {
        let known = self.position();
        let sent = Revision(delta.revision);
        if sent != known.revision.next() {
            return Err(TakeError::Gap {
                sent,
                known: known.revision,
            });
        }
        let at = known.after(&delta.payload);
        if Digest::try_from(delta.predecessor.as_slice())? != known.digest
            || Digest::try_from(delta.digest.as_slice())? != at.digest
        {
            return Err(TakeError::Digest(sent));
        }
        Ok(at)
    }

    async fn follow(&mut self, applied: Applied, revision: Revision) {
        let mut news: Vec<Rejection> = applied.rejected;
        // What was not understood of changes stays true until a snapshot replaces the table.
        self.node.rejections.extend(news.iter().cloned());
        if applied.resources_changed {
            news.extend(self.assemble_again());
        }
        self.say_rejected(revision, &news).await;
    }

    /// Resources that were rejected for want of a file are looked at again when the files have changed.
    pub(super) async fn look_at_files_again(&mut self) {
        if !self.node.resources.may_have_become_usable() {
            return;
        }
        let before = self.node.rejections.clone();
        let now = self.assemble_again();
        let usable: Vec<Rejection> = before
            .iter()
            .filter(|old| old.resource != "change" && !now.iter().any(|new| new.resource == old.resource))
            .cloned()
            .collect();
        let news: Vec<Rejection> = now.into_iter().filter(|new| !before.contains(new)).collect();
        let revision = self.position().revision;
        self.say_rejected(revision, &news).await;
        self.say_usable(revision, &usable).await;
    }

    /// Puts the configuration of the table's resources in force; what of them cannot be used.
    fn assemble_again(&mut self) -> Vec<Rejection> {
        let sessions = self.node.knowledge.sessions();
        let resources = sessions.with_table(|table| table.resources().clone());
        let (config, rejections) = self.node.resources.assemble(&resources);
        sessions.adjust(|table| table.set_policy(Policy::from(&config.routing)));
        sessions.set_policy(wait_policy(sessions.policy(), &config.cutover));
        self.node.knowledge.set_config(config);
        self.node.rejections.retain(|old| old.resource == "change");
        self.node.rejections.extend(rejections.iter().cloned());
        rejections
    }
}
