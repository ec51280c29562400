//! The table: what it answers, and that deltas and a snapshot of them say the same.

use mailswitch_config::DestinationName;
use mailswitch_config::table::routing::OnUnknown;
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::change::Kind as WireKind;
use mailswitch_proto::identifier::{HashKey, Identifier, Normalization, pack};
use mailswitch_proto::revision::{Position, Revision};
use proptest::prelude::*;

use super::{Builder, Effect, InvalidSnapshot, Policy, Serving, Table};
use crate::route::{Look, Refusal, Rule};
use crate::sessions::ActingFor;

const HASH: HashKey = HashKey([4; 16]);
const NAMES: [&str; 5] = [
    "ann",
    "ann@example.org",
    "bob@example.org",
    "@example.org",
    "@other.example",
];

fn acting_for(name: &str) -> ActingFor {
    ActingFor::one(
        Identifier::normalized(name, &Normalization::AsPresented).unwrap(),
        [],
    )
}

fn change(names: &[&str], kind: Option<WireKind>) -> wire::Change {
    let keys: Vec<_> = names.iter().map(|name| HASH.key_of(name)).collect();
    wire::Change {
        keys: pack(&keys).into(),
        kind,
    }
}

fn mapped(names: &[&str], destination: &str) -> wire::Change {
    let destination = destination.to_owned();
    change(names, Some(WireKind::Mapped(wire::Mapped { destination })))
}

fn held(names: &[&str], hold: u8) -> wire::Change {
    let held = wire::Held {
        hold: vec![hold; 16],
        ..wire::Held::default()
    };
    change(names, Some(WireKind::Held(held)))
}

fn released(names: &[&str], hold: u8, destination: &str) -> wire::Change {
    let released = wire::Released {
        hold: vec![hold; 16],
        operation: Vec::new(),
        destination: destination.to_owned(),
    };
    change(names, Some(WireKind::Released(released)))
}

fn flipped(names: &[&str], hold: u8, destination: &str) -> wire::Change {
    let flipped = wire::Flipped {
        hold: vec![hold; 16],
        operation: Vec::new(),
        destination: destination.to_owned(),
    };
    change(names, Some(WireKind::Flipped(flipped)))
}

fn armed(names: &[&str], arming: u8) -> wire::Change {
    let armed = wire::Armed {
        arming: vec![arming; 16],
        operation: Vec::new(),
    };
    change(names, Some(WireKind::Armed(armed)))
}

fn disarmed(arming: u8) -> wire::Change {
    let arming = vec![arming; 16];
    change(&[], Some(WireKind::Disarmed(wire::Disarmed { arming })))
}

fn serving() -> Table {
    let mut table = Table::empty(HASH);
    table.serve(Serving::Yes);
    table.set_policy(Policy {
        default_destination: Some("default".into()),
        unidentified: OnUnknown::Default,
        unknown: OnUnknown::Default,
    });
    table
}

fn apply(table: &mut Table, changes: Vec<wire::Change>) -> Vec<Effect> {
    let at = Position {
        revision: Revision(table.position().revision.0 + 1),
        ..Position::NONE
    };
    let traceparent = String::new();
    table.apply(&wire::ChangeSet { changes, traceparent }, at)
}

fn route(table: &Table, name: &str) -> Option<(DestinationName, Rule)> {
    match table.look(&acting_for(name)) {
        Look::Route(route) => Some((route.destination, route.rule)),
        Look::Armed(..) | Look::Held | Look::AskSource | Look::Refused(_) => None,
    }
}

