//! Bytes behind the login, on both legs, are the bridge's: once, in order, not looked at.

use mailswitch_dialogue::{Announce, Answer, BackendLeg, ClientOutcome, Protocol};

use crate::support::*;

#[test]
fn what_a_client_pipelines_behind_its_login_is_left_for_the_bridge() {
    for (protocol, script) in [
        (Protocol::Imap, &b"a LOGIN ann pw\r\n"[..]),
        (Protocol::Imap, b"a LOGIN ann {2+}\r\npw\r\n"),
        (Protocol::Imap, b"a AUTHENTICATE PLAIN\r\nAGEAYg==\r\n"),
        (Protocol::Pop3, b"USER ann\r\nPASS pw\r\n"),
        (Protocol::Pop3, b"AUTH PLAIN\r\nAGEAYg==\r\n"),
        (Protocol::ManageSieve, b"AUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n"),
        (
            Protocol::ManageSieve,
            b"AUTHENTICATE \"PLAIN\" {8+}\r\nAGEAYg==\r\n",
        ),
        (
            Protocol::ManageSieve,
            b"AUTHENTICATE \"LOGIN\"\r\n{4+}\r\nYQ==\r\n\"Yg==\"\r\n",
        ),
        (Protocol::Submission, b"EHLO x\r\nAUTH PLAIN AGEAYg==\r\n"),
        (Protocol::Submission, b"AUTH LOGIN\r\nYQ==\r\nYg==\r\n"),
    ] {
        let behind = b"b NOOP\r\nQUIT\r\n\0\xff half a li";
        let whole = [script, behind].concat();
        for cut in 0..=whole.len() {
            let run = run(client(protocol), &[&whole[..cut], &whole[cut..]]);
            assert!(matches!(run.done, Some(ClientOutcome::Login(_))));
            assert_eq!(run.rest, behind, "cut at {cut}");
        }
    }
}

#[test]
fn what_a_backend_sends_behind_its_answer_is_left_for_the_bridge() {
    for protocol in PROTOCOLS {
        let Words {
            backend, accepted, ..
        } = words(protocol);
        let login = login(protocol);
        let behind = b"* 3 EXISTS\r\n421 bye\r\n\0 half";
        let whole = [accepted, behind].concat();
        for cut in 0..=whole.len() {
            let handshake =
                mailswitch_dialogue::handshake(&login.command, leg(BackendLeg::Plain, Announce::Nothing));
            let ready = run(handshake, &[backend]).done.unwrap().unwrap();
            let replay = ready.replay(&login.credential);
            let run = run(replay, &[&whole[..cut], &whole[cut..]]);
            assert!(matches!(run.done, Some(Ok(Answer::Accepted { .. }))));
            assert_eq!(run.rest, behind, "cut at {cut}");
        }
    }
}
