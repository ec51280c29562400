use mailswitch_proto::identifier::pack;
use mailswitch_proto::revision::Position;

use super::*;
use crate::routing::snapshot::Snapshot;

const KEY: HashKey = HashKey([7; 16]);

fn change(keys: &[u128], kind: Kind) -> wire::Change {
    let keys: Vec<Key> = keys.iter().copied().map(Key).collect();
    wire::Change {
        keys: pack(&keys).into(),
        kind: Some(kind),
    }
}

fn mapped(keys: &[u128], destination: &str) -> wire::Change {
    change(
        keys,
        Kind::Mapped(wire::Mapped {
            destination: destination.to_owned(),
        }),
    )
}

fn held(keys: &[u128], hold: HoldId) -> wire::Change {
    let held = wire::Held {
        hold: hold.to_vec(),
        source: "legacy".to_owned(),
        target: "new".to_owned(),
        ..Default::default()
    };
    change(keys, Kind::Held(held))
}

fn state(changes: &[wire::Change]) -> State {
    State::load(Position::NONE.after(b"1"), KEY, changes).unwrap()
}

fn flipped(keys: &[u128], hold: HoldId) -> wire::Change {
    let flipped = wire::Flipped {
        hold: hold.to_vec(),
        operation: Vec::new(),
        destination: "new".to_owned(),
    };
    change(keys, Kind::Flipped(flipped))
}

#[test]
fn a_hold_ends_with_its_flip_and_only_with_its_own() {
    let (first, second) = (HoldId::random(), HoldId::random());
    let mut state = state(&[
        mapped(&[1, 2], "legacy"),
        held(&[1, 2], first),
        held(&[3], second),
    ]);
    assert_eq!(state.hold_of(Key(1)), Some(first));

    let set = wire::ChangeSet {
        changes: vec![flipped(&[1, 2], first)],
        traceparent: String::new(),
    };
    state.apply(state.position().after(b"2"), &set).unwrap();
    assert_eq!(state.hold_of(Key(1)), None);
    assert_eq!(state.table().get(Key(2)), Some("new"));
    assert_eq!(state.hold_of(Key(3)), Some(second));
    assert_eq!(state.holds().count(), 1);
}

#[test]
fn keys_under_a_kind_of_change_from_a_later_version_stay_parked() {
    let unknown = wire::Change {
        keys: pack(&[Key(9)]).into(),
        kind: None,
    };
    let state = state(&[mapped(&[9], "legacy"), unknown]);
    assert!(state.is_parked(Key(9)));
}

#[test]
fn a_snapshot_adds_up_to_the_state_it_was_made_from() {
    let hold = HoldId::random();
    let resource = wire::ResourceSet {
        kind: "routing".to_owned(),
        body: "{}".to_owned(),
        ..Default::default()
    };
    let unknown = wire::Change {
        keys: pack(&[Key(9)]).into(),
        kind: None,
    };
    let before = state(&[
        mapped(&[1, 2], "legacy"),
        mapped(&[3], "new"),
        held(&[1], hold),
        change(&[], Kind::ResourceSet(resource)),
        unknown,
    ]);
    let snapshot = Snapshot::of(&before);
    assert_eq!(snapshot.keys, 3);
    let changes = snapshot.chunks.iter().flat_map(|chunk| &chunk.changes);
    let after = State::load(snapshot.position, KEY, changes).unwrap();

    assert_eq!(after.position(), before.position());
    assert_eq!(after.table().len(), 3);
    for key in [1, 2, 3].map(Key) {
        assert_eq!(after.table().get(key), before.table().get(key));
    }
    assert_eq!(after.hold_of(Key(1)), Some(hold));
    assert_eq!(after.resources(), before.resources());
    assert!(after.is_parked(Key(9)));
}

#[test]
fn a_cut_column_of_keys_is_refused() {
    let damaged = wire::Change {
        keys: vec![0; 17].into(),
        kind: Some(Kind::Unmapped(wire::Unmapped {})),
    };
    assert!(matches!(
        State::load(Position::NONE, KEY, [&damaged]),
        Err(InvalidChange::Keys(_))
    ));
}
