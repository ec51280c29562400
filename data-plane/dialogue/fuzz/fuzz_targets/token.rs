#![no_main]
//! Whatever a bearer token is: an account or none, never a panic; and a footer or claim that we write is read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use mailswitch_dialogue::Routing;
use mailswitch_dialogue::sasl::token::routing;

fuzz_target!(|data: &[u8]| {
    let _ = routing(data, "email");
    let _ = routing(&[b"sw1.", data].concat(), "email");
    let _ = routing(
        format!("h.{}.s", URL_SAFE_NO_PAD.encode(data)).as_bytes(),
        "email",
    );
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if !text.is_empty() {
        let footer = format!("sw1.body.{}", URL_SAFE_NO_PAD.encode(text));
        assert_eq!(
            routing(footer.as_bytes(), "email"),
            Routing::Login(text.to_owned())
        );
    }
});
