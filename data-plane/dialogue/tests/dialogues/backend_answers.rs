//! What a backend answers to the credential, and what becomes of it (behaviour §6.6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailswitch_dialogue::Excess;
use mailswitch_dialogue::{
    Announce, Answer, BackendLeg, BreakerClass, ClientOutcome, Login, Protocol, Replay, ReplayError, Retry,
    Side,
};

use crate::support::*;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SaslIr {
    Yes,
    No,
}

fn login_with(protocol: Protocol, mechanism: &str, frame: &str) -> Box<Login> {
    let encoded = STANDARD.encode(frame);
    let script = authenticate(protocol, "a1", mechanism, Some(&encoded));
    match run(client(protocol), &[script.as_bytes()]).done {
        Some(ClientOutcome::Login(login)) => login,
        other => panic!("{other:?}"),
    }
}

fn replay_of(protocol: Protocol, ir: SaslIr, login: &Login) -> Replay {
    let greeting: &[u8] = match (protocol, ir) {
        (Protocol::Imap, SaslIr::No) => b"* OK [CAPABILITY IMAP4rev1] hi\r\n",
        (protocol, _) => words(protocol).backend,
    };
    let handshake = mailswitch_dialogue::handshake(
        &login.command,
        leg(BackendLeg::Encrypted(tls()), Announce::Nothing),
    );
    let ready = run(handshake, &[greeting]).done.unwrap().unwrap();
    ready.replay(&login.credential)
}

