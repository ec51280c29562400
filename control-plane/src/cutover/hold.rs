//! The change that puts an account's hold in force (promise Q1).

use std::time::Duration;

use chrono::Utc;
use mailswitch_proto::fleet::v1::{self, change::Kind};
use mailswitch_proto::id::{ArmingId, HoldId, OperationId};

use super::arm::arming_on;
use super::begin::agreed;
use super::operation::{Operation, Step};
use super::steps::{Event, step};
use crate::change::rules::{Rules, Whereabouts};
use crate::change::{Change, Draft, Error, Refusal};
use crate::store;
use crate::store::audit::Proof;
use crate::store::hold::Hold;
use crate::store::operation::Fenced;

/// Holds the account of an operation that is armed.
pub struct PutHold {
    operation: Operation,
    hold: HoldId,
    traceparent: String,
}

impl PutHold {
    /// Of this operation, under a new hold.
    #[must_use]
    pub fn new(operation: Operation, traceparent: String) -> Self {
        Self {
            operation,
            hold: HoldId::random(),
            traceparent,
        }
    }
}

impl Change for PutHold {
    type Output = ();

    fn verb(&self) -> &'static str {
        "cutover hold"
    }

    fn request(&self) -> String {
        self.operation.id.to_string()
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        self.still_true(draft).await?;
        let (moved, _) = step(self.operation.clone(), &Event::Held);
        let held_at = Utc::now();
        let deadline = held_at + Duration::from_millis(moved.max_hold_ms);
        let hold = Hold {
            id: self.hold,
            operation: moved.id,
            revision: draft.revision(),
            source: moved.source.clone(),
            target: moved.target.clone(),
            deadline,
            drain_timeout_ms: moved.drain_timeout_ms,
            arming: moved.arming,
            keys: moved.subject.keys.clone(),
        };
        store::hold::hold_put(draft.conn, &hold, &moved.subject.identifiers).await?;
        let operation = Operation {
            hold: Some(self.hold),
            hold_revision: Some(draft.revision()),
            held_at: Some(held_at),
            deadline: Some(deadline),
            ..moved
        };
        written(
            store::operation::operation_put(draft.conn, &operation, Step::Arming).await?,
            operation.id,
        )?;
        let held = v1::Held {
            hold: self.hold.to_vec(),
            operation: operation.id.to_vec(),
            source: operation.source.clone(),
            target: operation.target.clone(),
            deadline_unix_millis: deadline.timestamp_millis(),
            drain_timeout_millis: operation.drain_timeout_ms,
            arming: operation.arming.map(ArmingId::to_vec).unwrap_or_default(),
        };
        draft.push(&operation.subject.keys, Kind::Held(held));
        draft.trace(&self.traceparent);
        draft.audit(
            self.verb(),
            &operation.subject.name,
            &operation.source,
            "held",
            Proof::Standing,
        );
        Ok(())
    }
}

impl PutHold {
    /// What was checked when the operation was recorded holds at this commit, too.
    async fn still_true(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        let subject = &self.operation.subject;
        if let Some((other, _, identifier)) =
            store::hold::hold_on_get(draft.conn, &subject.identifiers).await?
        {
            return Err(Refusal::precondition(
                format!("{identifier} is held by operation {other}"),
                "wait for it, or abort it",
            )
            .into());
        }
        let armed = arming_on(draft, subject).await?;
        if armed != self.operation.arming {
            return Err(Refusal::precondition(
                format!("the arming of {} was changed meanwhile", subject.name),
                "start it anew if it is still wanted",
            )
            .into());
        }
        let rules = Rules::read(draft.conn).await?;
        // A hold on keys that no login has any more would hold nobody (promise Q4).
        let in_form = subject
            .identifiers
            .iter()
            .zip(&subject.keys)
            .all(|(identifier, key)| {
                rules
                    .identifier(identifier)
                    .is_ok_and(|(now, its_key)| now.as_str() == identifier && its_key == *key)
            });
        if !in_form {
            return Err(Refusal::precondition(
                format!(
                    "the form of logins was changed meanwhile, and {} has another one now",
                    subject.name
                ),
                "import the account again, and start it anew",
            )
            .into());
        }
        let whereabouts = Whereabouts::read(draft.conn, &rules, &subject.identifiers).await?;
        let now = agreed(&whereabouts, subject)?;
        if now != self.operation.source {
            return Err(Refusal::precondition(
                format!(
                    "{} went from {} to {now} meanwhile",
                    subject.name, self.operation.source
                ),
                "start it anew if it is still wanted",
            )
            .into());
        }
        let account = store::account::account_of_identifier_get(draft.conn, &subject.identifiers[0]).await?;
        let same = match &account {
            None => subject.account.is_none(),
            Some(account) => {
                subject.account == Some(account.id)
                    && account
                        .identifiers
                        .iter()
                        .map(|(identifier, _)| identifier)
                        .eq(&subject.identifiers)
            }
        };
        if same {
            Ok(())
        } else {
            Err(Refusal::precondition(
                format!("the account of {} was changed meanwhile", subject.name),
                "start it anew if it is still wanted",
            )
            .into())
        }
    }
}

/// A write of an operation that is not ours any more is the end of its driver, not of the operation.
pub(super) fn written(fenced: Fenced, id: OperationId) -> Result<(), Error> {
    match fenced {
        Fenced::Written => Ok(()),
        Fenced::NotOurs => Err(Error::NotOurs(id)),
    }
}
