//! The steps of a cutover, pure: no clock, no database, no runtime (promise D1). The driver tells what happened, commits
//! the operation that comes back, and only then does what the actions say. Every event may come again, and any may
//! come after a takeover; what does not concern the present step changes nothing.
//!
//! planned -> arming -> holding -> draining -> copying -> verifying -> flipping -> done, or from any step before the flip
//! -> releasing -> aborted. Every failure releases to the source (promise F2).

use std::time::Duration;

use super::operation::{Hook, HookKind, Operation, Outcome, Step};
use super::proof::wait_of;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A driver has it: for the first time, or after a takeover.
    Taken,
    /// The account is armed: it was committed, or it had been armed ahead.
    Armed,
    /// It could not be armed: something is in the way.
    ArmRefused(String),
    /// The connected nodes that have not acknowledged this arming, by name: a level, said again and again.
    Unarmed(Vec<String>),
    /// The moment in which the arming's acknowledgements are waited for is over.
    ArmingWaited,
    /// The hold was committed.
    Held,
    /// The nodes that do not count as without a session of the account (`proof::standing`), by name: a level, said again
    /// and again.
    Missing(Vec<String>),
    /// A backend leg did not end (promise Q2).
    Stuck {
        /// On which node.
        node: String,
        /// Toward which destination.
        destination: String,
        /// Which session.
        session: String,
    },
    /// A command passed, for this hold.
    HookPassed(HookKind),
    /// A command failed, for this hold.
    HookFailed(HookKind, String),
    /// Nobody renewed the command's lease in time (promise F6).
    HookLapsed(HookKind),
    /// `max_hold` is over.
    Deadline {
        /// The nodes that are missing at this moment.
        missing: Vec<String>,
        /// Those of them that would count once their leases were waited for.
        leased: Vec<String>,
    },
    /// An operator asked for its end, and why.
    AbortAsked(String),
    /// The flip's transaction found its conditions unmet: these nodes are missing.
    FlipRefused(Vec<String>),
    /// The flip was committed.
    Flipped,
    /// The release was committed.
    Released,
    /// The hold could not be committed: something is in the way.
    HoldRefused(String),
}

/// What to do, once the operation is committed as it came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Commit the arming, or find the one that was made ahead.
    Arm,
    /// Look which connected nodes have not acknowledged the arming, for a moment.
    AwaitArming,
    /// Commit the hold.
    Hold,
    /// Look who is missing, now and whenever somebody acknowledges.
    Watch,
    /// Wait for this command's result.
    AwaitHook(HookKind),
    /// Commit the flip: its transaction decides (promise F1).
    Flip,
    /// Commit the release to the source.
    Release,
    /// It is over.
    Finish,
}

/// What follows from an event.
#[must_use]
pub fn step(operation: Operation, event: &Event) -> (Operation, Vec<Action>) {
    match (operation.step, event) {
        (Step::Done | Step::Aborted, _) => (operation, vec![Action::Finish]),
        (_, Event::Taken) => {
            let actions = resume(&operation);
            (operation, actions)
        }
        (Step::Flipping, Event::Flipped) => finish(operation, Step::Done, Outcome::Done),
        (Step::Releasing, Event::Released) => {
            let outcome = match operation.missing.is_empty() {
                true => Outcome::Released,
                false => Outcome::Unproven,
            };
            finish(operation, Step::Aborted, outcome)
        }
        // Nothing brings a release back, and nothing but its transaction's own word ends a flip.
        (Step::Releasing, _) => (operation, vec![]),
        (Step::Planned, event) => planned(operation, event),
        (Step::Arming, event) => arming(operation, event),
        (_, event) => held(operation, event),
    }
}

/// What a driver that takes an operation over has to do first.
fn resume(operation: &Operation) -> Vec<Action> {
    match operation.step {
        Step::Planned => vec![Action::Arm],
        Step::Arming => vec![Action::AwaitArming],
        Step::Holding | Step::Draining => vec![Action::Watch],
        Step::Copying => vec![Action::Watch, Action::AwaitHook(HookKind::Copy)],
        Step::Verifying => vec![Action::Watch, Action::AwaitHook(HookKind::Verify)],
        Step::Flipping => vec![Action::Flip],
        Step::Releasing => vec![Action::Release],
        Step::Done | Step::Aborted => vec![Action::Finish],
    }
}

/// Nothing is armed or held yet, so there is nothing to release.
fn planned(operation: Operation, event: &Event) -> (Operation, Vec<Action>) {
    let cause = match event {
        Event::Armed => return to(operation, Step::Arming, vec![Action::AwaitArming]),
        Event::AbortAsked(why) | Event::ArmRefused(why) => why.clone(),
        _ => return (operation, vec![]),
    };
    finish(Operation { cause, ..operation }, Step::Aborted, Outcome::Released)
}

/// An acknowledgement that does not come costs nothing but that node's lapse. From here on there is an arming to take
/// back, and the release does it.
fn arming(operation: Operation, event: &Event) -> (Operation, Vec<Action>) {
    match event {
        Event::Unarmed(nodes) if !nodes.is_empty() => (operation, vec![]),
        Event::Unarmed(_) | Event::ArmingWaited => (operation, vec![Action::Hold]),
        Event::Held => to(operation, Step::Holding, vec![Action::Watch]),
        Event::AbortAsked(why) | Event::HoldRefused(why) => release(operation, why.clone(), &[]),
        _ => (operation, vec![]),
    }
}

