//! One login on a node: the real admission steps, and the backend leg as the backend knows it.

use mailswitch_admission::{
    self as admission, Action, Answer, Event, LastCheck, Patience, Stage, Then, View,
};

use crate::fault::Fault;
use crate::rules;
use crate::world::{Leg, Node, Session};

impl Node {
    /// A client signs in: registered first, then nothing but a look (A2).
    pub fn login(&mut self, last_check: LastCheck, fault: Option<Fault>) {
        let (state, _) = admission::start(last_check);
        let early = fault == Some(Fault::ResolveBeforeRegister);
        self.session = Some(Session {
            state,
            leg: Leg::None,
            registered: !early && fault != Some(Fault::RegisterAfterLogin),
            looked: early.then(|| rules::look(self, fault)),
        });
    }

    /// The look that is due.
    pub fn looks(&mut self, fault: Option<Fault>) {
        let now = rules::look(self, fault);
        let Some(session) = &mut self.session else { return };
        let view = match session.looked.take() {
            Some(before) => {
                session.registered = true;
                before
            }
            None => now,
        };
        self.happens(Event::Looked(view), fault);
    }

    /// It goes on to its bridge, or to where it has to wait.
    pub fn goes_on(&mut self, fault: Option<Fault>) {
        loop {
            let event = match self.session.as_ref().map(|session| &session.state.stage) {
                Some(Stage::Registered | Stage::Ready { .. } | Stage::Accepted { .. }) => {
                    self.looks(fault);
                    continue;
                }
                Some(Stage::Dialling { .. }) => Event::Dialled,
                Some(Stage::Authenticating { .. }) => Event::BackendAnswered(Answer::Accepted),
                _ => return,
            };
            self.happens(event, fault);
        }
    }

    /// Something happens to the login.
    pub fn happens(&mut self, event: Event<crate::world::Dest>, fault: Option<Fault>) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        if matches!(event, Event::LegOver | Event::DialFailed) {
            session.leg = Leg::None;
        }
        let (state, actions) = admission::step(session.state, event);
        session.state = state;
        // Once back to resolve is as good as any number of times.
        if let Stage::Ending {
            then: Then::LookAgain,
        } = session.state.stage
        {
            session.state.patience = Patience::Over;
        }
        let mut over = false;
        let mut gone = false;
        for action in actions {
            match action {
                Action::Dial(to) => session.leg = Leg::Open(to),
                Action::DropLeg => match session.leg {
                    Leg::Open(to) if fault == Some(Fault::QuiescedAtLocalClose) => {
                        self.lingering = Some(to);
                        over = true;
                    }
                    Leg::Open(to) => session.leg = Leg::Closing(to),
                    Leg::None | Leg::Closing(_) => {}
                },
                Action::ResetLeg => {
                    session.leg = Leg::None;
                    over = true;
                }
                Action::Wait => self.owes = false,
                Action::Bridge => session.registered = true,
                Action::Unregister => {
                    self.owes = false;
                    gone = true;
                }
                Action::Look
                | Action::SendCredentials
                | Action::TellClient
                | Action::EndWhenQuiet
                | Action::RelayRefusal
                | Action::TemporaryFailure(_)
                | Action::ReportStuck => {}
            }
        }
        if !gone {
            self.session = Some(session);
        }
        if over {
            self.happens(Event::LegOver, fault);
        }
    }

    /// Its lease has lapsed, or it is fenced: its leg is reset, and what was queued is discarded with it (Q2, L1).
    pub fn resets(&mut self, fault: Option<Fault>) {
        self.happens(Event::Lapsed, fault);
    }

    /// A hold collects what there is (Q4).
    pub fn collects(&mut self) {
        self.owes = self
            .session
            .as_ref()
            .is_some_and(|session| session.registered && session.state.stage != Stage::Waiting);
    }

    /// Whether a waiting login would be let in, or told no, by a look now.
    #[must_use]
    pub fn would_go_on(&self, fault: Option<Fault>) -> bool {
        !matches!(
            rules::look(self, fault),
            View::Held | View::Armed(_, admission::Lease::Lapsed)
        )
    }
}
