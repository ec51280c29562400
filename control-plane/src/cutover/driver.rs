//! Drives operations: one task each, which tells `steps` what happened, commits what comes back, and then acts on it
//! (promise D1). Nothing is kept here that cannot be read again, so any process can take an operation over; only the
//! time since the hold is counted on this process's own clock.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use mailswitch_proto::id::OperationId;
use mailswitch_proto::trace_context::{adopt, of_traceparent, traceparent};
use tokio::sync::{Notify, watch};
use tracing::Instrument as _;

use super::arm::Arm;
use super::flip::Flip;
use super::hold::PutHold;
use super::operation::{Fence, HookKind, Operation, Step};
use super::proof::{Leases, Said, Standing, Terms, standing};
use super::release::Release;
use super::request::View;
use super::steps::{Action, Event, step};
use super::timing::{Clock, LOOK};
use super::{Cutovers, Driven};
use crate::change::{Change, Context, Error};
use crate::store;
use crate::store::hold::HookResult;
use crate::store::operation::Fenced;

/// How long a driver waits before it tries a step again that the database did not let it take.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Starts the task of an operation, unless it runs here already.
pub(super) async fn drive(cutovers: &Cutovers, id: OperationId, fence: Fence) -> Result<(), Error> {
    let view = Arc::new(cutovers.get(id).await?);
    let wake = Arc::new(Notify::new());
    {
        let mut driven = cutovers.inner.driven.lock();
        if driven.contains_key(&id) {
            return Ok(());
        }
        let (view, _) = watch::channel(view);
        driven.insert(
            id,
            Driven {
                wake: Arc::clone(&wake),
                view,
            },
        );
    }
    let driver = Driver {
        cutovers: cutovers.clone(),
        id,
        fence,
        wake,
        clock: Clock::default(),
    };
    cutovers.inner.tasks.spawn(driver.run());
    Ok(())
}

struct Driver {
    cutovers: Cutovers,
    id: OperationId,
    fence: Fence,
    wake: Arc<Notify>,
    clock: Clock,
}

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Look again at once.
    Look,
    /// Wait until something happens.
    Wait,
    /// Wait, and let the deadline pass.
    Rest,
    /// It is over, or somebody else's.
    End,
}

