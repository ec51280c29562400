//! The flip: one transaction that evaluates all its conditions inside itself (promise F1).
//!
//! They are read after the position that the change succeeds, and the commit fails when anything was committed in
//! between: a registration is a revision, so none can slip in. What is read besides (acknowledgements, results of
//! commands) only ever becomes more.

use chrono::Utc;
use mailswitch_proto::fleet::v1::{self, change::Kind};
use mailswitch_proto::id::{HoldId, OperationId};

use super::hold::written;
use super::operation::{Fence, Hook, Operation, Step};
use super::steps::{Event, step};
use crate::change::{Change, Draft, Error, Refusal};
use crate::store;
use crate::store::audit::Proof;
use crate::store::mapping::Mapping;

/// Moves the account of an operation whose hold every registered node has acknowledged.
pub struct Flip {
    id: OperationId,
    fence: Fence,
    traceparent: String,
}

impl Flip {
    /// Of this operation, as its driver under this fence.
    #[must_use]
    pub fn new(id: OperationId, fence: Fence, traceparent: String) -> Self {
        Self {
            id,
            fence,
            traceparent,
        }
    }
}

impl Change for Flip {
    type Output = ();

    fn verb(&self) -> &'static str {
        "cutover flip"
    }

    fn request(&self) -> String {
        self.id.to_string()
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        let (operation, hold) = ours(draft, self.id, self.fence, Step::Flipping).await?;
        let missing: Vec<String> = store::hold::hold_proof_list(draft.conn, hold)
            .await?
            .into_iter()
            .filter(|proof| proof.quiesced.is_none())
            .map(|proof| proof.node)
            .collect();
        if !missing.is_empty() {
            return Err(Refusal::unproven(
                format!("not every registered node is quiet: {}", missing.join(", ")),
                "nothing was changed",
                missing,
            )
            .into());
        }
        if operation.copy == Hook::Wanted || operation.verify == Hook::Wanted {
            return Err(Refusal::precondition("a command has not passed", "nothing was changed").into());
        }
        let (moved, _) = step(operation, &Event::Flipped);
        let target = moved.target.clone();
        let ended = end(draft, moved, hold, &target, Step::Flipping).await?;
        let flipped = v1::Flipped {
            hold: hold.to_vec(),
            operation: ended.id.to_vec(),
            destination: target.clone(),
        };
        draft.push(&ended.subject.keys, Kind::Flipped(flipped));
        draft.trace(&self.traceparent);
        draft.audit(
            self.verb(),
            &ended.subject.name,
            &ended.source,
            &target,
            Proof::Standing,
        );
        Ok(())
    }
}

/// The operation, if it is ours (term and holder) and at this step, and its hold is the one in force.
pub(super) async fn ours(
    draft: &mut Draft<'_>,
    id: OperationId,
    fence: Fence,
    at: Step,
) -> Result<(Operation, HoldId), Error> {
    let operation = store::operation::operation_get(draft.conn, id)
        .await?
        .filter(|operation| operation.fence == fence && operation.step == at)
        .ok_or(Error::NotOurs(id))?;
    let in_force = store::hold::hold_on_get(draft.conn, &operation.subject.identifiers).await?;
    match (operation.hold, in_force) {
        (Some(hold), Some((of, found, _))) if of == id && found == hold => Ok((operation, hold)),
        _ => Err(Error::NotOurs(id)),
    }
}

/// Ends the hold: the account goes to `destination`, explicitly, and the operation is over.
pub(super) async fn end(
    draft: &mut Draft<'_>,
    moved: Operation,
    hold: HoldId,
    destination: &str,
    was: Step,
) -> Result<Operation, Error> {
    let mappings: Vec<Mapping> = moved
        .subject
        .identifiers
        .iter()
        .zip(&moved.subject.keys)
        .map(|(identifier, key)| Mapping {
            identifier: identifier.clone(),
            key: *key,
            destination: destination.to_owned(),
        })
        .collect();
    store::mapping::mapping_put_many(draft.conn, &mappings).await?;
    store::hold::hold_remove(draft.conn, hold).await?;
    let ended = Operation {
        end_revision: Some(draft.revision()),
        ended_at: Some(Utc::now()),
        ..moved
    };
    written(
        store::operation::operation_put(draft.conn, &ended, was).await?,
        ended.id,
    )?;
    Ok(ended)
}
