//! What must hold for every sequence of events, whatever their order (promise A1 to A6, Q2).

use mailswitch_admission::{
    Action, Answer, Cause, Event, LastCheck, Lease, Stage, State, Then, View, start, step,
};
use proptest::prelude::*;

type D = u8;

/// What the world of a session remembers of it, judged from outside the steps.
#[derive(Debug, Default)]
struct Witness {
    leg: bool,
    /// The last thing that happened was a look, and it admitted the destination of the leg.
    fresh_look_at: Option<D>,
    dialled_to: Option<D>,
    told: u32,
    bridged: bool,
    unregistered: bool,
}

fn view() -> impl Strategy<Value = View<D>> {
    let lease = prop_oneof![Just(Lease::Live), Just(Lease::Lapsed)];
    prop_oneof![
        4 => (0..3u8).prop_map(View::Route),
        2 => Just(View::Held),
        1 => Just(View::Refused),
        2 => (0..3u8, lease).prop_map(|(to, lease)| View::Armed(to, lease)),
    ]
}

fn event() -> impl Strategy<Value = Event<D>> {
    prop_oneof![
        6 => view().prop_map(Event::Looked),
        4 => Just(Event::Dialled),
        1 => Just(Event::DialFailed),
        4 => Just(Event::BackendAnswered(Answer::Accepted)),
        1 => Just(Event::BackendAnswered(Answer::Refused)),
        1 => Just(Event::BackendAnswered(Answer::Unusable)),
        2 => Just(Event::Recalled),
        1 => Just(Event::Unsettled),
        1 => Just(Event::Lapsed),
        2 => Just(Event::HoldEnded),
        1 => Just(Event::WaitedTooLong),
        1 => Just(Event::Cancelled),
        1 => Just(Event::ClientGone),
        1 => Just(Event::BridgeEnded),
        2 => Just(Event::LegOver),
        1 => Just(Event::LegStuck),
    ]
}

fn admitted(view: &View<D>) -> Option<D> {
    match view {
        View::Route(to) | View::Armed(to, Lease::Live) => Some(*to),
        View::Held | View::Refused | View::Armed(_, Lease::Lapsed) => None,
    }
}

/// A leg can be over only when there is one.
fn can_happen(event: &Event<D>, witness: &Witness) -> bool {
    match event {
        Event::LegOver | Event::LegStuck => witness.leg,
        _ => !witness.unregistered,
    }
}

fn judge(witness: &mut Witness, event: &Event<D>, actions: Vec<Action<D>>) {
    witness.fresh_look_at = match event {
        Event::Looked(view) => admitted(view),
        _ => None,
    };
    match event {
        Event::LegOver | Event::DialFailed => witness.leg = false,
        _ => {}
    }
    for action in actions {
        assert!(!witness.unregistered, "{action:?} after the session left");
        match action {
            Action::Dial(to) => {
                assert!(!witness.leg, "a second leg beside the first");
                assert_eq!(
                    witness.fresh_look_at,
                    Some(to),
                    "only a look chooses a destination (A4)"
                );
                witness.leg = true;
                witness.dialled_to = Some(to);
            }
            Action::SendCredentials | Action::TellClient | Action::Bridge => {
                assert!(witness.leg);
                assert!(
                    witness.fresh_look_at.is_some(),
                    "{action:?} without a fresh passing look"
                );
                assert_eq!(
                    witness.fresh_look_at, witness.dialled_to,
                    "{action:?} on another destination's leg"
                );
                witness.told += u32::from(action == Action::TellClient);
                witness.bridged |= action == Action::Bridge;
            }
            Action::RelayRefusal | Action::TemporaryFailure(_) => {
                assert!(!witness.bridged, "an answer into the bridge");
                witness.told += 1;
            }
            Action::Wait => assert!(!witness.leg, "it waits with a leg: the hold would not count it"),
            Action::ResetLeg => assert!(witness.leg, "there is no leg to be reset"),
            Action::Look | Action::DropLeg | Action::ReportStuck | Action::EndWhenQuiet => {}
            Action::Unregister => {
                assert!(!witness.leg, "it left before its leg was over (Q2)");
                witness.unregistered = true;
            }
        }
    }
    assert!(witness.told <= 1, "the client hears one answer");
}

fn last_check() -> impl Strategy<Value = LastCheck> {
    prop_oneof![Just(LastCheck::BeforeTelling), Just(LastCheck::BeforeCredentials)]
}