impl Driver {
    async fn run(mut self) {
        let stop = self.cutovers.inner.stop.clone();
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => break,
                next = self.turn() => next,
            };
            match next {
                Ok(Next::Look) => {}
                Ok(Next::End) => break,
                Ok(Next::Wait) => self.wait(self.clock.until_something().min(LOOK)).await,
                Ok(Next::Rest) => self.wait(LOOK).await,
                // Refused: its record is gone, with a database that was replaced by a backup.
                Err(Error::NotOurs(_) | Error::Refused(_)) => {
                    tracing::info!(operation = %self.id, "another process drives this operation now");
                    break;
                }
                // It rests, and looks again in a while: what it would have to do may be another thing then.
                Err(error @ (Error::Doubted(_) | Error::WentBack { .. })) => {
                    tracing::debug!(operation = %self.id, %error, "the operation rests until the database can be believed");
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => {
                    tracing::warn!(operation = %self.id, %error, "a step could not be taken; trying again");
                    // Acknowledgements may have been lost on their way into the database (promise Q6).
                    self.cutovers.inner.nodes.repeat_acknowledgements();
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    async fn wait(&self, until: Duration) {
        tokio::select! {
            () = self.cutovers.inner.stop.cancelled() => {}
            () = self.wake.notified() => {}
            () = tokio::time::sleep(until) => {}
        }
    }

    /// Reads how things are, tells the steps what that means, and does what they say.
    async fn turn(&mut self) -> Result<Next, Error> {
        let view = self.cutovers.get(self.id).await?;
        self.publish(&view);
        let operation = &view.operation;
        if operation.step.is_end() {
            if operation.fence == self.fence {
                crate::meters::ended(operation);
            }
            return Ok(Next::End);
        }
        if operation.fence != self.fence {
            return Err(Error::NotOurs(self.id));
        }
        self.clock.follow(operation);
        if let Some(doubt) = self.cutovers.inner.nodes.doubt() {
            // Not even a step: an account whose flip was lost here would be released to where it is not (promise D3).
            tracing::debug!(operation = %self.id, doubt, "the operation rests until the database can be believed");
            return Ok(Next::Rest);
        }
        let (_, actions) = step(operation.clone(), &Event::Taken);
        for event in self.events(&view).await? {
            let (moved, then) = step(operation.clone(), &event);
            if moved != *operation {
                self.write(&moved, operation.step).await?;
                // One step at a time, each committed; the rest is read anew.
                return self.act(&moved, &then).await.map(|_| Next::Look);
            }
            if !then.is_empty() {
                return self.act(operation, &then).await;
            }
        }
        self.act(operation, &actions).await
    }

    fn publish(&self, view: &View) {
        if let Some(driven) = self.cutovers.inner.driven.lock().get(&self.id) {
            driven.view.send_if_modified(|seen| {
                let moved = seen.operation != view.operation || seen.proofs != view.proofs;
                *seen = Arc::new(view.clone());
                moved
            });
        }
    }

    /// What is true now, the most important first. All of them are levels.
    async fn events(&mut self, view: &View) -> Result<Vec<Event>, Error> {
        let operation = &view.operation;
        let mut events = Vec::new();
        if let Some(why) = &operation.abort_asked {
            events.push(Event::AbortAsked(why.clone()));
        }
        if operation.step == Step::Arming {
            events.push(match self.clock.arming_is_over() {
                true => Event::ArmingWaited,
                false => Event::Unarmed(self.unarmed(view)),
            });
        }
        let Some(hold) = operation.hold else {
            return Ok(events);
        };
        if let Some(stuck) = view.proofs.iter().find_map(|proof| proof.stuck.as_ref()) {
            events.push(Event::Stuck {
                node: stuck.node.clone(),
                destination: stuck.destination.clone(),
                session: stuck.session.clone(),
            });
        }
        let terms = Terms {
            leases: self.clock.leases(operation),
            fenced: operation.fenced,
        };
        let missing = missing(view, terms);
        if self.clock.deadline_is_over() {
            let over = Terms {
                leases: Leases::Over,
                ..terms
            };
            let never = self::missing(view, over);
            let leased = missing.iter().filter(|node| !never.contains(node));
            events.push(Event::Deadline {
                leased: leased.cloned().collect(),
                missing: missing.clone(),
            });
        }
        events.push(Event::Missing(missing));
        if let Step::Copying | Step::Verifying = operation.step {
            let mut conn = self.cutovers.inner.writer.pool().acquire().await?;
            let hooks = store::hold::hook_list(&mut conn, hold).await?;
            events.extend(self.hook_event(operation.step, &hooks));
        }
        Ok(events)
    }

    fn hook_event(&mut self, at: Step, hooks: &[store::hold::HookState]) -> Option<Event> {
        let kind = match at {
            Step::Copying => HookKind::Copy,
            _ => HookKind::Verify,
        };
        let state = hooks.iter().find(|state| state.hook == kind.text());
        match state.and_then(|state| Some((state.finished?, &state.detail))) {
            Some((HookResult::Passed, _)) => Some(Event::HookPassed(kind)),
            Some((HookResult::Failed, detail)) => Some(Event::HookFailed(kind, detail.clone())),
            None => self
                .clock
                .hook_lapsed(kind, state.map_or(0, |state| state.renewals))
                .then_some(Event::HookLapsed(kind)),
        }
    }

    async fn write(&self, moved: &Operation, was: Step) -> Result<(), Error> {
        let moved = match moved.step.is_end() {
            true => Operation {
                ended_at: Some(Utc::now()),
                ..moved.clone()
            },
            false => moved.clone(),
        };
        let mut conn = self.cutovers.inner.writer.pool().acquire().await?;
        let written = match moved.step {
            // Nothing follows but a commit of this database: lost in a crash, they are lost together (promise D1).
            Step::Draining | Step::Flipping => {
                store::operation::operation_put_ahead(&mut conn, &moved, was).await?
            }
            _ => store::operation::operation_put(&mut conn, &moved, was).await?,
        };
        match written {
            Fenced::Written => {
                tracing::debug!(operation = %self.id, from = was.text(), to = moved.step.text(), "step");
                Ok(())
            }
            Fenced::NotOurs => Err(Error::NotOurs(self.id)),
        }
    }

    async fn act(&mut self, operation: &Operation, actions: &[Action]) -> Result<Next, Error> {
        let mut next = Next::Wait;
        for action in actions {
            match action {
                Action::Watch | Action::AwaitHook(_) | Action::AwaitArming => {}
                Action::Arm => {
                    self.arm(operation).await?;
                    next = Next::Look;
                }
                Action::Hold => {
                    self.hold(operation).await?;
                    next = Next::Look;
                }
                Action::Flip => {
                    self.flip(operation).await?;
                    next = Next::Look;
                }
                Action::Release => {
                    let span = self.span(operation, Step::Releasing);
                    self.commit(operation, span, |traceparent| {
                        Release::new(self.id, self.fence, traceparent)
                    })
                    .await?;
                    next = Next::Look;
                }
                // The last view is published first.
                Action::Finish => next = Next::Look,
            }
        }
        Ok(next)
    }

    /// The connected nodes that have not acknowledged the arming; nobody waits for the others.
    fn unarmed(&self, view: &View) -> Vec<String> {
        let connected = self.cutovers.inner.nodes.serving();
        let silent = |proof: &&super::request::Proof| {
            proof.facts.arming == Said::Nothing && connected.contains(&proof.instance)
        };
        let proofs = view.proofs.iter().filter(silent);
        proofs.map(|proof| proof.node.clone()).collect()
    }

    async fn arm(&self, operation: &Operation) -> Result<(), Error> {
        let span = self.span(operation, Step::Arming);
        let done = self
            .commit(operation, span, |traceparent| {
                Arm::new(self.id, self.fence, traceparent)
            })
            .await;
        match done {
            Err(Error::Refused(refusal)) => {
                let (moved, _) = step(operation.clone(), &Event::ArmRefused(refusal.what));
                self.write(&moved, operation.step).await
            }
            other => other,
        }
    }

    async fn hold(&mut self, operation: &Operation) -> Result<(), Error> {
        let span = self.span(operation, Step::Holding);
        let done = self
            .commit(operation, span, |traceparent| {
                PutHold::new(operation.clone(), traceparent)
            })
            .await;
        match done {
            Err(Error::Refused(refusal)) => {
                let (moved, _) = step(operation.clone(), &Event::HoldRefused(refusal.what));
                self.write(&moved, operation.step).await
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.clock.begin_hold(operation);
                Ok(())
            }
        }
    }

    async fn flip(&self, operation: &Operation) -> Result<(), Error> {
        let span = self.span(operation, Step::Flipping);
        let done = self
            .commit(operation, span, |traceparent| {
                Flip::new(self.id, self.fence, self.clock.waited(), traceparent)
            })
            .await;
        match done {
            Err(Error::Refused(refusal)) => {
                let (moved, _) = step(operation.clone(), &Event::FlipRefused(refusal.nodes));
                self.write(&moved, operation.step).await
            }
            other => other,
        }
    }

    /// A span of the operation's trace: under what started it, also in a process that took it over.
    fn span(&self, operation: &Operation, step: Step) -> tracing::Span {
        let span = tracing::info_span!(
            "cutover step",
            "mail.cutover.step" = step.text(),
            "mail.cutover.id" = %operation.id,
            "mail.cutover.term" = operation.fence.term,
        );
        adopt(&span, of_traceparent(&operation.traceparent));
        span
    }

    async fn commit<C: Change>(
        &self,
        operation: &Operation,
        span: tracing::Span,
        change: impl FnOnce(String) -> C,
    ) -> Result<(), Error> {
        let context = Context {
            actor: crate::change::Actor {
                who: operation.started_by.clone(),
                from: operation.started_from.clone(),
            },
            ..Context::own(&operation.reason)
        };
        let traced = span.in_scope(traceparent);
        let traceparent = if traced.is_empty() {
            operation.traceparent.clone()
        } else {
            traced
        };
        let context = Context {
            traceparent: traceparent.clone(),
            ..context
        };
        let change = change(traceparent);
        self.cutovers
            .inner
            .writer
            .commit(&context, &change)
            .instrument(span)
            .await
            .map(|_| ())
    }
}

/// However a driver ends, also by a panic: the patrol then drives an operation that is still open.
impl Drop for Driver {
    fn drop(&mut self) {
        // Watchers see the last view, and then that nothing follows.
        self.cutovers.inner.driven.lock().remove(&self.id);
    }
}

fn missing(view: &View, terms: Terms) -> Vec<String> {
    let mut missing: Vec<String> = view
        .proofs
        .iter()
        .filter(|proof| standing(proof.facts, terms) == Standing::Missing)
        .map(|proof| proof.node.clone())
        .collect();
    missing.dedup();
    missing
}
