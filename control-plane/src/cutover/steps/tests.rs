//! What holds for every operation and every order of events.

use chrono::Utc;
use mailswitch_proto::id::{HoldId, InstanceId, OperationId};
use mailswitch_proto::identifier::Key;
use proptest::prelude::*;

use super::*;
use crate::cutover::operation::{Fence, FencedIs, Kind, Subject};

fn operation(copy: Hook, verify: Hook) -> Operation {
    Operation {
        id: OperationId::random(),
        kind: Kind::Cutover,
        subject: Subject {
            account: None,
            name: "alice@example.org".to_owned(),
            identifiers: vec!["alice@example.org".to_owned()],
            keys: vec![Key(7)],
        },
        from_any: vec!["legacy".to_owned()],
        source: "legacy".to_owned(),
        target: "new".to_owned(),
        step: Step::Planned,
        outcome: None,
        arming: None,
        lease_ms: 10_000,
        fenced: FencedIs::Unsaid,
        lapsed: Vec::new(),
        taken_as_off: Vec::new(),
        hold: Some(HoldId::random()),
        hold_revision: None,
        end_revision: None,
        copy,
        verify,
        drain_timeout_ms: 1,
        max_hold_ms: 1,
        deadline: None,
        abort_asked: None,
        cause: String::new(),
        missing: Vec::new(),
        traceparent: String::new(),
        reason: String::new(),
        started_by: String::new(),
        started_from: String::new(),
        started_at: Utc::now(),
        held_at: None,
        ended_at: None,
        fence: Fence {
            term: 1,
            holder: InstanceId::random(),
        },
    }
}

fn hook() -> impl Strategy<Value = Hook> {
    prop_oneof![Just(Hook::None), Just(Hook::Wanted)]
}

fn hook_kind() -> impl Strategy<Value = HookKind> {
    prop_oneof![Just(HookKind::Copy), Just(HookKind::Verify)]
}

fn nodes() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![Just(vec![]), Just(vec!["fra-1".to_owned()])]
}

fn deadline(missing: Vec<String>) -> Event {
    let leased = missing.clone();
    Event::Deadline { missing, leased }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Taken),
        Just(Event::Armed),
        Just(Event::ArmRefused("armed by another".to_owned())),
        nodes().prop_map(Event::Unarmed),
        Just(Event::ArmingWaited),
        Just(Event::Held),
        nodes().prop_map(Event::Missing),
        Just(Event::Stuck {
            node: "fra-1".to_owned(),
            destination: "legacy".to_owned(),
            session: "s".to_owned(),
        }),
        hook_kind().prop_map(Event::HookPassed),
        hook_kind().prop_map(|kind| Event::HookFailed(kind, "exit status 1".to_owned())),
        hook_kind().prop_map(Event::HookLapsed),
        nodes().prop_map(deadline),
        Just(Event::AbortAsked("enough".to_owned())),
        nodes().prop_map(Event::FlipRefused),
        Just(Event::Flipped),
        Just(Event::Released),
        Just(Event::HoldRefused("held by another".to_owned())),
    ]
}

/// What a driver could see happen: transactions speak only when they were asked to.
fn possible(operation: &Operation, event: &Event) -> bool {
    match event {
        Event::Armed | Event::ArmRefused(_) => operation.step == Step::Planned,
        Event::Held | Event::HoldRefused(_) => operation.step == Step::Arming,
        Event::Flipped | Event::FlipRefused(_) => operation.step == Step::Flipping,
        Event::Released => operation.step == Step::Releasing,
        _ => true,
    }
}