fn run(last_check: LastCheck, events: Vec<Event<D>>) -> (State<D>, Witness) {
    let (mut state, actions) = start(last_check);
    assert_eq!(actions.into_iter().collect::<Vec<_>>(), [Action::Look]);
    let mut witness = Witness::default();
    for event in events {
        if !can_happen(&event, &witness) {
            continue;
        }
        // A dial that fails while it is given up is over, too: the driver says so with LegOver.
        if event == Event::DialFailed && !matches!(state.stage, Stage::Dialling { .. }) {
            continue;
        }
        let (next, actions) = step(state, event.clone());
        state = next;
        judge(&mut witness, &event, actions.into_iter().collect());
        assert_eq!(
            state.stage.has_leg(),
            witness.leg,
            "the state and the world differ about the leg: {state:?}"
        );
        assert_eq!(state.stage == Stage::Ended, witness.unregistered);
    }
    (state, witness)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_sequence_of_events_breaks_a_rule(
        last_check in last_check(),
        events in prop::collection::vec(event(), 0..60),
    ) {
        run(last_check, events);
    }

    #[test]
    fn every_session_ends_once_its_client_goes_and_its_leg_is_over(
        last_check in last_check(),
        events in prop::collection::vec(event(), 0..60),
    ) {
        let (mut state, mut witness) = run(last_check, events);
        for event in [Event::ClientGone, Event::LegOver] {
            if can_happen(&event, &witness) {
                let (next, actions) = step(state, event.clone());
                state = next;
                judge(&mut witness, &event, actions.into_iter().collect());
            }
        }
        prop_assert_eq!(state.stage, Stage::Ended);
        prop_assert!(witness.unregistered);
    }

    #[test]
    fn after_a_recall_nothing_leaves_until_the_leg_was_dropped_to_its_end(
        last_check in last_check(),
        before in prop::collection::vec(event(), 0..30),
        after in prop::collection::vec(event(), 0..30),
    ) {
        let (mut state, witness) = run(last_check, before);
        if !witness.leg || matches!(state.stage, Stage::Bridged { .. } | Stage::Ending { .. }) {
            return Ok(());
        }
        state = step(state, Event::Recalled).0;
        prop_assert!(matches!(state.stage, Stage::Ending { .. }), "{:?}", state.stage);
        for event in after.into_iter().filter(|event| *event != Event::LegOver) {
            let (next, actions) = step(state, event);
            state = next;
            for action in actions {
                prop_assert!(
                    matches!(
                        action,
                        Action::TemporaryFailure(_) | Action::ReportStuck | Action::ResetLeg
                    ),
                    "{:?} while the leg of a recalled login stands", action,
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Promise L1: whatever the stage, also where a hold or a drain came before.
    #[test]
    fn a_lapse_resets_the_leg_at_once_and_nothing_leaves_until_it_is_over(
        last_check in last_check(),
        before in prop::collection::vec(event(), 0..30),
        after in prop::collection::vec(event(), 0..30),
    ) {
        let (state, witness) = run(last_check, before);
        let (mut state, actions) = step(state, Event::Lapsed);
        let resets = actions.into_iter().any(|action| action == Action::ResetLeg);
        prop_assert_eq!(resets, witness.leg, "{:?}", state.stage);
        if !witness.leg {
            return Ok(());
        }
        prop_assert!(matches!(state.stage, Stage::Ending { .. }), "{:?}", state.stage);
        for event in after.into_iter().filter(|event| *event != Event::LegOver) {
            let (next, actions) = step(state, event);
            state = next;
            for action in actions {
                prop_assert!(
                    matches!(
                        action,
                        Action::TemporaryFailure(_) | Action::ReportStuck | Action::ResetLeg
                    ),
                    "{:?} while the leg of a lapsed session stands", action,
                );
            }
        }
    }

    #[test]
    fn a_check_that_finds_the_lease_lapsed_resets_the_leg(
        to in 0..3u8,
        last_check in last_check(),
    ) {
        let lapsed = View::Armed(to, Lease::Lapsed);
        let ready = [Event::Looked(View::Armed(to, Lease::Live)), Event::Dialled]
            .into_iter()
            .fold(start(last_check).0, |state, event| step(state, event).0);
        let (state, actions) = step(ready, Event::Looked(lapsed));
        prop_assert_eq!(actions.into_iter().collect::<Vec<_>>(), [Action::ResetLeg]);
        let (state, _) = step(state, Event::LegOver);
        let (state, actions) = step(state, Event::Looked(lapsed));
        prop_assert_eq!(actions.into_iter().collect::<Vec<_>>(), [Action::Wait]);
        let (state, _) = step(state, Event::HoldEnded);
        let (_, actions) = step(state, Event::Looked(View::Armed(to, Lease::Live)));
        prop_assert_eq!(actions.into_iter().collect::<Vec<_>>(), [Action::Dial(to)]);
    }
}

fn to_accepted() -> State<D> {
    [
        Event::Looked(View::Route(1)),
        Event::Dialled,
        Event::Looked(View::Route(1)),
        Event::BackendAnswered(Answer::Accepted),
    ]
    .into_iter()
    .fold(start(LastCheck::BeforeTelling).0, |state, event| {
        step(state, event).0
    })
}

#[test]
fn a_login_that_nothing_disturbs_is_bridged() {
    let (state, actions) = step(to_accepted(), Event::Looked(View::Route(1)));
    assert_eq!(state.stage, Stage::Bridged { to: 1 });
    assert_eq!(
        actions.into_iter().collect::<Vec<_>>(),
        [Action::TellClient, Action::Bridge]
    );
}

#[test]
fn a_request_that_has_left_is_not_taken_back_and_a_hold_waits_for_its_answer() {
    let mut state = start(LastCheck::BeforeCredentials).0;
    let mut seen = Vec::new();
    for event in [
        Event::Looked(View::Route(1)),
        Event::Dialled,
        Event::Looked(View::Route(1)),
        Event::Recalled,
    ] {
        let (next, actions) = step(state, event);
        state = next;
        seen.extend(actions);
    }
    let expected = [
        Action::Dial(1),
        Action::Look,
        Action::SendCredentials,
        Action::Bridge,
        Action::EndWhenQuiet,
    ];
    assert_eq!(seen, expected);
    assert_eq!(state.stage, Stage::Bridged { to: 1 });
}

#[test]
fn a_bridged_session_whose_lease_lapses_is_not_drained_but_reset() {
    let (state, _) = step(to_accepted(), Event::Looked(View::Route(1)));
    let (state, _) = step(state, Event::Recalled);
    let (state, actions) = step(state, Event::Lapsed);
    assert_eq!(actions.into_iter().collect::<Vec<_>>(), [Action::ResetLeg]);
    let (_, actions) = step(state, Event::LegOver);
    assert_eq!(actions.into_iter().collect::<Vec<_>>(), [Action::Unregister]);
}

#[test]
fn a_mapping_that_changed_before_the_client_was_told_is_dialled_anew() {
    let (state, actions) = step(to_accepted(), Event::Looked(View::Route(2)));
    assert_eq!(
        state.stage,
        Stage::Ending {
            then: Then::LookAgain
        }
    );
    assert_eq!(actions.into_iter().collect::<Vec<_>>(), [Action::DropLeg]);
    let (state, _) = step(state, Event::LegOver);
    let (state, actions) = step(state, Event::Looked(View::Route(2)));
    assert_eq!(state.stage, Stage::Dialling { to: 2 });
    assert_eq!(actions.into_iter().collect::<Vec<_>>(), [Action::Dial(2)]);
}

#[test]
fn a_login_recalled_while_it_is_dialled_waits_and_lands_on_the_right_side() {
    let mut state = start(LastCheck::BeforeTelling).0;
    let mut seen = Vec::new();
    for event in [
        Event::Looked(View::Route(1)),
        Event::Recalled,
        Event::LegOver,
        Event::Looked(View::Held),
        Event::HoldEnded,
        Event::Looked(View::Route(2)),
    ] {
        let (next, actions) = step(state, event);
        state = next;
        seen.extend(actions);
    }
    let expected = [
        Action::Dial(1),
        Action::DropLeg,
        Action::Look,
        Action::Wait,
        Action::Look,
        Action::Dial(2),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_login_follows_its_mapping_however_often_it_changes_until_that_has_taken_too_long() {
    let mut state = start(LastCheck::BeforeTelling).0;
    let mut failures = Vec::new();
    for round in 0..200 {
        if round == 150 {
            assert_eq!((&state.stage, failures.len()), (&Stage::Registered, 0));
            let (next, actions) = step(state, Event::Unsettled);
            state = next;
            assert_eq!(actions.into_iter().count(), 0);
        }
        for event in [
            Event::Looked(View::Route(round)),
            Event::Dialled,
            Event::Looked(View::Route(round + 1)),
            Event::LegOver,
        ] {
            let (next, actions) = step(state, event);
            state = next;
            failures.extend(
                actions
                    .into_iter()
                    .filter(|action| matches!(action, Action::TemporaryFailure(_))),
            );
        }
    }
    assert_eq!(failures, [Action::TemporaryFailure(Cause::Unsettled)]);
    assert_eq!(state.stage, Stage::Ended);
}

#[test]
fn a_login_whose_mapping_rests_gets_in_however_long_that_took() {
    let (state, _) = step(to_accepted(), Event::Unsettled);
    let Stage::Accepted { to } = state.stage else {
        panic!("{state:?}")
    };
    let (_, actions) = step(state, Event::Looked(View::Route(to)));
    assert_eq!(
        actions.into_iter().collect::<Vec<_>>(),
        [Action::TellClient, Action::Bridge]
    );
}

#[test]
fn a_login_that_waited_too_long_gets_the_temporary_failure() {
    let (state, _) = step(start::<D>(LastCheck::BeforeTelling).0, Event::Looked(View::Held));
    let (state, actions) = step(state, Event::WaitedTooLong);
    assert_eq!(state.stage, Stage::Ended);
    assert_eq!(
        actions.into_iter().collect::<Vec<_>>(),
        [Action::TemporaryFailure(Cause::Held), Action::Unregister]
    );
}

#[test]
fn a_stuck_leg_is_reported_and_the_session_stays_until_it_is_over() {
    let (state, _) = step(to_accepted(), Event::Recalled);
    let (state, actions) = step(state, Event::LegStuck);
    assert_eq!(
        actions.into_iter().collect::<Vec<_>>(),
        [Action::ReportStuck, Action::TemporaryFailure(Cause::Stuck)]
    );
    assert_eq!(
        state.stage,
        Stage::Ending {
            then: Then::Unregister
        }
    );
    let (state, actions) = step(state, Event::LegOver);
    assert_eq!(state.stage, Stage::Ended);
    assert_eq!(actions.into_iter().collect::<Vec<_>>(), [Action::Unregister]);
}
