#![no_main]
//! Whatever a login is: an identifier or why not, never a panic. The normal form is its own normal form, so that a hold
//! and a login never miss each other, and holds nothing that could not be looked up.

use libfuzzer_sys::fuzz_target;
use mailswitch_proto::identifier::{Identifier, MAX_BYTES, Normalization, Rules};

fuzz_target!(|data: &[u8]| {
    let Ok(login) = std::str::from_utf8(data) else {
        return;
    };
    for normalization in [
        Normalization::AsPresented,
        Normalization::Lowercase,
        Normalization::Fleet { bare_domain: None },
        Normalization::Fleet {
            bare_domain: Some("example.org".to_owned()),
        },
    ] {
        let rules = Rules {
            master_user_separators: vec!["%".to_owned(), String::new(), "**".to_owned()],
            normalization,
        };
        let Ok(identifier) = Identifier::from_login(login, &rules) else {
            continue;
        };
        let text = identifier.as_str();
        assert!(!text.is_empty() && text.len() <= MAX_BYTES);
        assert!(
            text.bytes()
                .all(|byte| byte > 0x20 && byte != 0x7f && byte != b'"')
        );
        // Without the cut: Unicode may turn other characters into a separator.
        let again = Identifier::normalized(text, &rules.normalization);
        assert_eq!(again.as_ref().map(Identifier::as_str), Ok(text), "{login:?}");
    }
});