proptest! {
    #[test]
    fn a_flip_is_asked_for_only_after_every_node_was_quiet_and_every_command_passed(
        copy in hook(), verify in hook(), events in prop::collection::vec(event(), 0..60)
    ) {
        let mut now = operation(copy, verify);
        let (mut quiet, mut copied, mut verified) = (false, false, false);
        for event in events {
            if !possible(&now, &event) {
                continue;
            }
            match &event {
                Event::Missing(missing)
                    if missing.is_empty() && !matches!(now.step, Step::Planned | Step::Arming) =>
                {
                    quiet = true
                }
                Event::FlipRefused(_) => quiet = false,
                Event::HookPassed(HookKind::Copy) if now.step == Step::Copying => copied = true,
                Event::HookPassed(HookKind::Verify) if now.step == Step::Verifying => verified = true,
                _ => {}
            }
            let (next, actions) = step(now, &event);
            if actions.contains(&Action::Flip) {
                prop_assert_eq!(next.step, Step::Flipping);
                prop_assert!(quiet && (copy == Hook::None || copied) && (verify == Hook::None || verified));
            }
            prop_assert_eq!(next.outcome == Some(Outcome::Done), next.step == Step::Done);
            prop_assert_eq!(next.outcome.is_some(), next.step.is_end());
            now = next;
        }
    }

    #[test]
    fn an_operation_only_ends_by_its_flip_or_its_release_and_an_end_is_final(
        copy in hook(), verify in hook(), events in prop::collection::vec(event(), 0..60)
    ) {
        let mut now = operation(copy, verify);
        for event in events {
            if !possible(&now, &event) {
                continue;
            }
            let was = now.clone();
            let (next, actions) = step(now, &event);
            match (was.step, next.step) {
                (before, Step::Done) if before != Step::Done => {
                    prop_assert_eq!(before, Step::Flipping);
                    prop_assert_eq!(&event, &Event::Flipped);
                }
                (before, Step::Aborted) if before != Step::Aborted => {
                    prop_assert!(before == Step::Planned || event == Event::Released);
                    prop_assert!(!next.cause.is_empty(), "it says why");
                }
                (Step::Done | Step::Aborted, _) => {
                    prop_assert_eq!(&next, &was);
                    prop_assert_eq!(&actions, &vec![Action::Finish]);
                }
                (Step::Releasing, after) => prop_assert_eq!(after, Step::Releasing),
                _ => {}
            }
            // Unproven says who.
            prop_assert_eq!(next.outcome == Some(Outcome::Unproven), next.step == Step::Aborted && !next.missing.is_empty());
            now = next;
        }
    }

    #[test]
    fn whoever_takes_an_operation_over_can_bring_it_to_an_end(
        copy in hook(), verify in hook(), events in prop::collection::vec(event(), 0..40)
    ) {
        let mut now = operation(copy, verify);
        for event in events {
            if possible(&now, &event) {
                now = step(now, &event).0;
            }
        }
        // From wherever the last driver was stopped: taken, and nothing but what its own actions bring about.
        for _ in 0..20 {
            let (same, actions) = step(now.clone(), &Event::Taken);
            prop_assert_eq!(&same, &now, "taking over moves nothing");
            let Some(action) = actions.first() else {
                return Err(TestCaseError::fail("nobody knows what to do"));
            };
            let event = match action {
                Action::Arm => Event::Armed,
                Action::AwaitArming if step(now.clone(), &Event::Unarmed(vec![])).1 == [Action::Hold] => Event::Held,
                Action::AwaitArming => return Err(TestCaseError::fail("nobody holds it")),
                Action::Hold => Event::Held,
                Action::Watch if matches!(now.step, Step::Copying) => Event::HookPassed(HookKind::Copy),
                Action::Watch if matches!(now.step, Step::Verifying) => Event::HookPassed(HookKind::Verify),
                Action::Watch => Event::Missing(vec![]),
                Action::AwaitHook(kind) => Event::HookPassed(*kind),
                Action::Flip => Event::Flipped,
                Action::Release => Event::Released,
                Action::Finish => return Ok(()),
            };
            now = step(now, &event).0;
        }
        prop_assert!(false, "it does not end: {:?}", now.step);
    }

    #[test]
    fn the_deadline_ends_every_hold_that_is_not_being_flipped(
        copy in hook(), verify in hook(), events in prop::collection::vec(event(), 0..40), missing in nodes()
    ) {
        let mut now = operation(copy, verify);
        for event in events {
            if possible(&now, &event) {
                now = step(now, &event).0;
            }
        }
        let waits = matches!(now.step, Step::Holding | Step::Draining | Step::Copying | Step::Verifying);
        let (next, actions) = step(now, &deadline(missing));
        prop_assert_eq!(waits, actions.contains(&Action::Release));
        prop_assert!(!waits || next.step == Step::Releasing);
    }
}

#[test]
fn an_arming_is_waited_for_and_never_for_longer_than_its_moment() {
    let armed = Operation {
        step: Step::Arming,
        ..operation(Hook::None, Hook::None)
    };
    let silent = Event::Unarmed(vec!["fra-1".to_owned()]);
    assert_eq!(step(armed.clone(), &silent), (armed.clone(), vec![]));
    for settled in [Event::Unarmed(vec![]), Event::ArmingWaited] {
        assert_eq!(step(armed.clone(), &settled), (armed.clone(), vec![Action::Hold]));
    }
    // There is an arming to take back.
    for refused in [
        Event::AbortAsked("enough".to_owned()),
        Event::HoldRefused("held by another".to_owned()),
    ] {
        let (next, actions) = step(armed.clone(), &refused);
        assert_eq!((next.step, actions), (Step::Releasing, vec![Action::Release]));
    }
}

#[test]
fn a_release_says_why_a_lapse_could_not_be_waited_for() {
    let silent = || vec!["fra-1".to_owned()];
    let at = |max_hold_ms| Operation {
        step: Step::Draining,
        max_hold_ms,
        ..operation(Hook::None, Hook::None)
    };
    let (short, _) = step(at(12_000), &deadline(silent()));
    for word in ["the lease of fra-1", "12.5s", "max_hold is 12s", "--max-hold"] {
        assert!(short.cause.contains(word), "{}", short.cause);
    }
    let (restarted, _) = step(at(15_000), &deadline(silent()));
    assert!(
        restarted.cause.contains("restarted meanwhile"),
        "{}",
        restarted.cause
    );
    let unarmed = Event::Deadline {
        missing: silent(),
        leased: vec![],
    };
    let (unarmed, _) = step(at(12_000), &unarmed);
    assert!(!unarmed.cause.contains("lease"), "{}", unarmed.cause);
}
