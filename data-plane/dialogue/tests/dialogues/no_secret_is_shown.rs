//! No `Debug` and no error text holds a password, a token, or what a backend repeats of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailswitch_dialogue::{Announce, BackendLeg, Input, Output};

use crate::support::*;

#[test]
fn a_login_shows_neither_its_credential_nor_its_name() {
    for protocol in PROTOCOLS {
        let login = login(protocol);
        assert_eq!(login.credential.expose(), b"\0ann@x.example\0pa55word");
        let shown = format!("{login:?} {:?} {:?}", login.credential, login.routing);
        assert!(!shown.contains("pa55word") && !shown.contains("ann@"), "{shown}");
        assert!(shown.contains("PLAIN"));
    }
}

#[test]
fn buffers_show_their_length_only() {
    let mut input = Input::new();
    input.push(b"a LOGIN ann pa55word\r\n");
    let mut output = Output::new();
    output.put(b"pa55word");
    assert_eq!(format!("{input:?} {output:?}"), "Input(22 bytes) Output(8 bytes)");
}

#[test]
fn a_backend_that_repeats_the_credential_does_not_get_it_into_an_error() {
    let frame = STANDARD.encode(b"\0ann@x.example\0pa55word");
    for protocol in PROTOCOLS {
        for echo in [
            format!("{frame} pa55word\r\n"),
            format!("* PREAUTH {frame} pa55word\r\n"),
            format!("* BYE {frame} pa55word\r\n"),
            format!("a1 NO {frame} pa55word\r\n"),
            format!("535 {frame} pa55word\r\n"),
            format!("-ERR {frame} pa55word\r\n"),
            format!("NO \"{frame} pa55word\"\r\n"),
            format!("BYE \"{frame} pa55word\"\r\n"),
            format!("\"x\" \"{frame} pa55word\"\r\n"),
            format!("+OK {frame} pa55word\r\n"),
        ] {
            let ready = run(
                backend(protocol, leg(BackendLeg::Plain, Announce::Nothing)),
                &[words(protocol).backend],
            )
            .done
            .unwrap()
            .unwrap();
            let replay = ready.replay(&login(protocol).credential);
            let shown = match &run(replay, &[echo.as_bytes()]).done {
                Some(Ok(answer)) => format!("{answer:?}"),
                Some(Err(error)) => format!("{error:?} {error}"),
                // A challenge, in IMAP.
                None => continue,
            };
            assert!(!shown.contains("pa55word") && !shown.contains(&frame), "{shown}");
        }
    }
}
