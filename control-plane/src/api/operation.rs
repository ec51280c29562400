//! Cutovers and rollbacks: start, look, watch, abort, and the hooks that `mailswitchctl` runs for them (promise F6).
//! The operation goes on whoever watches it; here it is only asked for and shown.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mailswitch_proto::control::v1 as wire;
use mailswitch_proto::control::v1::{Problem, problem::Kind};
use mailswitch_proto::fleet::v1 as fleet;
use mailswitch_proto::id::{HoldId, InvalidId, OperationId};

use super::caller::believed;
use super::pages::{self, Pages};
use super::{Answer, Caller};
use crate::change::{self, Committed, Mode};
use crate::cutover::operation::{FencedIs, Hook, HookKind, Operation, Outcome, Step};
use crate::cutover::proof::{Fence, Said, Standing};
use crate::cutover::request::{HookReport, Hooks, NewMail, Proof, Reach, Rollback, Start, Times, View, Will};
use crate::nodes::Nodes;
use crate::process::ControlPlane;
use crate::store::hold::HookResult;
use crate::store::operation::{Which, operation_list};

/// Operations of a list unless told otherwise.
const LIMIT: u32 = 100;

pub(super) async fn cutover(
    plane: Arc<ControlPlane>,
    caller: Caller,
    request: wire::CutoverStartRequest,
) -> Answer<wire::Operation> {
    let context = caller.context(request.change)?;
    believed(&plane)?;
    if request.fenced_is_off {
        super::fence::fenced_are_off(&plane).await?;
    }
    let start = Start {
        identifier: request.identifier,
        from: request.from,
        to: request.to,
        reach: if request.single {
            Reach::Single
        } else {
            Reach::Account
        },
        fenced: fenced_is(request.fenced_is_off),
        hooks: Hooks {
            copy: will(request.has_copy),
            verify: will(request.has_verify),
        },
        times: times(request.drain_timeout_millis, request.max_hold_millis),
    };
    match context.mode {
        Mode::Commit => begun(&plane, plane.cutovers.begin(&context, &start).await?).await,
        Mode::DryRun => Ok(tried(plane.cutovers.try_begin(&context, &start).await?)),
    }
}

pub(super) async fn rollback(
    plane: Arc<ControlPlane>,
    caller: Caller,
    request: wire::RollbackStartRequest,
) -> Answer<wire::Operation> {
    let context = caller.context(request.change)?;
    believed(&plane)?;
    if request.fenced_is_off {
        super::fence::fenced_are_off(&plane).await?;
    }
    let rollback = Rollback {
        identifier: request.identifier,
        new_mail: if request.leave_new_mail {
            NewMail::Leave
        } else {
            NewMail::Unsaid
        },
        fenced: fenced_is(request.fenced_is_off),
        hooks: Hooks {
            copy: will(request.has_copy),
            verify: will(request.has_verify),
        },
        times: times(request.drain_timeout_millis, request.max_hold_millis),
    };
    match context.mode {
        Mode::Commit => begun(&plane, plane.cutovers.roll_back(&context, &rollback).await?).await,
        Mode::DryRun => Ok(tried(plane.cutovers.try_roll_back(&context, &rollback).await?)),
    }
}

async fn begun(plane: &ControlPlane, recorded: Committed<OperationId>) -> Answer<wire::Operation> {
    let view = plane.cutovers.get(recorded.output).await;
    Ok(wire::Operation {
        notes: recorded.notes,
        ..of_view(view.map_err(change::Error::after_the_commit)?, &plane.nodes)
    })
}

/// What would have begun: whom it would move, from where, to where. It is recorded nowhere, so it has no id and has not
/// started.
fn tried(planned: Committed<Operation>) -> wire::Operation {
    wire::Operation {
        id: Vec::new(),
        started_unix_millis: 0,
        notes: planned.notes,
        ..of_operation(planned.output)
    }
}

pub(super) async fn get(
    plane: Arc<ControlPlane>,
    _: Caller,
    request: wire::OperationRef,
) -> Answer<wire::Operation> {
    let id = operation_id(&request.id)?;
    let view = plane.cutovers.get(id).await?;
    Ok(of_view(view, &plane.nodes))
}

