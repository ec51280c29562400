//! When a node asks for a lease, and which answers count (promise L1, L2). Pure: time and chance are arguments.
//!
//! It asks when something gets armed, and again after each third of a lease: two answers may be lost. What is not answered
//! is asked again; a control plane that may not grant says nothing, and knows more a moment later. An answer counts from
//! its own request, however late it comes.

use std::collections::VecDeque;
use std::time::Duration;

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::revision::Revision;

use super::{Boot, Grant};

/// Requests that may still be answered. A control plane that answers none is not remembered for ever.
const OPEN: usize = 32;
/// However many accounts are armed one after the other, requests are not closer than this.
const PACE: Duration = Duration::from_millis(20);
/// No lease is longer, whatever was granted.
const LONGEST: Duration = Duration::from_secs(86_400);

/// What a node asked, and when it asks again.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    serial: u64,
    /// On this stream, the newest last.
    open: VecDeque<Asked>,
    last: Option<Asked>,
    answered: bool,
    length: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Asked {
    serial: u64,
    at: Boot,
    revision: Revision,
    /// Of the pause behind it: between four fifths and all.
    share: f64,
}

/// What there is to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// The newest arming that rests on no lease yet, if it could: it is on the disk.
    pub(crate) newest: Option<Revision>,
    /// `[cutover] lease`, until one was granted.
    pub(crate) usual: Duration,
}

impl Asking {
    /// Another replica, which knows of no request.
    pub(crate) fn new_stream(&mut self) {
        self.open.clear();
        self.last = None;
        self.answered = false;
    }

    /// When to ask next; it may have been.
    pub(crate) fn next(&self, need: Need) -> Boot {
        let Some(last) = self.last else {
            return Boot(0);
        };
        if need.newest.is_some_and(|newest| newest > last.revision) {
            return last.at.after(PACE);
        }
        let third = self.length.unwrap_or(need.usual) / 3;
        let pause = if self.answered {
            third
        } else {
            (third / 2).clamp(PACE, Duration::from_millis(500))
        };
        last.at.after(pause.mul_f64(last.share))
    }

    /// The request that is sent now. `chance`: evenly between nothing and one.
    pub(crate) fn ask(&mut self, now: Boot, applied: Revision, chance: f64) -> wire::LeaseRequest {
        self.serial += 1;
        let asked = Asked {
            serial: self.serial,
            at: now,
            revision: applied,
            share: 0.8 + 0.2 * chance,
        };
        if self.open.len() == OPEN {
            self.open.pop_front();
        }
        self.open.push_back(asked);
        self.last = Some(asked);
        self.answered = false;
        wire::LeaseRequest {
            serial: asked.serial,
            applied_revision: applied.0,
        }
    }

    /// What an answer gives. None: to no request of this stream, or to an older one than was answered last.
    pub(crate) fn granted(&mut self, grant: &wire::LeaseGrant) -> Option<Grant> {
        let at = self.open.iter().position(|asked| asked.serial == grant.serial)?;
        let asked = self.open.drain(..=at).next_back()?;
        if self.last.is_some_and(|last| last.serial == asked.serial) {
            self.answered = true;
        }
        let length = Duration::from_millis(grant.lease_millis).min(LONGEST);
        self.length = Some(length);
        Some(Grant {
            asked: asked.at,
            until: asked.at.after(length),
            revision: asked.revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USUAL: Need = Need {
        newest: None,
        usual: Duration::from_secs(10),
    };

    fn seconds(after: u64) -> Boot {
        Boot(0).after(Duration::from_secs(after))
    }

    fn grant(serial: u64) -> wire::LeaseGrant {
        wire::LeaseGrant {
            serial,
            lease_millis: 9000,
        }
    }

    #[test]
    fn a_lease_runs_from_the_request_however_late_the_answer_comes() {
        let mut asking = Asking::default();
        let request = asking.ask(seconds(100), Revision(7), 0.5);
        assert_eq!((request.serial, request.applied_revision), (1, 7));
        let given = asking.granted(&grant(1)).unwrap();
        assert_eq!(
            (given.asked, given.until, given.revision),
            (seconds(100), seconds(109), Revision(7))
        );
        assert_eq!(asking.granted(&grant(1)), None, "once");
        assert_eq!(asking.granted(&grant(2)), None, "nobody asked");
    }

    #[test]
    fn an_answer_that_was_overtaken_by_a_later_one_is_worth_nothing() {
        let mut asking = Asking::default();
        asking.ask(seconds(1), Revision(7), 0.0);
        asking.ask(seconds(2), Revision(8), 0.0);
        assert!(asking.granted(&grant(2)).is_some());
        assert_eq!(asking.granted(&grant(1)), None);
    }

    #[test]
    fn answers_to_another_stream_do_not_count() {
        let mut asking = Asking::default();
        asking.ask(seconds(1), Revision(7), 0.0);
        asking.new_stream();
        assert_eq!(asking.granted(&grant(1)), None);
        assert_eq!(asking.next(USUAL), Boot(0), "the new one is asked at once");
        assert_eq!(
            asking.ask(seconds(2), Revision(7), 0.0).serial,
            2,
            "serials grow with the instance"
        );
    }

    #[test]
    fn it_asks_again_after_a_third_sooner_when_unanswered_and_at_once_for_a_new_arming() {
        let mut asking = Asking::default();
        assert_eq!(asking.next(USUAL), Boot(0));
        asking.ask(seconds(0), Revision(7), 1.0);
        assert_eq!(asking.next(USUAL), Boot(500_000_000));
        asking.granted(&grant(1));
        assert_eq!(
            asking.next(USUAL),
            seconds(3),
            "a third of what was granted, not of what is usual"
        );
        let newest = Some(Revision(8));
        assert_eq!(asking.next(Need { newest, ..USUAL }), Boot(0).after(PACE));
        let older = Some(Revision(7));
        assert_eq!(
            asking.next(Need {
                newest: older,
                ..USUAL
            }),
            seconds(3)
        );
    }

    proptest! {
        #[test]
        fn a_lease_that_is_answered_is_asked_for_twice_more_before_it_lapses(chance in 0.0..=1.0f64) {
            let mut asking = Asking::default();
            asking.ask(seconds(0), Revision(7), chance);
            let first = asking.granted(&grant(1)).unwrap();
            let next = asking.next(USUAL);
            prop_assert!(next.0 >= first.until.0 * 4 / 15 - 1 && next.0 <= first.until.0 / 3 + 1);
        }
    }
}