#[test]
fn a_mapping_of_its_own_comes_before_the_domains_and_that_before_the_default() {
    let mut table = serving();
    apply(
        &mut table,
        vec![
            mapped(&["ann@example.org"], "own"),
            mapped(&["@example.org"], "domain"),
        ],
    );
    assert_eq!(
        route(&table, "ann@example.org"),
        Some(("own".into(), Rule::Mapping))
    );
    assert_eq!(
        route(&table, "bob@example.org"),
        Some(("domain".into(), Rule::Domain))
    );
    assert_eq!(
        route(&table, "cyd@other.example"),
        Some(("default".into(), Rule::Default))
    );
    assert_eq!(route(&table, "bare"), Some(("default".into(), Rule::Default)));
    let unmapped = change(&["ann@example.org"], Some(WireKind::Unmapped(wire::Unmapped {})));
    apply(&mut table, vec![unmapped]);
    assert_eq!(
        route(&table, "ann@example.org"),
        Some(("domain".into(), Rule::Domain))
    );
}

#[test]
fn logins_that_nothing_names_follow_the_policy_and_never_a_guess() {
    let mut table = serving();
    apply(&mut table, vec![mapped(&["@example.org"], "domain")]);
    let refusal = |table: &Table, who: &ActingFor| match table.look(who) {
        Look::Refused(refusal) => Some(refusal),
        _ => None,
    };
    let refuse = Policy {
        default_destination: Some("default".into()),
        unidentified: OnUnknown::Refuse,
        unknown: OnUnknown::Refuse,
    };
    table.set_policy(refuse.clone());
    assert_eq!(
        refusal(&table, &acting_for("x@other.example")),
        Some(Refusal::Unknown)
    );
    assert_eq!(refusal(&table, &ActingFor::nobody()), Some(Refusal::Unidentified));
    assert!(route(&table, "x@example.org").is_some(), "its domain is named");
    table.set_policy(Policy {
        default_destination: None,
        unidentified: OnUnknown::Default,
        unknown: OnUnknown::Default,
    });
    assert_eq!(
        refusal(&table, &acting_for("x@other.example")),
        Some(Refusal::NoDefault)
    );
    assert_eq!(refusal(&table, &ActingFor::nobody()), Some(Refusal::NoDefault));
}

#[test]
fn an_arming_bars_nobody_and_lasts_through_holds_until_it_is_taken_back() {
    let mut table = serving();
    apply(&mut table, vec![mapped(&["ann"], "old"), armed(&["ann"], 1)]);
    assert!(
        route(&table, "ann").is_some(),
        "whether it is admitted is the lease's to say"
    );
    let arms = |table: &Table| table.armings_on(&acting_for("ann")).len();
    apply(&mut table, vec![held(&["ann"], 2)]);
    assert_eq!((table.look(&acting_for("ann")), arms(&table)), (Look::Held, 1));
    apply(&mut table, vec![armed(&["ann"], 3), released(&["ann"], 2, "old")]);
    assert_eq!(arms(&table), 2, "armed ahead, and once more for a cutover");
    apply(&mut table, vec![disarmed(3)]);
    apply(&mut table, vec![held(&["ann"], 4), flipped(&["ann"], 4, "new")]);
    assert_eq!(arms(&table), 1);
    apply(&mut table, vec![disarmed(1)]);
    assert_eq!(route(&table, "ann"), Some(("new".into(), Rule::Mapping)));
    assert!(table.arms_nobody());
}

#[test]
fn what_names_another_hold_ends_nothing() {
    let mut table = serving();
    apply(&mut table, vec![mapped(&["ann"], "old"), held(&["ann"], 2)]);
    apply(&mut table, vec![released(&["ann"], 1, "old")]);
    assert_eq!(table.look(&acting_for("ann")), Look::Held);
}

#[test]
fn keys_that_cannot_be_read_stop_the_node_from_admitting_anybody() {
    let mut table = serving();
    apply(&mut table, vec![mapped(&["ann"], "old")]);
    let torn = wire::Change {
        keys: vec![0; 17].into(),
        ..held(&[], 1)
    };
    let effects = apply(&mut table, vec![torn]);
    assert!(matches!(effects.as_slice(), [Effect::Rejected(_)]));
    assert_eq!(table.look(&acting_for("ann")), Look::Refused(Refusal::NotSynced));
}