pub(super) async fn list(
    plane: Arc<ControlPlane>,
    _: Caller,
    request: wire::OperationListRequest,
) -> Answer<wire::OperationListResponse> {
    let name = match request.identifier.as_str() {
        "" => None,
        identifier => Some(super::mapping::normal_form(&plane, identifier)?.to_string()),
    };
    let limit = if request.limit == 0 { LIMIT } else { request.limit };
    let which = if request.ended { Which::Ended } else { Which::Open };
    Ok(wire::OperationListResponse {
        operations: views(&plane, which, name.as_deref(), limit).await?,
    })
}

/// Operations with their proofs, the newest first.
pub(super) async fn views(
    plane: &ControlPlane,
    which: Which,
    identifier: Option<&str>,
    limit: u32,
) -> Result<Vec<wire::Operation>, change::Error> {
    let mut conn = plane.writer.pool().acquire().await?;
    let found = operation_list(&mut conn, which, identifier, limit).await?;
    drop(conn);
    let mut operations = Vec::with_capacity(found.len());
    for operation in found {
        operations.push(of_view(plane.cutovers.get(operation.id).await?, &plane.nodes));
    }
    Ok(operations)
}

/// Every state that it takes from now on, the present one first; the stream ends with the operation.
pub(super) async fn watch(
    plane: Arc<ControlPlane>,
    _: Caller,
    request: wire::OperationRef,
) -> Answer<Pages<wire::Operation>> {
    let id = operation_id(&request.id)?;
    let mut watched = plane.cutovers.watch(id).await?;
    Ok(pages::stream(|out| async move {
        let mut last = None;
        loop {
            let view = View::clone(&watched.borrow_and_update());
            let ended = view.operation.step.is_end();
            let operation = of_view(view, &plane.nodes);
            if last.as_ref() != Some(&operation) && out.send(Ok(operation.clone())).await.is_err() {
                return Ok(());
            }
            last = Some(operation);
            if ended {
                return Ok(());
            }
            tokio::select! {
                changed = watched.changed() => if changed.is_err() {
                    break;
                },
                () = out.closed() => return Ok(()),
            }
        }
        // Nobody drives it here any more: this replica stops, or another one took it over. The last word is its record.
        let operation = of_view(plane.cutovers.get(id).await?, &plane.nodes);
        if last.as_ref() != Some(&operation) {
            // The caller may have gone.
            let _ = out.send(Ok(operation)).await;
        }
        Ok(())
    }))
}

pub(super) async fn abort(
    plane: Arc<ControlPlane>,
    caller: Caller,
    request: wire::OperationAbortRequest,
) -> Answer<wire::Operation> {
    let context = caller.context(request.change)?;
    believed(&plane)?;
    let view = plane.cutovers.abort(&context, operation_id(&request.id)?).await?;
    Ok(of_view(view, &plane.nodes))
}

pub(super) async fn hook_renew(
    plane: Arc<ControlPlane>,
    _: Caller,
    request: wire::HookRenewRequest,
) -> Answer<wire::HookLease> {
    let operation = operation_id(&request.operation)?;
    let hold = hold_id(&request.hold)?;
    let lease = plane
        .cutovers
        .hook_renew(operation, hold, hook_kind(&request.hook)?)
        .await?;
    Ok(wire::HookLease {
        lease_millis: millis(lease.lease),
        until_deadline_millis: millis(lease.until_deadline),
    })
}

pub(super) async fn hook_finish(
    plane: Arc<ControlPlane>,
    _: Caller,
    request: wire::HookFinishRequest,
) -> Answer<wire::Operation> {
    let report = HookReport {
        operation: operation_id(&request.operation)?,
        hold: hold_id(&request.hold)?,
        hook: hook_kind(&request.hook)?,
        result: if request.succeeded {
            HookResult::Passed
        } else {
            HookResult::Failed
        },
        detail: request.detail,
    };
    let view = plane.cutovers.hook_finish(&report).await?;
    Ok(of_view(view, &plane.nodes))
}

/// As it goes over the wire. Whether a node is connected is this replica's to say.
pub(super) fn of_view(view: View, nodes: &Nodes) -> wire::Operation {
    let View {
        operation, proofs, ..
    } = view;
    wire::Operation {
        proofs: proofs.into_iter().map(|proof| of_proof(proof, nodes)).collect(),
        ..of_operation(operation)
    }
}

