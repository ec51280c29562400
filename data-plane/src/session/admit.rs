//! Admission: drives `mailswitch_admission::step` for one login, from registration to the bridge (promise A1 to A6).
//!
//! The steps decide; this file only asks the registry, the clock and the protocol's path, and reports back what
//! happened. What belongs to a protocol (how to dial, how to replay credentials) is behind `Backend`. Nothing is
//! written to the client here: the caller relays the outcome, which is always exactly one.

mod backend;
mod outcome;

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use mailswitch_admission::{self as admission, Action, Answer, Cause, Event, Stage, State, Then, View};
use mailswitch_config::DestinationName;
use mailswitch_sources::Found;
use mailswitch_telemetry::name;
use tracing::Instrument as _;

pub use self::backend::{Authenticated, Backend};
pub use self::outcome::{Admitted, Guard, Outcome, TemporaryFailure};
use crate::report::LoginOutcome;
use crate::route::{Look, Refusal, Route};
use crate::sessions::{
    Delayed, LEG_END_TIMEOUT, LegIsOver, Order, Phase, Registered, Wait, Woken, link_current,
};

/// Takes a registered login to its outcome. `client_gone` ends when the client hangs up; it must keep what the client
/// sends meanwhile.
pub async fn admit<B: Backend>(
    registered: Registered,
    backend: &mut B,
    client_gone: impl Future<Output = ()> + Send,
) -> Outcome<B::Leg, B::Reply, B::Failure> {
    let report = registered.sessions().report().clone();
    let protocol = registered.about().protocol;
    let (begun, mut held) = (Instant::now(), Duration::ZERO);
    let mut login = Login {
        registered,
        backend,
        leg: None,
        ending: None,
        route: None,
        found: None,
        reply: None,
        failure: None,
        refusal: None,
        held_since: None,
        sent_back: None,
        held: &mut held,
    };
    let mut client_gone = pin!(client_gone);
    let (outcome, destination) = match login.wait_out_delay(client_gone.as_mut()).await {
        Ok(()) => login.run(client_gone).await,
        Err(outcome) => {
            login.registered.unregister(LegIsOver::never_stood());
            (outcome, None)
        }
    };
    let counted = match &outcome {
        Outcome::Admitted(_) => LoginOutcome::Accepted,
        Outcome::Refused(_) => LoginOutcome::Refused,
        Outcome::TemporaryFailure(_) => LoginOutcome::TemporaryFailure,
        Outcome::ClientGone => LoginOutcome::ClientGone,
    };
    let took = begun.elapsed().saturating_sub(held);
    report.login(destination.as_ref(), protocol, counted, took);
    outcome
}

/// Which look of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// It has no leg: the answer is where it is dialled.
    First,
    /// A check of A1.
    Again,
}

type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;
type Of<B> = Outcome<<B as Backend>::Leg, <B as Backend>::Reply, <B as Backend>::Failure>;

/// One login on its way. The stage is in the state; here is what goes with it.
struct Login<'a, B: Backend> {
    registered: Registered,
    backend: &'a mut B,
    leg: Option<B::Leg>,
    ending: Option<Ending>,
    route: Option<Route>,
    /// What the source of a lone node answered last.
    found: Option<Found>,
    reply: Option<B::Reply>,
    failure: Option<B::Failure>,
    refusal: Option<Refusal>,
    held_since: Option<Instant>,
    /// When it first had to go back to resolve, and how long it had been held until then.
    sent_back: Option<(Instant, Duration)>,
    held: &'a mut Duration,
}

