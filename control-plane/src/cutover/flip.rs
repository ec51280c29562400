//! The flip: one transaction that evaluates all its conditions inside itself (promise F1).
//!
//! They are read after the position that the change succeeds, and the commit fails when anything was committed in
//! between: a registration is a revision, so none can slip in; so is an unfencing, and a disarming. What is read besides
//! (acknowledgements, results of commands) only ever becomes more.

use std::time::Duration;

use chrono::Utc;
use mailswitch_proto::fleet::v1::{self, change::Kind};
use mailswitch_proto::id::{HoldId, OperationId};

use super::arm::{arming_on, disarm_own};
use super::hold::written;
use super::operation::{Fence, Hook, Operation, Step};
use super::proof::{Standing, Terms, leases_after, standing};
use super::steps::{Event, step};
use crate::change::{Change, Draft, Error, Refusal};
use crate::store;
use crate::store::audit::Proof;
use crate::store::mapping::Mapping;

/// Moves the account of an operation whose hold every registered node has acknowledged.
pub struct Flip {
    id: OperationId,
    fence: Fence,
    waited: Duration,
    traceparent: String,
}

impl Flip {
    /// Of this operation, as its driver under this fence, which has waited so long since it saw the hold committed
    /// (promise L3).
    #[must_use]
    pub fn new(id: OperationId, fence: Fence, waited: Duration, traceparent: String) -> Self {
        Self {
            id,
            fence,
            waited,
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
        let counted = self.count(draft, &operation, hold).await?;
        if !counted.missing.is_empty() {
            return Err(Refusal::unproven(
                format!(
                    "not every registered node is quiet: {}",
                    counted.missing.join(", ")
                ),
                "nothing was changed",
                counted.missing,
            )
            .into());
        }
        if operation.copy == Hook::Wanted || operation.verify == Hook::Wanted {
            return Err(Refusal::precondition("a command has not passed", "nothing was changed").into());
        }
        let (moved, _) = step(operation, &Event::Flipped);
        let moved = Operation {
            lapsed: counted.lapsed,
            taken_as_off: counted.taken_as_off,
            ..moved
        };
        let target = moved.target.clone();
        let ended = end(draft, moved, hold, &target, Step::Flipping).await?;
        let flipped = v1::Flipped {
            hold: hold.to_vec(),
            operation: ended.id.to_vec(),
            destination: target.clone(),
        };
        draft.push(&ended.subject.keys, Kind::Flipped(flipped));
        disarm_own(draft, ended.id).await?;
        draft.trace(&self.traceparent);
        // What rests on somebody's word is marked as that (promise N3).
        let proof = match ended.taken_as_off.is_empty() {
            true => Proof::Standing,
            false => Proof::Waived,
        };
        let after = format!("{target}{}", rests_on(&ended));
        draft.audit(self.verb(), &ended.subject.name, &ended.source, &after, proof);
        Ok(())
    }
}

/// The registered nodes that do not simply say that they are quiet, each once.
#[derive(Default)]
struct Counted {
    missing: Vec<String>,
    lapsed: Vec<String>,
    taken_as_off: Vec<String>,
}

impl Flip {
    async fn count(
        &self,
        draft: &mut Draft<'_>,
        operation: &Operation,
        hold: HoldId,
    ) -> Result<Counted, Error> {
        // Only an arming that is in force, and that this very hold follows (promise L4).
        let arming = arming_on(draft, &operation.subject).await?;
        let follows = store::hold::hold_arming_get(draft.conn, hold).await?;
        let arming = arming.filter(|arming| follows == Some(*arming) && operation.arming == follows);
        let terms = Terms {
            leases: leases_after(self.waited, Duration::from_millis(operation.lease_ms)),
            fenced: operation.fenced,
        };
        let mut counted = Counted::default();
        for proof in store::hold::hold_proof_list(draft.conn, Some(hold), arming).await? {
            match standing(proof.facts(), terms) {
                Standing::Quiesced => {}
                Standing::Lapsed => counted.lapsed.push(proof.node),
                Standing::TakenAsOff => counted.taken_as_off.push(proof.node),
                Standing::Missing => counted.missing.push(proof.node),
            }
        }
        for names in [
            &mut counted.missing,
            &mut counted.lapsed,
            &mut counted.taken_as_off,
        ] {
            // They come in order.
            names.dedup();
        }
        Ok(counted)
    }
}

/// For the audit log; empty when every node said that it is quiet.
fn rests_on(operation: &Operation) -> String {
    let part =
        |what: &str, nodes: &[String]| (!nodes.is_empty()).then(|| format!("{what}: {}", nodes.join(", ")));
    let parts: Vec<String> = [
        part("lease lapsed", &operation.lapsed),
        part("fenced, and off on the operator's word", &operation.taken_as_off),
    ]
    .into_iter()
    .flatten()
    .collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!(" ({})", parts.join("; ")),
    }
}

/// The operation, if it is ours (term and holder) and at this step, and its hold is the one in force.
pub(super) async fn ours(
    draft: &mut Draft<'_>,
    id: OperationId,
    fence: Fence,
    at: Step,
) -> Result<(Operation, HoldId), Error> {
    let operation = fenced(draft, id, fence, at).await?;
    let in_force = store::hold::hold_on_get(draft.conn, &operation.subject.identifiers).await?;
    match (operation.hold, in_force) {
        (Some(hold), Some((of, found, _))) if of == id && found == hold => Ok((operation, hold)),
        _ => Err(Error::NotOurs(id)),
    }
}

/// The operation, if it is ours (term and holder) and at this step.
pub(super) async fn fenced(
    draft: &mut Draft<'_>,
    id: OperationId,
    fence: Fence,
    at: Step,
) -> Result<Operation, Error> {
    store::operation::operation_get(draft.conn, id)
        .await?
        .filter(|operation| operation.fence == fence && operation.step == at)
        .ok_or(Error::NotOurs(id))
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
    ended(draft, moved, was).await
}

/// Writes down that the operation is over.
pub(super) async fn ended(draft: &mut Draft<'_>, moved: Operation, was: Step) -> Result<Operation, Error> {
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
