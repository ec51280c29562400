//! How a login ends: always exactly one of these, which its caller tells the client. An admitted one takes its registration
//! along, to the end of its leg (Q2).

use mailswitch_admission::{self as admission, Action, Event, Stage, State};
use mailswitch_config::DestinationName;

use crate::report::Open;
use crate::route::{Refusal, Route};
use crate::sessions::{End, Phase, Registered};

/// How a login ended.
#[derive(Debug)]
#[must_use = "a refused login never gets a bridge, and every client gets an answer"]
pub enum Outcome<L, R, F> {
    /// Tell the client, then bridge.
    Admitted(Admitted<L, R>),
    /// Relay the backend's refusal and close.
    Refused(R),
    /// The protocol's temporary failure, then close.
    TemporaryFailure(TemporaryFailure<F>),
    /// Nobody is there to be told.
    ClientGone,
}

/// A login that may be told OK and bridged, now.
#[derive(Debug)]
pub struct Admitted<L, R> {
    /// To the backend.
    pub leg: L,
    /// The backend's OK.
    pub reply: R,
    /// Where it went and why.
    pub route: Route,
    /// The registration: it goes with the leg to the leg's end.
    pub guard: Guard,
}

/// Why a login failed for the time being. Never an authentication failure.
#[derive(Debug, thiserror::Error)]
pub enum TemporaryFailure<F> {
    /// Its account was held for longer than a login waits, or too many wait already.
    #[error("the account is held")]
    Held,
    /// It has no destination.
    #[error(transparent)]
    NoDestination(Refusal),
    /// The backend was not reached, or gave no usable answer.
    #[error("the backend is unavailable")]
    Backend(F),
    /// It was told to end.
    #[error("the login was ended by an operator or by the node's shutdown")]
    Cancelled,
    /// Its account moved again and again.
    #[error("the account moved again and again while the login was under way")]
    Unsettled,
    /// A leg that had to be given up did not end.
    #[error("the backend does not close a connection that was given up")]
    Stuck,
}

/// The registration of a bridged session.
#[derive(Debug)]
pub struct Guard {
    registered: Registered,
    state: State<DestinationName>,
    _open: Open,
}

impl Guard {
    pub(super) fn new(registered: Registered, state: State<DestinationName>, open: Open) -> Self {
        Self {
            registered,
            state,
            _open: open,
        }
    }

    /// The registration, to ask for orders.
    #[must_use]
    pub fn registered(&self) -> &Registered {
        &self.registered
    }

    /// HTTP: the request is answered in full, and its leg is kept for the next one of the same account. The session stays
    /// registered with it, so that a hold closes it.
    #[must_use]
    pub fn into_idle(self) -> Registered {
        self.registered.enters(Phase::Idle, None);
        self.registered
    }

    /// Follows the leg to its end and leaves the registry (Q2). `ends` as `Backend::end`.
    pub async fn end_leg(self, ends: impl Future<Output = ()>) -> End {
        let over = self.registered.until_leg_is_over(ends).await;
        let how = over.how();
        let (state, actions) = admission::step(self.state, Event::LegOver);
        debug_assert_eq!(state.stage, Stage::Ended);
        if actions.into_iter().any(|action| action == Action::Unregister) {
            self.registered.unregister(over);
        }
        how
    }
}