#[test]
fn a_snapshot_whose_keys_cannot_be_read_is_no_table() {
    let mut builder = Builder::begin(&serving().snapshot_begin(), None).unwrap();
    let torn = wire::Change {
        keys: vec![0; 17].into(),
        ..mapped(&[], "old")
    };
    builder.chunk(&[torn]);
    assert!(matches!(builder.end(Revision(0)), Err(InvalidSnapshot::Keys)));
}

fn some_names() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(NAMES.to_vec(), 1..=3)
}

fn any_change() -> impl Strategy<Value = wire::Change> {
    let destination = prop::sample::select(vec!["old", "new", "third"]);
    prop_oneof![
        4 => (some_names(), destination.clone()).prop_map(|(names, to)| mapped(&names, to)),
        2 => some_names().prop_map(|names| change(&names, Some(WireKind::Unmapped(wire::Unmapped {})))),
        3 => (some_names(), 1..4u8).prop_map(|(names, hold)| held(&names, hold)),
        3 => (some_names(), 1..4u8, destination).prop_map(|(names, hold, to)| released(&names, hold, to)),
        1 => (some_names(), 5..7u8).prop_map(|(names, arming)| armed(&names, arming)),
        1 => (5..7u8).prop_map(disarmed),
        1 => some_names().prop_map(|names| change(&names, None)),
    ]
}

proptest! {
    #[test]
    fn a_snapshot_of_the_table_answers_as_the_table_does(
        sets in prop::collection::vec(prop::collection::vec(any_change(), 1..4), 0..20),
    ) {
        let mut table = serving();
        for set in sets {
            apply(&mut table, set);
        }
        let mut builder = Builder::begin(&table.snapshot_begin(), None).unwrap();
        builder.chunk(&table.snapshot_changes());
        let (mut copy, _) = builder.end(table.position().revision).unwrap();
        copy.set_policy(table.policy.clone());
        for name in NAMES.into_iter().chain(["x@example.org", "y@other.example", "z"]) {
            prop_assert_eq!(table.look(&acting_for(name)), copy.look(&acting_for(name)), "{}", name);
        }
        prop_assert_eq!(table.position(), copy.position());
        prop_assert_eq!(table.len(), copy.len());
        let sorted = |table: &Table| {
            let mut holds: Vec<_> = table.holds().map(|(id, record)| {
                let mut keys = record.keys.clone();
                keys.sort();
                (*id, record.kind as u8, keys)
            }).collect();
            holds.sort();
            holds
        };
        prop_assert_eq!(sorted(&table), sorted(&copy));
        let armed = |table: &Table, name: &str| {
            let mut armings = table.armings_on(&acting_for(name));
            armings.sort();
            armings
        };
        for name in NAMES.into_iter().chain(["x@example.org", "z"]) {
            prop_assert_eq!(armed(&table, name), armed(&copy, name), "{}", name);
        }
    }

    /// A key is held exactly while something that was put on it has not ended: checked against a plain list.
    #[test]
    fn a_key_is_held_exactly_while_something_that_was_put_on_it_lasts(
        changes in prop::collection::vec((prop::sample::select(NAMES[..3].to_vec()), 1..4u8, any::<bool>()), 0..40),
    ) {
        let mut table = serving();
        let mut lasting: Vec<(&str, u8)> = Vec::new();
        for (name, hold, begins) in changes {
            if begins {
                apply(&mut table, vec![held(&[name], hold)]);
                if !lasting.contains(&(name, hold)) {
                    lasting.push((name, hold));
                }
            } else {
                apply(&mut table, vec![released(&[name], hold, "old")]);
                // A hold ends as a whole, wherever it stands.
                lasting.retain(|(_, id)| *id != hold);
            }
            for name in &NAMES[..3] {
                let expected = lasting.iter().any(|(held, _)| held == name);
                prop_assert_eq!(table.look(&acting_for(name)) == Look::Held, expected, "{}", name);
            }
        }
    }
}
