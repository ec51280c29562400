//! Admission: the way of one login from its registration to its bridge, as pure steps (promise A1 to A6).
//!
//! `step` takes a state and what happened, and gives the next state and what is to be done. It has no runtime, no
//! socket and no clock, so that the session's task and the model of the promise call the very same function.
//!
//! Invariants, each with a property test:
//! - credentials leave, and the client is told, only right after a look that passed, with no hold and no cancel since;
//! - a leg is followed to its end, or reset where its lease lapsed (L1), before the session unregisters, looks again or
//!   waits (Q2);
//! - only a look chooses a destination, never an error (A4);
//! - the client hears at most one answer, and every session ends.

mod action;
mod event;
mod state;

pub use action::{Action, Actions, Cause};
pub use event::{Answer, Event, Lease, View};
pub use state::{LastCheck, Patience, Stage, State, Then};

/// Registered, not yet looked: the first state, and the first thing to do (A2: registration came before).
#[must_use]
pub fn start<D>(last_check: LastCheck) -> (State<D>, Actions<D>) {
    let state = State {
        stage: Stage::Registered,
        patience: Patience::Left,
        last_check,
    };
    (state, Actions::one(Action::Look))
}

/// One step. An event that does not belong to the stage changes nothing: another one overtook it.
#[must_use]
pub fn step<D: Clone + PartialEq>(state: State<D>, event: Event<D>) -> (State<D>, Actions<D>) {
    let State {
        stage,
        patience,
        last_check,
    } = state;
    // Nothing happens by itself: it may just get in.
    if event == Event::Unsettled {
        let state = State {
            stage,
            patience: Patience::Over,
            last_check,
        };
        return (state, Actions::none());
    }
    let next = match stage {
        Stage::Registered => registered(event),
        Stage::Waiting => waiting(event),
        Stage::Dialling { to } => dialling(to, event),
        Stage::Ready { to } => ready(to, event, last_check),
        Stage::Authenticating { to } => authenticating(to, event),
        Stage::Accepted { to } => accepted(to, event),
        Stage::Bridged { to } => bridged(to, event),
        Stage::Ending { then } => ending(then, event),
        Stage::Ended => Next::Stay(Stage::Ended),
    };
    next.settle(patience, last_check)
}

/// How a leg is given up.
#[derive(Clone, Copy)]
enum Leg {
    /// Followed to its end.
    Dropped,
    /// Reset: the lease lapsed.
    Reset,
}

impl Leg {
    fn action<D>(self) -> Action<D> {
        match self {
            Self::Dropped => Action::DropLeg,
            Self::Reset => Action::ResetLeg,
        }
    }
}

/// What a stage makes of an event.
enum Next<D> {
    Stay(Stage<D>),
    Go(Stage<D>, Actions<D>),
    /// A check failed, or a hold asks for the leg: it goes, in this way, then look again (A1).
    BackToResolve(Leg),
    /// No leg: answer the client and leave.
    GiveUp(Cause),
    /// A leg: answer the client, end the leg, then leave.
    Break(Cause),
    /// Nobody is there to answer: end the leg, then leave.
    Leave,
}

impl<D> Next<D> {
    fn settle(self, patience: Patience, last_check: LastCheck) -> (State<D>, Actions<D>) {
        let leaving = Stage::Ending {
            then: Then::Unregister,
        };
        let (stage, actions) = match self {
            Self::Stay(stage) => (stage, Actions::none()),
            Self::Go(stage, actions) => (stage, actions),
            Self::BackToResolve(leg) => match patience {
                Patience::Left => (
                    Stage::Ending {
                        then: Then::LookAgain,
                    },
                    Actions::one(leg.action()),
                ),
                Patience::Over => (
                    leaving,
                    Actions::two(Action::TemporaryFailure(Cause::Unsettled), leg.action()),
                ),
            },
            Self::GiveUp(cause) => (
                Stage::Ended,
                Actions::two(Action::TemporaryFailure(cause), Action::Unregister),
            ),
            Self::Break(cause) => (
                leaving,
                Actions::two(Action::TemporaryFailure(cause), Action::DropLeg),
            ),
            Self::Leave => (leaving, Actions::one(Action::DropLeg)),
        };
        let state = State {
            stage,
            patience,
            last_check,
        };
        (state, actions)
    }
}

/// No leg; the answer to the look decides.
fn registered<D: Clone>(event: Event<D>) -> Next<D> {
    match event {
        Event::Looked(view) => match view {
            View::Route(to) | View::Armed(to, Lease::Live) => {
                Next::Go(Stage::Dialling { to: to.clone() }, Actions::one(Action::Dial(to)))
            }
            View::Held | View::Armed(_, Lease::Lapsed) => {
                Next::Go(Stage::Waiting, Actions::one(Action::Wait))
            }
            View::Refused => Next::GiveUp(Cause::Refused),
        },
        Event::Cancelled => Next::GiveUp(Cause::Cancelled),
        Event::ClientGone => Next::Go(Stage::Ended, Actions::one(Action::Unregister)),
        _ => Next::Stay(Stage::Registered),
    }
}

/// No leg; the account is held (A5).
fn waiting<D>(event: Event<D>) -> Next<D> {
    match event {
        Event::HoldEnded => Next::Go(Stage::Registered, Actions::one(Action::Look)),
        Event::WaitedTooLong => Next::GiveUp(Cause::Held),
        Event::Cancelled => Next::GiveUp(Cause::Cancelled),
        Event::ClientGone => Next::Go(Stage::Ended, Actions::one(Action::Unregister)),
        _ => Next::Stay(Stage::Waiting),
    }
}