fn held(operation: Operation, event: &Event) -> (Operation, Vec<Action>) {
    match (operation.step, event) {
        (_, Event::AbortAsked(why)) if operation.step != Step::Flipping => {
            release(operation, why.clone(), &[])
        }
        (Step::Holding | Step::Draining, Event::Missing(missing)) if missing.is_empty() => quiet(operation),
        (Step::Holding, Event::Missing(_)) => to(operation, Step::Draining, vec![]),
        (
            Step::Holding | Step::Draining,
            Event::Stuck {
                node,
                destination,
                session,
            },
        ) => release(
            operation,
            format!("on {node}, session {session} toward {destination} did not end in time"),
            &[],
        ),
        (Step::Copying, Event::HookPassed(HookKind::Copy)) => verify(Operation {
            copy: Hook::Passed,
            ..operation
        }),
        (Step::Verifying, Event::HookPassed(HookKind::Verify)) => flip(Operation {
            verify: Hook::Passed,
            ..operation
        }),
        (Step::Copying, Event::HookFailed(HookKind::Copy, detail))
        | (Step::Verifying, Event::HookFailed(HookKind::Verify, detail)) => {
            let what = hook_of(operation.step);
            release(operation, format!("the {what} command failed: {detail}"), &[])
        }
        (Step::Copying, Event::HookLapsed(HookKind::Copy))
        | (Step::Verifying, Event::HookLapsed(HookKind::Verify)) => {
            let what = hook_of(operation.step);
            release(
                operation,
                format!("the {what} command's runner did not renew its lease in time"),
                &[],
            )
        }
        // A node that came meanwhile, or a process that replaced one that had acknowledged.
        (Step::Flipping, Event::FlipRefused(missing)) if !missing.is_empty() => {
            to(operation, Step::Draining, vec![Action::Watch])
        }
        (Step::Flipping, Event::FlipRefused(_)) => {
            release(operation, "the flip's conditions were not met".to_owned(), &[])
        }
        // While the flip is being committed, its transaction alone says how it ends.
        (Step::Flipping, _) => (operation, vec![]),
        (step, Event::Deadline { missing, leased }) => {
            let cause = match (step, missing.is_empty()) {
                (Step::Copying | Step::Verifying, _) => {
                    format!(
                        "max_hold was over before the {} command had a result",
                        hook_of(step)
                    )
                }
                (_, false) => format!(
                    "max_hold was over, and not every node had proven that it has no session left: {}{}",
                    missing.join(", "),
                    too_short(&operation, leased)
                ),
                (_, true) => "max_hold was over".to_owned(),
            };
            let unproven = if matches!(step, Step::Copying | Step::Verifying) {
                &[]
            } else {
                missing.as_slice()
            };
            release(operation, cause, unproven)
        }
        _ => (operation, vec![]),
    }
}

/// Why the leases of these nodes were not waited for (promise L3), and what would have to be otherwise.
fn too_short(operation: &Operation, leased: &[String]) -> String {
    if leased.is_empty() {
        return String::new();
    }
    let needed = wait_of(Duration::from_millis(operation.lease_ms));
    let max_hold = Duration::from_millis(operation.max_hold_ms);
    let why = if max_hold < needed {
        format!(
            "that takes {needed:?} (1.25 x lease), and max_hold is {max_hold:?}: give more with --max-hold"
        )
    } else {
        format!(
            "that takes {needed:?} (1.25 x lease) from when the control plane saw the hold, and it was restarted meanwhile: try again"
        )
    };
    format!(
        "; the lease of {} could not be waited for: {why}",
        leased.join(", ")
    )
}

/// Every node is quiet: the next thing that has to happen under the hold.
fn quiet(operation: Operation) -> (Operation, Vec<Action>) {
    match operation.copy {
        Hook::Wanted => to(operation, Step::Copying, vec![Action::AwaitHook(HookKind::Copy)]),
        Hook::None | Hook::Passed => verify(operation),
    }
}

fn verify(operation: Operation) -> (Operation, Vec<Action>) {
    match operation.verify {
        Hook::Wanted => to(
            operation,
            Step::Verifying,
            vec![Action::AwaitHook(HookKind::Verify)],
        ),
        Hook::None | Hook::Passed => flip(operation),
    }
}

fn flip(operation: Operation) -> (Operation, Vec<Action>) {
    to(operation, Step::Flipping, vec![Action::Flip])
}

fn release(operation: Operation, cause: String, missing: &[String]) -> (Operation, Vec<Action>) {
    let operation = Operation {
        cause,
        missing: missing.to_vec(),
        ..operation
    };
    to(operation, Step::Releasing, vec![Action::Release])
}

fn finish(operation: Operation, step: Step, outcome: Outcome) -> (Operation, Vec<Action>) {
    let operation = Operation {
        outcome: Some(outcome),
        ..operation
    };
    to(operation, step, vec![Action::Finish])
}

fn to(operation: Operation, step: Step, actions: Vec<Action>) -> (Operation, Vec<Action>) {
    (Operation { step, ..operation }, actions)
}

const fn hook_of(step: Step) -> &'static str {
    match step {
        Step::Verifying => "verify",
        _ => "copy",
    }
}

#[cfg(test)]
mod tests;
