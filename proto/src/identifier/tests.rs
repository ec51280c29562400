use proptest::prelude::*;

use super::*;

fn fleet() -> Rules {
    Rules {
        master_user_separators: vec!["%".into()],
        normalization: Normalization::Fleet {
            bare_domain: Some("example.org".into()),
        },
    }
}

/// Lines of `login -> normal form` or `login -> ! error`, with `\u{…}` escapes.
#[test]
fn every_vector_gives_its_normal_form() {
    for line in include_str!("../../tests/identifier-vectors.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (login, expected) = line.split_once(" -> ").expect("a vector has ` -> `");
        let found = match Identifier::from_login(&unescape(login), &fleet()) {
            Ok(identifier) => identifier.as_str().to_owned(),
            Err(error) => format!("! {error:?}"),
        };
        assert_eq!(found, unescape(expected), "vector {line}");
    }
}

#[test]
fn a_lone_node_follows_the_reference() {
    let mut rules = Rules {
        master_user_separators: vec!["%".into()],
        normalization: Normalization::Lowercase,
    };
    let found = Identifier::from_login("Ann@X.example%root", &rules).expect("valid");
    assert_eq!(found.as_str(), "ann@x.example");
    rules.normalization = Normalization::AsPresented;
    let found = Identifier::from_login("Ann@X.example%root", &rules).expect("valid");
    assert_eq!(found.as_str(), "Ann@X.example");
}

#[test]
fn debug_shows_no_address() {
    let found = Identifier::from_login("alice@example.org", &fleet()).expect("valid");
    assert_eq!(format!("{found:?}"), "Identifier(al***)");
}

#[test]
fn an_operators_slip_is_told_from_a_login_that_nobody_knows() {
    let rules = fleet();
    for slip in ["alice@@example.org", "@@example.org", "alice@@EXAMPLE.org"] {
        assert_eq!(
            Identifier::written(slip, &rules.normalization),
            Err(InvalidIdentifier::TwoAts)
        );
        assert!(
            Identifier::from_login(slip, &rules).is_ok(),
            "the backend judges what a client says"
        );
    }
    assert!(Identifier::written("alice@example.org", &rules.normalization).is_ok());
    assert!(Identifier::written("@example.org", &rules.normalization).is_ok());
}

proptest! {
    #[test]
    fn the_normal_form_is_a_fixed_point(login in "\\PC{0,40}") {
        if let Ok(once) = Identifier::from_login(&login, &fleet()) {
            let again = Identifier::normalized(once.as_str(), &fleet().normalization);
            prop_assert_eq!(again, Ok(once));
        }
    }

    #[test]
    fn columns_of_keys_pack_and_unpack(keys in proptest::collection::vec(any::<u128>().prop_map(Key), 0..50)) {
        let column = pack(&keys);
        prop_assert_eq!(unpack(&column).expect("a multiple of 16").collect::<Vec<_>>(), keys);
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("\\u{") {
        let end = start + rest[start..].find('}').expect("an escape ends");
        out.push_str(&rest[..start]);
        let code = u32::from_str_radix(&rest[start + 3..end], 16).expect("hex");
        out.push(char::from_u32(code).expect("a character"));
        rest = &rest[end + 1..];
    }
    out + rest
}