/// What was said, and the answer as (kind, relayed bytes).
fn answer(
    protocol: Protocol,
    ir: SaslIr,
    script: &str,
) -> (String, Result<(&'static str, String), ReplayError>) {
    let run = run(replay_of(protocol, ir, &login(protocol)), &[script.as_bytes()]);
    (run.said, run.done.expect("an end").map(told))
}

fn told(answer: Answer) -> (&'static str, String) {
    let (kind, relay) = match &answer {
        Answer::Accepted { relay } => ("accepted", relay),
        Answer::Refused { relay } => ("refused", relay),
        Answer::Temporary { relay } => ("temporary", relay),
    };
    (kind, String::from_utf8_lossy(relay.as_bytes()).into_owned())
}

const FRAME: &str = "AGFubkB4LmV4YW1wbGUAcGE1NXdvcmQ=";

#[test]
fn the_answer_decides_and_is_relayed_as_it_stands() {
    use Protocol::{Imap, Submission};
    for (protocol, script, kind, relay) in [
        (Imap, "a1 OK Logged in\r\n", "accepted", "a1 OK Logged in\r\n"),
        (
            Imap,
            "* CAPABILITY IMAP4rev1 IDLE\r\na1 OK [CAPABILITY IMAP4rev1] Logged in\n",
            "accepted",
            "* CAPABILITY IMAP4rev1 IDLE\r\na1 OK [CAPABILITY IMAP4rev1] Logged in\r\n",
        ),
        (
            Imap,
            "* OK [ALERT] be good\r\na1 ok\r\n",
            "accepted",
            "* OK [ALERT] be good\r\na1 ok\r\n",
        ),
        (
            Imap,
            "* X {10}\r\na1 NO no\r\n\r\na1 OK x\r\n",
            "accepted",
            "* X {10}\r\na1 NO no\r\n\r\na1 OK x\r\n",
        ),
        (
            Imap,
            "a1 NO [AUTHENTICATIONFAILED] Authentication failed.\r\n",
            "refused",
            "a1 NO [AUTHENTICATIONFAILED] Authentication failed.\r\n",
        ),
        (
            Imap,
            "* NO sorry\r\na1 BAD what\r\n",
            "refused",
            "* NO sorry\r\na1 BAD what\r\n",
        ),
        (
            Imap,
            "a1 NO [UNAVAILABLE] Temporary authentication failure.\r\n",
            "temporary",
            "a1 NO [UNAVAILABLE] Temporary authentication failure.\r\n",
        ),
        (
            Submission,
            "235 2.7.0 Authentication successful\r\n",
            "accepted",
            "235 2.7.0 Authentication successful\r\n",
        ),
        (
            Submission,
            "235-2.7.0 hello\r\n235 2.7.0 ok\r\n",
            "accepted",
            "235-2.7.0 hello\r\n235 2.7.0 ok\r\n",
        ),
        (
            Submission,
            "535 5.7.8 Error: authentication failed\r\n",
            "refused",
            "535 5.7.8 Error: authentication failed\r\n",
        ),
        (Submission, "503 5.5.1 no\r\n", "refused", "503 5.5.1 no\r\n"),
        (
            Submission,
            "454 4.7.0 Temporary authentication failure\r\n",
            "temporary",
            "454 4.7.0 Temporary authentication failure\r\n",
        ),
        (
            Submission,
            "421 4.3.2 going down\r\n",
            "temporary",
            "421 4.3.2 going down\r\n",
        ),
    ] {
        let (_, end) = answer(protocol, SaslIr::Yes, script);
        assert_eq!(end.unwrap(), (kind, relay.to_owned()), "{script:?}");
    }
}

#[test]
fn the_credential_is_sent_at_once_where_that_is_allowed_and_asked_for_elsewhere() {
    assert_eq!(
        answer(Protocol::Imap, SaslIr::Yes, "a1 OK\r\n").0,
        format!("a1 AUTHENTICATE PLAIN {FRAME}\r\n")
    );
    assert_eq!(
        answer(Protocol::Imap, SaslIr::No, "+ \r\na1 OK\r\n").0,
        format!("a1 AUTHENTICATE PLAIN\r\n{FRAME}\r\n")
    );
    assert_eq!(
        answer(Protocol::Submission, SaslIr::Yes, "235 ok\r\n").0,
        format!("AUTH PLAIN {FRAME}\r\n")
    );
    // Longer than a command line may be.
    let long = format!("\0ann\0{}", "p".repeat(30_000));
    for (protocol, script, command) in [
        (Protocol::Imap, "+\r\na1 OK\r\n", "a1 AUTHENTICATE PLAIN\r\n"),
        (Protocol::Submission, "334 \r\n235 ok\r\n", "AUTH PLAIN\r\n"),
    ] {
        let run = run(
            replay_of(protocol, SaslIr::Yes, &login_with(protocol, "PLAIN", &long)),
            &[script.as_bytes()],
        );
        assert_eq!(run.said, format!("{command}{}\r\n", STANDARD.encode(&long)));
        assert!(matches!(run.done, Some(Ok(Answer::Accepted { .. }))));
    }
}

#[test]
fn later_challenges_end_the_exchange_in_the_way_of_the_mechanism() {
    let oauth = "n,a=ann@x.example,\x01auth=Bearer tok\x01\x01";
    let xoauth2 = "user=ann@x.example\x01auth=Bearer tok\x01\x01";
    for (mechanism, frame, response) in [
        ("OAUTHBEARER", oauth, "AQ=="),
        ("XOAUTH2", xoauth2, ""),
        ("PLAIN", "\0ann\0pw", "*"),
    ] {
        for protocol in PROTOCOLS {
            let words = words(protocol);
            let login = login_with(protocol, mechanism, frame);
            let run = run(
                replay_of(protocol, SaslIr::Yes, &login),
                &[words.challenge, words.refused],
            );
            let response = crate::support::response(protocol, response);
            assert!(run.said.ends_with(&format!("\r\n{response}")), "{}", run.said);
            assert_eq!(
                told(run.done.unwrap().unwrap()),
                ("refused", String::from_utf8(words.refused.to_vec()).unwrap()),
                "the challenge is not shown"
            );
        }
    }
}

#[test]
fn no_answer_is_a_failure_of_the_backend_that_is_never_tried_again() {
    use Protocol::{Imap, Submission};
    let malformed = ReplayError::Malformed {
        expected: "IMAP reply",
    };
    for (protocol, ir, script, expected) in [
        (Imap, SaslIr::Yes, "* BYE\r\n".to_owned(), ReplayError::Bye),
        (Imap, SaslIr::Yes, "* PREAUTH\r\n".to_owned(), malformed),
        (Imap, SaslIr::Yes, "A1 OK not our tag\r\n".to_owned(), malformed),
        (Imap, SaslIr::Yes, "garbage\r\n".to_owned(), malformed),
        (
            Imap,
            SaslIr::No,
            "a1 OK already\r\n".to_owned(),
            ReplayError::AcceptedUnseen,
        ),
        (
            Imap,
            SaslIr::Yes,
            "+ \r\na1 OK\r\n".to_owned(),
            ReplayError::AcceptedUnseen,
        ),
        (
            Imap,
            SaslIr::Yes,
            "+ \r\n".repeat(65),
            ReplayError::TooManyChallenges,
        ),
        (
            Imap,
            SaslIr::Yes,
            "* 1 EXISTS\r\n".repeat(257),
            ReplayError::Excess(Excess::Lines),
        ),
        (
            Imap,
            SaslIr::Yes,
            format!("* {}\r\n", "x".repeat(40_000)).repeat(2),
            ReplayError::Excess(Excess::Bytes),
        ),
        (
            Submission,
            SaslIr::Yes,
            "334 \r\n".repeat(65),
            ReplayError::TooManyChallenges,
        ),
        (
            Submission,
            SaslIr::Yes,
            "hello\r\n".to_owned(),
            ReplayError::Malformed {
                expected: "SMTP reply",
            },
        ),
        (
            Submission,
            SaslIr::Yes,
            "235-x\r\n".repeat(257),
            ReplayError::Excess(Excess::Lines),
        ),
    ] {
        let (_, end) = answer(protocol, ir, &script);
        let error = end.unwrap_err();
        assert_eq!(error, expected, "{script:.80?}");
        assert_eq!(
            (error.side(), error.retry(), error.breaker()),
            (Side::Backend, Retry::No, BreakerClass::Client)
        );
    }
    assert_eq!(ReplayError::Closed.retry(), Retry::No);
}