impl<B: Backend> Login<'_, B> {
    /// Before anything is looked up (behaviour 9.2).
    async fn wait_out_delay(
        &mut self,
        client_gone: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), Of<B>> {
        let begun = Instant::now();
        let registered = &self.registered;
        let ended = tokio::select! {
            biased;
            _ = told(registered, forced) => Err(Outcome::TemporaryFailure(TemporaryFailure::Cancelled)),
            () = client_gone => Err(Outcome::ClientGone),
            delayed = registered.wait_out_delay() => match delayed {
                Delayed::Over => Ok(()),
                Delayed::NoRoom => Err(Outcome::TemporaryFailure(TemporaryFailure::Held)),
            },
        };
        *self.held += begun.elapsed();
        ended
    }

    async fn run(
        mut self,
        mut client_gone: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> (Of<B>, Option<DestinationName>) {
        let (mut state, _look) = admission::start(B::LAST_CHECK);
        let mut outcome = None;
        loop {
            let event = self.next_event(&state.stage, client_gone.as_mut()).await;
            let nobody_left = event == Event::ClientGone;
            if self.is_unsettled() {
                (state, _) = admission::step(state, Event::Unsettled);
            }
            let (next, actions) = admission::step(state, event);
            state = next;
            self.enter(&state.stage);
            let mut admitted = false;
            for action in actions {
                match action {
                    // `next_event` does what the stage asks for; `enter` has noted it.
                    Action::Look
                    | Action::Wait
                    | Action::Dial(_)
                    | Action::SendCredentials
                    | Action::EndWhenQuiet => {}
                    Action::DropLeg => self.drop_leg(),
                    Action::ResetLeg => self.reset_leg(),
                    Action::ReportStuck => self.registered.report_stuck(),
                    Action::RelayRefusal => outcome = self.reply.take().map(Outcome::Refused),
                    Action::TemporaryFailure(cause) => {
                        outcome = Some(Outcome::TemporaryFailure(self.temporary_failure(cause)));
                    }
                    Action::Bridge => admitted = true,
                    Action::TellClient | Action::Unregister => {}
                }
            }
            if nobody_left {
                outcome = Some(Outcome::ClientGone);
            }
            if admitted {
                return self.admitted(state);
            }
            if let Some(outcome) = outcome.take() {
                return self.leave(outcome, state);
            }
        }
    }

    /// Does what the stage waits for, and says what happened first. Orders come before anything else: nothing that
    /// was ready at the same time passes them.
    async fn next_event(
        &mut self,
        stage: &Stage<DestinationName>,
        client_gone: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Event<DestinationName> {
        let registered = &self.registered;
        match stage {
            Stage::Registered => self.looked(Looks::First, forced, client_gone).await,
            Stage::Ready { .. } | Stage::Accepted { .. } => {
                self.looked(Looks::Again, recalled, client_gone).await
            }
            Stage::Waiting => {
                let wait = match self.held_since {
                    None => Wait::Begins,
                    Some(_) => Wait::GoesOn,
                };
                let since = *self.held_since.get_or_insert_with(Instant::now);
                let until = since + registered.sessions().policy().hold_login_timeout;
                let span = tracing::info_span!(name::span::HOLD);
                span.in_scope(|| {
                    let causes = registered.sessions().causes_of_holds(registered.acting_for());
                    causes.iter().for_each(link_current);
                });
                tokio::select! {
                    biased;
                    event = told(registered, forced) => event,
                    () = client_gone => Event::ClientGone,
                    woken = registered.wait(until.into(), wait).instrument(span) => match woken {
                        Woken::LookAgain => Event::HoldEnded,
                        Woken::TooLong | Woken::NoRoom => Event::WaitedTooLong,
                    },
                }
            }
            Stage::Dialling { .. } => {
                let Some(route) = &self.route else {
                    return Event::DialFailed;
                };
                tokio::select! {
                    biased;
                    event = told(registered, recalled) => event,
                    () = client_gone => Event::ClientGone,
                    dialled = self.backend.dial(route) => match dialled {
                        Ok(leg) => {
                            self.leg = Some(leg);
                            Event::Dialled
                        }
                        Err(failure) => {
                            self.failure = Some(failure);
                            Event::DialFailed
                        }
                    },
                }
            }
            Stage::Authenticating { .. } => {
                let Some(leg) = &mut self.leg else {
                    return Event::BackendAnswered(Answer::Unusable);
                };
                tokio::select! {
                    biased;
                    event = told(registered, recalled) => event,
                    () = client_gone => Event::ClientGone,
                    answer = self.backend.authenticate(leg) => Event::BackendAnswered(match answer {
                        Authenticated::Accepted(reply) => {
                            self.reply = Some(reply);
                            Answer::Accepted
                        }
                        Authenticated::Refused(reply) => {
                            self.reply = Some(reply);
                            Answer::Refused
                        }
                        Authenticated::Unusable(failure) => {
                            self.failure = Some(failure);
                            Answer::Unusable
                        }
                    }),
                }
            }
            Stage::Ending {
                then: Then::LookAgain,
            } => {
                let Some(ending) = &mut self.ending else {
                    return Event::LegOver;
                };
                tokio::select! {
                    biased;
                    event = told(registered, while_a_leg_ends) => event,
                    () = client_gone => Event::ClientGone,
                    () = ending => {
                        self.ending = None;
                        Event::LegOver
                    }
                    // Nobody has to have seen its end but the kick, which is content with a reset.
                    () = tokio::time::sleep(LEG_END_TIMEOUT) => match registered.order() {
                        Order::Recall => Event::Lapsed,
                        _ => Event::LegStuck,
                    },
                }
            }
            // `run` has returned before.
            Stage::Ending {
                then: Then::Unregister,
            }
            | Stage::Bridged { .. }
            | Stage::Ended => Event::LegOver,
        }
    }

    /// Looks at the table, and where that does not know it at the source of a lone node, which may take its time.
    async fn looked(
        &mut self,
        looks: Looks,
        means: fn(Order) -> Option<Event<DestinationName>>,
        client_gone: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Event<DestinationName> {
        let registered = &self.registered;
        if let Some(event) = means(registered.order()) {
            return event;
        }
        let span = tracing::info_span!(name::span::RESOLVE);
        let look = span.in_scope(|| match looks {
            Looks::First => registered.look(),
            Looks::Again => registered.check(),
        });
        let look = match look {
            Look::AskSource => {
                let before = self.found.as_ref().filter(|_| looks == Looks::Again);
                let found = tokio::select! {
                    biased;
                    event = told(registered, means) => return event,
                    () = client_gone => return Event::ClientGone,
                    found = registered.ask_source(before).instrument(span) => found,
                };
                let look = Look::of(found.as_ref());
                self.found = found;
                look
            }
            known => known,
        };
        Event::Looked(self.view(look, looks))
    }

    fn view(&mut self, look: Look, looks: Looks) -> View<DestinationName> {
        let lease = match &look {
            Look::Armed(_, lease) => Some(*lease),
            _ => None,
        };
        match look {
            Look::Route(route) | Look::Armed(route, _) => {
                let destination = route.destination.clone();
                if looks == Looks::First {
                    self.route = Some(route);
                }
                match lease {
                    None => View::Route(destination),
                    Some(lease) => View::Armed(destination, lease),
                }
            }
            Look::Held => View::Held,
            Look::Refused(refusal) => {
                self.refusal = Some(refusal);
                View::Refused
            }
            // It was asked.
            Look::AskSource => View::Refused,
        }
    }

    /// It has gone back to resolve for as long as a login may wait for its account to be somewhere. What it waited on holds
    /// does not count: each has its own time.
    fn is_unsettled(&self) -> bool {
        self.sent_back.is_some_and(|(since, held_before)| {
            let moving = since.elapsed().saturating_sub(*self.held - held_before);
            moving > self.registered.sessions().policy().hold_login_timeout
        })
    }

    fn enter(&mut self, stage: &Stage<DestinationName>) {
        let (phase, destination) = match stage {
            Stage::Dialling { to } | Stage::Ready { to } => (Phase::Dialling, Some(to)),
            Stage::Authenticating { to } | Stage::Accepted { to } => (Phase::Authenticating, Some(to)),
            Stage::Bridged { to } => (Phase::Bridged, Some(to)),
            Stage::Ending { .. } => (Phase::Ending, None),
            // The registry notes these itself, at the moment that matters.
            Stage::Registered | Stage::Waiting | Stage::Ended => (Phase::Registered, None),
        };
        if stage.has_leg() {
            self.registered.enters(phase, destination);
        }
        if let Stage::Ending {
            then: Then::LookAgain,
        } = stage
        {
            self.sent_back.get_or_insert((Instant::now(), *self.held));
        }
        if !matches!(stage, Stage::Registered | Stage::Waiting)
            && let Some(since) = self.held_since.take()
        {
            let waited = since.elapsed();
            *self.held += waited;
            self.registered.sessions().report().waited(waited);
        }
    }

    /// A dial under way was given up when its future was dropped, before credentials: there is nothing to follow.
    fn drop_leg(&mut self) {
        self.reply = None;
        self.ending = self.leg.take().map(|leg| Box::pin(B::end(leg)) as Ending);
    }

    /// Linger is zero since the dial: what is dropped is reset.
    fn reset_leg(&mut self) {
        // Before that no credential has left: there is nothing that a backend could still do for it.
        if self.registered.phase() != Phase::Dialling {
            self.registered.leg_was_reset();
        }
        self.reply = None;
        self.leg = None;
        self.ending = None;
    }

    fn temporary_failure(&mut self, cause: Cause) -> TemporaryFailure<B::Failure> {
        match (cause, self.failure.take(), self.refusal.take()) {
            (Cause::Backend, Some(failure), _) => TemporaryFailure::Backend(failure),
            (Cause::Refused, _, Some(refusal)) => TemporaryFailure::NoDestination(refusal),
            (Cause::Held, ..) => TemporaryFailure::Held,
            (Cause::Cancelled, ..) => TemporaryFailure::Cancelled,
            (Cause::Stuck, ..) => TemporaryFailure::Stuck,
            (Cause::Unsettled | Cause::Backend | Cause::Refused, ..) => TemporaryFailure::Unsettled,
        }
    }

    fn admitted(self, state: State<DestinationName>) -> (Of<B>, Option<DestinationName>) {
        let reply = self.reply.or_else(B::unanswered);
        let (Some(leg), Some(reply), Some(route)) = (self.leg, reply, self.route) else {
            // The steps tell the client only after all three: dropping the registration blocks its account.
            return (Outcome::TemporaryFailure(TemporaryFailure::Unsettled), None);
        };
        let report = self.registered.sessions().report();
        let open = report.open(&route.destination, self.registered.about().protocol);
        let destination = Some(route.destination.clone());
        let admitted = Admitted {
            leg,
            reply,
            route,
            guard: Guard::new(self.registered, state, open),
        };
        (Outcome::Admitted(admitted), destination)
    }

    /// The client has its answer, or is gone. A leg is followed to its end by a task of its own, and the session stays
    /// registered until then.
    fn leave(self, outcome: Of<B>, state: State<DestinationName>) -> (Of<B>, Option<DestinationName>) {
        let destination = self.route.map(|route| route.destination);
        let registered = self.registered;
        match (state.stage, self.ending) {
            (Stage::Ending { .. }, Some(ending)) => {
                tokio::spawn(async move {
                    let over = registered.until_leg_is_over(ending).await;
                    registered.unregister(over);
                });
            }
            _ => registered.unregister(LegIsOver::never_stood()),
        }
        (outcome, destination)
    }
}

/// Before the bridge, an order to end means: a kick, a hold or a drained node recalls the login, a lapse takes its leg, anything
/// else cancels it.
fn recalled(order: Order) -> Option<Event<DestinationName>> {
    match order {
        Order::Stay => None,
        Order::Recall | Order::Drain { .. } => Some(Event::Recalled),
        Order::Reset => Some(Event::Lapsed),
        Order::Kick | Order::Shutdown => Some(Event::Cancelled),
    }
}

/// A leg that ends already is recalled by nothing.
fn while_a_leg_ends(order: Order) -> Option<Event<DestinationName>> {
    recalled(order).filter(|event| *event != Event::Recalled)
}

/// Without a leg there is nothing to recall or to reset: the next look shows the hold, or the lapse.
fn forced(order: Order) -> Option<Event<DestinationName>> {
    recalled(order).filter(|event| *event == Event::Cancelled)
}

async fn told(
    registered: &Registered,
    means: fn(Order) -> Option<Event<DestinationName>>,
) -> Event<DestinationName> {
    let mut order = registered.order();
    loop {
        if let Some(event) = means(order) {
            return event;
        }
        order = registered.order_other_than(order).await;
    }
}
