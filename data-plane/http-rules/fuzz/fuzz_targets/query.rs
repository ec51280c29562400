#![no_main]
//! Whatever a query of the management API is: a value, none, or a refusal, never a panic. What is written with every byte
//! escaped is read as what was meant, whatever stands around it.

use libfuzzer_sys::fuzz_target;
use mailswitch_http_rules::{NotUtf8, Query};

const NAME: &str = "identifier";

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let given = Query::new(&text);
    let found = given.get(NAME);
    if let Ok(Some(value)) = &found {
        assert!(!value.is_empty() && value.len() <= text.len());
    }
    // A later one changes nothing, and one without a value neither.
    if !matches!(found, Ok(None)) {
        assert_eq!(Query::new(&format!("{text}&{NAME}=other")).get(NAME), found);
        assert_eq!(Query::new(&format!("{NAME}=&{NAME}&{text}")).get(NAME), found);
    }
    let escaped: String = data.iter().map(|byte| format!("%{byte:02X}")).collect();
    let read = Query::new(&format!("x=1&{NAME}={escaped}&{text}")).get(NAME);
    match std::str::from_utf8(data) {
        // Without a value it is absent, and the next one counts.
        Ok("") => assert_eq!(read, found),
        Ok(meant) => assert_eq!(read, Ok(Some(meant.to_owned()))),
        Err(_) => assert_eq!(read, Err(NotUtf8)),
    }
});
