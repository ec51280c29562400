#![no_main]
//! A token in `Authorization`: what we write into it is read, and whatever else it is, it is a login or none.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use mailswitch_http_rules::{Extracted, Extractor, Opening, Pseudonym, Received, Refusal};

fn login(authorization: &[u8]) -> Option<Result<Extracted, Refusal>> {
    let (mut head, ()) = Request::new(()).into_parts();
    head.headers.insert("host", HeaderValue::from_static("a.example"));
    head.headers
        .insert("authorization", HeaderValue::from_bytes(authorization).ok()?);
    let request = Received::read(head, Opening::Http1, &Pseudonym::of(1)).expect("a plain head");
    Some(Extractor::Authorization.from_head(&request, "email"))
}

fuzz_target!(|data: &[u8]| {
    let _ = login(data);
    let _ = login(&[b"Basic ", data].concat());
    let _ = login(&[b"Bearer ", data].concat());
    let _ = login(format!("Basic {}", STANDARD.encode(data)).as_bytes());
    let _ = login(format!("Bearer h.{}.s", URL_SAFE_NO_PAD.encode(data)).as_bytes());
    if let Ok(text) = std::str::from_utf8(data)
        && !text.is_empty()
    {
        let token = format!("bearer sw1.b.{}", URL_SAFE_NO_PAD.encode(text));
        assert_eq!(
            login(token.as_bytes()),
            Some(Ok(Extracted::Login(text.to_owned())))
        );
    }
});
