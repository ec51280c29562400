//! No credential is taken or sent over a leg in clear unless the policy value says so (behaviour §2, §4 step 8).

use mailswitch_dialogue::{
    Announce, Answer, BackendLeg, BreakerClass, CleartextAuth, ClientLeg, ClientOutcome, HandshakeConfig,
    HandshakeError, InsecureLeg, Leg, PlaintextAuth, Protocol, Retry, Side,
};

use crate::support::*;

const LOGINS: [(Protocol, &[u8]); 18] = [
    (Protocol::Imap, b"a LOGIN ann pw\r\n"),
    (Protocol::Imap, b"a LOGIN ann {2}\r\n"),
    (Protocol::Imap, b"a LOGIN ann {2+}\r\npw\r\n"),
    (Protocol::Imap, b"a AUTHENTICATE PLAIN AGEAYg==\r\n"),
    (Protocol::Imap, b"a AUTHENTICATE LOGIN\r\n"),
    (
        Protocol::Imap,
        b"a AUTHENTICATE OAUTHBEARER bixhPWFAeCwBYXV0aD1CZWFyZXIgdAEB\r\n",
    ),
    (Protocol::Pop3, b"USER ann\r\n"),
    (Protocol::Pop3, b"PASS pw\r\n"),
    (Protocol::Pop3, b"AUTH PLAIN AGEAYg==\r\n"),
    (Protocol::Pop3, b"AUTH PLAIN\r\n"),
    (Protocol::Pop3, b"AUTH LOGIN\r\n"),
    (Protocol::ManageSieve, b"AUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n"),
    (
        Protocol::ManageSieve,
        b"AUTHENTICATE \"PLAIN\" {8+}\r\nAGEAYg==\r\n",
    ),
    (Protocol::ManageSieve, b"AUTHENTICATE \"LOGIN\"\r\n"),
    (Protocol::Submission, b"AUTH PLAIN AGEAYg==\r\n"),
    (Protocol::Submission, b"AUTH PLAIN\r\n"),
    (Protocol::Submission, b"AUTH LOGIN\r\n"),
    (
        Protocol::Submission,
        b"AUTH XOAUTH2 dXNlcj1hQHgBYXV0aD1CZWFyZXIgdAEB\r\n",
    ),
];

#[test]
fn a_client_in_clear_is_refused_before_it_is_asked_and_that_does_not_count() {
    for (protocol, script) in LOGINS {
        for leg in [ClientLeg::Plain, ClientLeg::StartTls] {
            let run = run(
                client_on(protocol, leg, CleartextAuth::Refused),
                &[&script.repeat(5)],
            );
            let words = words(protocol);
            assert_eq!(
                run.said.matches(words.not_private).count(),
                5,
                "{}: {}",
                script.escape_ascii(),
                run.said
            );
            assert!(
                !run.said.contains(&format!("\n{}", words.prompt)),
                "nothing secret is asked for"
            );
            assert!(!run.said.contains(words.advertises), "no mechanism is advertised");
            assert!(run.done.is_none());
        }
    }
}

#[test]
fn a_client_in_clear_is_heard_when_the_policy_says_so() {
    for (protocol, script) in [
        (Protocol::Imap, &b"a LOGIN ann pw\r\n"[..]),
        (Protocol::Imap, b"a AUTHENTICATE PLAIN AGEAYg==\r\n"),
        (Protocol::Pop3, b"CAPA\r\nUSER ann\r\nPASS pw\r\n"),
        (Protocol::Pop3, b"CAPA\r\nAUTH PLAIN AGEAYg==\r\n"),
        (Protocol::ManageSieve, b"AUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n"),
        (Protocol::Submission, b"EHLO x\r\nAUTH PLAIN AGEAYg==\r\n"),
    ] {
        let run = run(
            client_on(protocol, ClientLeg::Plain, CleartextAuth::Allowed),
            &[script],
        );
        assert!(matches!(run.done, Some(ClientOutcome::Login(_))));
        assert!(run.said.contains(words(protocol).advertises) && !run.said.contains("LOGINDISABLED"));
    }
}

/// Nothing at all: XCLIENT and ID would say in clear who the client is (behaviour §4, steps 8 and 9).
#[test]
fn a_backend_leg_in_clear_is_told_nothing_unless_the_policy_says_so() {
    for protocol in PROTOCOLS {
        let words = words(protocol);
        let config = |plaintext| HandshakeConfig {
            plaintext,
            ..leg(BackendLeg::Plain, Announce::Attributes(attributes()))
        };
        let refused = run(
            backend(protocol, config(PlaintextAuth::Refused)),
            &[words.backend],
        );
        assert_eq!(refused.said, "");
        let error = refused.done.unwrap().unwrap_err();
        assert_eq!(error, HandshakeError::Insecure(InsecureLeg));
        assert_eq!(
            (error.side(), error.retry(), error.breaker()),
            (Side::Policy, Retry::No, BreakerClass::None)
        );
        let config = leg(BackendLeg::Plain, Announce::Nothing);
        let ready = run(backend(protocol, config), &[words.backend])
            .done
            .unwrap()
            .unwrap();
        assert_eq!(ready.leg(), Leg::Clear);
        let replay = ready.replay(&login(protocol).credential);
        assert!(matches!(
            run(replay, &[words.accepted]).done,
            Some(Ok(Answer::Accepted { .. }))
        ));
    }
}
