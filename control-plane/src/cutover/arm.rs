//! The change that arms the account of an operation, and the end of what it made (promise L1, L4). An account that was
//! armed ahead keeps that arming, also when the operation has ended.

use chrono::Utc;
use mailswitch_proto::fleet::v1::{self, change::Kind};
use mailswitch_proto::id::{ArmingId, OperationId};

use super::flip::fenced;
use super::hold::written;
use super::operation::{Fence, Operation, Step, Subject};
use super::steps::{Event, step};
use crate::change::{Change, Draft, Error, Refusal};
use crate::store;
use crate::store::arming::Arming;
use crate::store::audit::Proof;

/// Arms the account of an operation that is planned.
pub struct Arm {
    id: OperationId,
    fence: Fence,
    arming: ArmingId,
    traceparent: String,
}

impl Arm {
    /// Of this operation, as its driver under this fence.
    #[must_use]
    pub fn new(id: OperationId, fence: Fence, traceparent: String) -> Self {
        Self {
            id,
            fence,
            arming: ArmingId::random(),
            traceparent,
        }
    }
}

impl Change for Arm {
    type Output = ();

    fn verb(&self) -> &'static str {
        "cutover arm"
    }

    fn request(&self) -> String {
        self.id.to_string()
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        let operation = fenced(draft, self.id, self.fence, Step::Planned).await?;
        let arming = match arming_on(draft, &operation.subject).await? {
            Some(ahead) => ahead,
            None => self.own(draft, &operation).await?,
        };
        let (moved, _) = step(operation, &Event::Armed);
        let moved = Operation {
            arming: Some(arming),
            ..moved
        };
        written(
            store::operation::operation_put(draft.conn, &moved, Step::Planned).await?,
            moved.id,
        )
    }
}

impl Arm {
    async fn own(&self, draft: &mut Draft<'_>, operation: &Operation) -> Result<ArmingId, Error> {
        let arming = Arming {
            id: self.arming,
            operation: Some(operation.id),
            account: operation.subject.account,
            name: operation.subject.name.clone(),
            revision: draft.revision(),
            keys: operation.subject.keys.clone(),
            armed_at: Utc::now(),
            armed_by: operation.started_by.clone(),
        };
        let armed = v1::Armed {
            arming: arming.id.to_vec(),
            operation: operation.id.to_vec(),
        };
        draft.push(&arming.keys, Kind::Armed(armed));
        draft.trace(&self.traceparent);
        draft.audit(self.verb(), &operation.subject.name, "", "armed", Proof::Standing);
        store::arming::arming_put_many(draft.conn, &[(arming, operation.subject.identifiers.clone())])
            .await?;
        Ok(self.arming)
    }
}

/// The one arming that stands on all of a subject's identifiers; none: on none of them.
///
/// # Errors
/// Refused when it stands on some of them only: a lapse would prove nothing of the others.
pub(super) async fn arming_on(draft: &mut Draft<'_>, subject: &Subject) -> Result<Option<ArmingId>, Error> {
    let found = store::arming::arming_on_list(draft.conn, &subject.identifiers).await?;
    match found.as_slice() {
        [] => Ok(None),
        [(arming, named)] if named.len() == subject.identifiers.len() && arming.keys.len() == named.len() => {
            Ok(Some(arming.id))
        }
        [(arming, _), ..] => Err(Refusal::precondition(
            format!(
                "{} is armed as another account than it is now ({})",
                subject.name, arming.name
            ),
            format!(
                "take that back first: mailswitchctl account disarm {}",
                arming.name
            ),
        )
        .into()),
    }
}

/// An operation that ends takes back the arming that it made for itself, in the same transaction.
pub(super) async fn disarm_own(draft: &mut Draft<'_>, id: OperationId) -> Result<(), Error> {
    let Some(own) = store::arming::arming_of_operation_get(draft.conn, id).await? else {
        return Ok(());
    };
    store::arming::arming_remove_many(draft.conn, &[own.id]).await?;
    let disarmed = v1::Disarmed {
        arming: own.id.to_vec(),
    };
    draft.push(&own.keys, Kind::Disarmed(disarmed));
    Ok(())
}