fn of_operation(operation: Operation) -> wire::Operation {
    wire::Operation {
        id: operation.id.to_vec(),
        account: operation.subject.name,
        identifiers: operation.subject.identifiers,
        from: vec![operation.source],
        to: operation.target,
        step: step(operation.step).into(),
        outcome: operation
            .outcome
            .map_or(wire::Outcome::Unspecified, outcome)
            .into(),
        hold: operation.hold.map(HoldId::to_vec).unwrap_or_default(),
        hold_revision: operation.hold_revision.map_or(0, |revision| revision.0),
        end_revision: operation.end_revision.map_or(0, |revision| revision.0),
        proofs: Vec::new(),
        cause: operation.cause,
        missing: operation.missing,
        started_unix_millis: unix_millis(Some(operation.started_at)),
        held_unix_millis: unix_millis(operation.held_at),
        ended_unix_millis: unix_millis(operation.ended_at),
        deadline_unix_millis: unix_millis(operation.deadline),
        has_copy: operation.copy != Hook::None,
        has_verify: operation.verify != Hook::None,
        traceparent: operation.traceparent,
        reason: operation.reason,
        started_by: operation.started_by,
        notes: Vec::new(),
        lapsed: operation.lapsed,
        taken_as_off: operation.taken_as_off,
        lease_millis: operation.lease_ms,
        fenced_is_off: operation.fenced == FencedIs::Off,
    }
}

fn of_proof(proof: Proof, nodes: &Nodes) -> wire::NodeProof {
    wire::NodeProof {
        connected: nodes.is_connected(proof.instance),
        node: proof.node,
        instance: proof.instance.to_vec(),
        quiesced: proof.standing == Standing::Quiesced,
        sessions_closed: proof.met.closed,
        logins_parked: proof.met.parked,
        armed: proof.facts.arming == Said::Acknowledged,
        fenced: proof.facts.fence == Fence::Fenced,
        lapsed: proof.standing == Standing::Lapsed,
        taken_as_off: proof.standing == Standing::TakenAsOff,
        stuck: proof.stuck.map(|stuck| fleet::Stuck {
            hold: stuck.hold.to_vec(),
            destination: stuck.destination,
            session: stuck.session,
            protocol: stuck.protocol,
        }),
    }
}

const fn step(step: Step) -> wire::Step {
    match step {
        Step::Planned => wire::Step::Planned,
        Step::Arming => wire::Step::Arming,
        Step::Holding => wire::Step::Holding,
        Step::Draining => wire::Step::Draining,
        Step::Copying => wire::Step::Copying,
        Step::Verifying => wire::Step::Verifying,
        Step::Flipping => wire::Step::Flipping,
        Step::Done => wire::Step::Done,
        Step::Releasing => wire::Step::Releasing,
        Step::Aborted => wire::Step::Aborted,
    }
}

const fn outcome(outcome: Outcome) -> wire::Outcome {
    match outcome {
        Outcome::Done => wire::Outcome::Done,
        Outcome::Released => wire::Outcome::Released,
        Outcome::Unproven => wire::Outcome::Unproven,
    }
}

const fn fenced_is(off: bool) -> FencedIs {
    if off { FencedIs::Off } else { FencedIs::Unsaid }
}

const fn will(runs: bool) -> Will {
    if runs { Will::Run } else { Will::Not }
}

fn times(drain_timeout: u64, max_hold: u64) -> Times {
    let given = |millis: u64| (millis > 0).then(|| Duration::from_millis(millis));
    Times {
        drain_timeout: given(drain_timeout),
        max_hold: given(max_hold),
    }
}

fn operation_id(bytes: &[u8]) -> Answer<OperationId> {
    OperationId::try_from(bytes).map_err(|error| no_id(&error))
}

fn hold_id(bytes: &[u8]) -> Answer<HoldId> {
    HoldId::try_from(bytes).map_err(|error| no_id(&error))
}

fn no_id(error: &InvalidId) -> Problem {
    Problem::new(
        Kind::Invalid,
        error.to_string(),
        "`mailswitchctl status` shows the operations that go on",
    )
}

fn hook_kind(text: &str) -> Answer<HookKind> {
    HookKind::from_text(text).ok_or_else(|| {
        Problem::new(
            Kind::Invalid,
            format!("{text:?} is no hook"),
            "take \"copy\" or \"verify\"",
        )
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unix_millis(at: Option<DateTime<Utc>>) -> u64 {
    at.map_or(0, |at| u64::try_from(at.timestamp_millis()).unwrap_or(0))
}