/// The leg is being made, up to the point where credentials could be sent.
fn dialling<D>(to: D, event: Event<D>) -> Next<D> {
    match event {
        Event::Dialled => Next::Go(Stage::Ready { to }, Actions::one(Action::Look)),
        // A4: the error ends the login, it chooses nothing.
        Event::DialFailed | Event::LegOver => Next::GiveUp(Cause::Backend),
        Event::Recalled => Next::BackToResolve(Leg::Dropped),
        Event::Lapsed => Next::BackToResolve(Leg::Reset),
        Event::Cancelled => Next::Break(Cause::Cancelled),
        Event::ClientGone => Next::Leave,
        _ => Next::Stay(Stage::Dialling { to }),
    }
}

/// The first check of A1: the handshake is done, credentials have not left. Of a request it is the only one (A3).
fn ready<D: PartialEq>(to: D, event: Event<D>, last_check: LastCheck) -> Next<D> {
    match event {
        Event::Looked(view) if view.admits(&to) => match last_check {
            LastCheck::BeforeTelling => Next::Go(
                Stage::Authenticating { to },
                Actions::one(Action::SendCredentials),
            ),
            LastCheck::BeforeCredentials => Next::Go(
                Stage::Bridged { to },
                Actions::two(Action::SendCredentials, Action::Bridge),
            ),
        },
        Event::Looked(view) if view.is_lapsed() => Next::BackToResolve(Leg::Reset),
        Event::Lapsed => Next::BackToResolve(Leg::Reset),
        Event::Looked(_) | Event::Recalled => Next::BackToResolve(Leg::Dropped),
        Event::Cancelled => Next::Break(Cause::Cancelled),
        Event::ClientGone => Next::Leave,
        // The backend closed while nobody asked it anything.
        Event::LegOver => Next::GiveUp(Cause::Backend),
        _ => Next::Stay(Stage::Ready { to }),
    }
}

/// Credentials have left. The client has heard nothing, so the leg can still be dropped and dialled anew.
fn authenticating<D>(to: D, event: Event<D>) -> Next<D> {
    match event {
        Event::BackendAnswered(Answer::Accepted) => {
            Next::Go(Stage::Accepted { to }, Actions::one(Action::Look))
        }
        Event::BackendAnswered(Answer::Refused) => Next::Go(
            Stage::Ending {
                then: Then::Unregister,
            },
            Actions::two(Action::RelayRefusal, Action::DropLeg),
        ),
        // Nothing is retried by an error once credentials were sent (behaviour section 4).
        Event::BackendAnswered(Answer::Unusable) => Next::Break(Cause::Backend),
        Event::LegOver => Next::GiveUp(Cause::Backend),
        Event::Recalled => Next::BackToResolve(Leg::Dropped),
        Event::Lapsed => Next::BackToResolve(Leg::Reset),
        Event::Cancelled => Next::Break(Cause::Cancelled),
        Event::ClientGone => Next::Leave,
        _ => Next::Stay(Stage::Authenticating { to }),
    }
}

/// The second check of A1: the backend said OK, the client does not know.
fn accepted<D: PartialEq>(to: D, event: Event<D>) -> Next<D> {
    match event {
        Event::Looked(view) if view.admits(&to) => Next::Go(
            Stage::Bridged { to },
            Actions::two(Action::TellClient, Action::Bridge),
        ),
        Event::Looked(view) if view.is_lapsed() => Next::BackToResolve(Leg::Reset),
        Event::Lapsed => Next::BackToResolve(Leg::Reset),
        Event::Looked(_) | Event::Recalled => Next::BackToResolve(Leg::Dropped),
        Event::Cancelled => Next::Break(Cause::Cancelled),
        Event::ClientGone => Next::Leave,
        Event::LegOver => Next::GiveUp(Cause::Backend),
        _ => Next::Stay(Stage::Accepted { to }),
    }
}

/// The client was told, or a request has left. A hold asks for a quiet end (Q3), a lapse for none (L1); the bridge says
/// when it stopped.
fn bridged<D>(to: D, event: Event<D>) -> Next<D> {
    match event {
        Event::Recalled => Next::Go(Stage::Bridged { to }, Actions::one(Action::EndWhenQuiet)),
        Event::Lapsed => Next::Go(
            Stage::Ending {
                then: Then::Unregister,
            },
            Actions::one(Action::ResetLeg),
        ),
        Event::Cancelled | Event::ClientGone | Event::BridgeEnded => Next::Leave,
        Event::LegOver => Next::Go(Stage::Ended, Actions::one(Action::Unregister)),
        _ => Next::Stay(Stage::Bridged { to }),
    }
}

/// The leg is half-closed and read until the backend's own end (Q2), or was reset. Only then anything else happens.
fn ending<D>(then: Then, event: Event<D>) -> Next<D> {
    let leaving = Stage::Ending {
        then: Then::Unregister,
    };
    match (event, then) {
        (Event::LegOver, Then::LookAgain) => Next::Go(Stage::Registered, Actions::one(Action::Look)),
        (Event::LegOver, Then::Unregister) => Next::Go(Stage::Ended, Actions::one(Action::Unregister)),
        (Event::LegStuck, Then::LookAgain) => Next::Go(
            leaving,
            Actions::two(Action::ReportStuck, Action::TemporaryFailure(Cause::Stuck)),
        ),
        (Event::LegStuck, Then::Unregister) => Next::Go(leaving, Actions::one(Action::ReportStuck)),
        (Event::Cancelled, Then::LookAgain) => {
            Next::Go(leaving, Actions::one(Action::TemporaryFailure(Cause::Cancelled)))
        }
        (Event::ClientGone, Then::LookAgain) => Next::Stay(leaving),
        (Event::Lapsed, then) => Next::Go(Stage::Ending { then }, Actions::one(Action::ResetLeg)),
        (_, then) => Next::Stay(Stage::Ending { then }),
    }
}
