#![no_main]
//! Whatever a credential's frame holds: what is accepted is kept byte for byte, and a second reader sees the same
//! person. Also as the client's response inside a dialogue.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use mailswitch_dialogue::sasl::Frame;
use mailswitch_dialogue::{ClientOutcome, Credential, Protocol};

#[path = "driver.rs"]
mod driver;

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let frame = [Frame::Plain, Frame::OauthBearer, Frame::Xoauth2][usize::from(first % 3)];
    let parsed = Credential::parse(frame, bytes.to_vec().into(), "email");
    let line = [
        b"a AUTHENTICATE ",
        frame.as_str().as_bytes(),
        b"\r\n",
        STANDARD.encode(bytes).as_bytes(),
        b"\r\n",
    ]
    .concat();
    let read = driver::play(driver::encrypted_client(Protocol::Imap), &line, 0).0;
    match (parsed, read) {
        (Ok((credential, routing)), Some(ClientOutcome::Login(login))) => {
            assert_eq!(credential.expose(), bytes);
            assert_eq!(login.credential.expose(), bytes);
            assert_eq!(login.routing, routing);
        }
        (Err(_), None) => {}
        (parsed, read) => panic!("{parsed:?} and {read:?} differ"),
    }
    if let Some(nul) = bytes.iter().position(|byte| *byte == 0) {
        let (user, password) = (&bytes[..nul], &bytes[nul + 1..]);
        if let Ok((credential, _)) = Credential::password(user, password) {
            assert!(!password.contains(&0));
            assert_eq!(credential.expose(), [b"\0", user, b"\0", password].concat());
        }
    }
});
