//! A ManageSieve backend: what it is told before the credential, and what becomes of its answer (behaviour §4, §5.2, §6.3,
//! §6.6, §7.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailswitch_dialogue::{
    Announce, Announced, Answer, BackendLeg, BreakerClass, ClientOutcome, Excess, HandshakeError, Leg, Login,
    Protocol, Ready, ReplayError, Retry, Side, handshake,
};

use crate::support::*;

const XCLIENT: &str = "XCLIENT ADDR=192.0.2.7 PORT=40000 DESTADDR=198.51.100.1 DESTPORT=993 SESSION=s-1 TTL=6 CLIENT-TRANSPORT=TLS\r\n";

/// As Dovecot 2.3 greets whom it trusts.
const DOVECOT: &[u8] = b"\"IMPLEMENTATION\" \"Dovecot (Debian) Pigeonhole\"\r\n\"SIEVE\" \"fileinto reject\"\r\n\
    \"NOTIFY\" \"mailto\"\r\n\"SASL\" \"PLAIN LOGIN\"\r\n\"STARTTLS\"\r\n\"VERSION\" \"1.0\"\r\n\"XCLIENT\"\r\nOK \"Dovecot (Debian) ready.\"\r\n";

fn told() -> Announce {
    Announce::Attributes(attributes())
}

fn over(leg_: BackendLeg, announce: Announce, pieces: &[&[u8]]) -> (String, Result<Ready, HandshakeError>) {
    let run = run(backend(Protocol::ManageSieve, leg(leg_, announce)), pieces);
    (run.said, run.done.expect("an end"))
}

#[test]
fn dovecot_is_told_the_client() {
    for answer in [
        &b"OK \"Updated\"\r\n"[..],
        // Capabilities may come again.
        b"\"IMPLEMENTATION\" \"x\"\r\n\"SASL\" \"\"\r\nOK\r\n",
    ] {
        let (said, ready) = over(BackendLeg::Encrypted(tls()), told(), &[DOVECOT, answer]);
        assert_eq!(said, XCLIENT);
        let ready = ready.unwrap();
        assert_eq!(
            (ready.leg(), ready.announced()),
            (Leg::Encrypted, Announced::Accepted)
        );
    }
}

#[test]
fn xclient_is_not_sent_when_it_is_not_offered_or_not_wanted() {
    let (said, ready) = over(
        BackendLeg::Encrypted(tls()),
        told(),
        &[b"\"SIEVE\" \"XCLIENT\"\r\n\"NOXCLIENT\"\r\nOK\r\n"],
    );
    assert_eq!(
        (said.as_str(), ready.unwrap().announced()),
        ("", Announced::NotOffered)
    );
    let (said, ready) = over(BackendLeg::Encrypted(tls()), Announce::Nothing, &[DOVECOT]);
    assert_eq!(
        (said.as_str(), ready.unwrap().announced()),
        ("", Announced::Nothing)
    );
}

#[test]
fn what_was_listed_in_clear_is_forgotten_and_the_block_inside_tls_counts() {
    let (said, ready) = over(
        BackendLeg::StartTls,
        told(),
        &[
            DOVECOT,
            b"OK \"Begin TLS negotiation now.\"\r\n",
            b"\"SASL\" \"PLAIN\"\r\n\"XCLIENT\"\r\nOK \"TLS negotiation successful.\"\r\n",
            b"OK \"Updated\"\r\n",
        ],
    );
    assert_eq!(said, format!("STARTTLS\r\n{TLS}{XCLIENT}"));
    assert_eq!(ready.unwrap().announced(), Announced::Accepted);
    let (said, ready) = over(
        BackendLeg::StartTls,
        told(),
        &[DOVECOT, b"OK\r\n", b"\"SASL\" \"PLAIN\"\r\nOK\r\n"],
    );
    assert_eq!(said, format!("STARTTLS\r\n{TLS}"));
    let ready = ready.unwrap();
    assert_eq!(
        (ready.leg(), ready.announced()),
        (Leg::Encrypted, Announced::NotOffered)
    );
}

#[test]
fn a_capability_whose_value_is_a_literal_hides_no_other() {
    let (said, _) = over(
        BackendLeg::StartTls,
        Announce::Nothing,
        &[
            b"\"SIEVE\" {18}\r\nOK\r\n\"x\" \"y\"\r\nNO\r\n\r\n\"StartTLS\"\r\nOK {3}\r\nyes\r\n",
            b"OK\r\n",
            b"OK\r\n",
        ],
    );
    assert_eq!(said, format!("STARTTLS\r\n{TLS}"));
}

#[test]
fn every_failure_is_the_backends_is_counted_and_is_not_tried_again() {
    for (script, expected) in [
        ("NO \"no\"\r\n", "Greeting"),
        ("BYE \"full\"\r\n", "Greeting"),
        ("* OK imap\r\n", "Greeting"),
        ("\"XCLIENT\"\r\nBYE {4}\r\nfull\r\n", "Greeting"),
        ("\"XCLIENT\"\r\nOK\r\nNO \"no\"\r\n", "XclientRefused"),
        ("\"XCLIENT\"\r\nOK\r\nBYE\r\n", "Bye"),
        ("\"XCLIENT\"\r\nOK\r\nwhat\r\n", "Malformed"),
        ("\"XCLIENT\" \"a\" \"b\"\r\nOK\r\n", "Greeting"),
    ] {
        let (_, end) = over(BackendLeg::Encrypted(tls()), told(), &[script.as_bytes()]);
        let error = end.err().unwrap_or_else(|| panic!("{script:?} is no failure"));
        assert!(
            format!("{error:?}").starts_with(expected),
            "{script:?}: {error:?}"
        );
        assert_eq!(
            (error.side(), error.retry(), error.breaker()),
            (Side::Backend, Retry::No, BreakerClass::Client)
        );
    }
    let starttls = |behind: &[u8]| {
        let (_, end) = over(BackendLeg::StartTls, told(), &[DOVECOT, b"OK\r\n", behind]);
        format!("{:?}", end.unwrap_err())
    };
    assert!(starttls(b"NO \"no\"\r\n").starts_with("Refused"));
    assert!(starttls(b"BYE\r\n").starts_with("Bye"));
}

#[test]
fn a_backend_that_never_ends_its_capabilities_is_given_up() {
    for (endless, expected) in [
        ("\"X\"\r\n".to_owned(), Excess::Lines),
        (
            format!("\"X\" {{9000}}\r\n{}\r\n", "x".repeat(9000)),
            Excess::Bytes,
        ),
        ("x".to_owned(), Excess::Line),
        ("\"X\" {70000}\r\n".to_owned(), Excess::Bytes),
    ] {
        let script = endless.repeat(70_000 / endless.len().min(200));
        let (_, end) = over(BackendLeg::StartTls, told(), &[script.as_bytes()]);
        assert!(
            matches!(end, Err(HandshakeError::Excess(excess)) if excess == expected),
            "{expected:?}: {end:?}"
        );
    }
}

/// What was said, and the answer as (kind, relayed bytes).
fn answer(login: &Login, script: &str) -> (String, Result<(&'static str, String), ReplayError>) {
    let handshake = handshake(
        &login.command,
        leg(BackendLeg::Encrypted(tls()), Announce::Nothing),
    );
    let ready = run(handshake, &[DOVECOT]).done.unwrap().unwrap();
    let replay = ready.replay(&login.credential);
    let run = run(replay, &[script.as_bytes()]);
    let told = run.done.expect("an end").map(|answer| {
        let (kind, relay) = match &answer {
            Answer::Accepted { relay } => ("accepted", relay),
            Answer::Refused { relay } => ("refused", relay),
            Answer::Temporary { relay } => ("temporary", relay),
        };
        (kind, String::from_utf8_lossy(relay.as_bytes()).into_owned())
    });
    (run.said, told)
}

/// MDB: replies with literals are read to their end.
#[test]
fn the_answer_decides_and_is_relayed_with_its_literals_as_it_stands() {
    for (script, kind) in [
        ("OK \"Logged in.\"\r\n", "accepted"),
        ("ok\r\n", "accepted"),
        ("OK (SASL \"cnNwYXV0aD0=\") \"in\"\r\n", "accepted"),
        ("OK {9}\r\nNO\r\nyes\r\n\r\n", "accepted"),
        ("NO \"Authentication failed.\"\r\n", "refused"),
        ("NO {23}\r\nOK Authentication fail\"\r\n", "refused"),
        ("NO\r\n", "refused"),
        ("NO (AUTH-TOO-WEAK) \"no\"\r\n", "refused"),
        (
            "NO (TRYLATER) \"Temporary authentication failure.\"\r\n",
            "temporary",
        ),
        ("NO (trylater) {5}\r\nlater\r\n", "temporary"),
    ] {
        let (said, end) = answer(&login(Protocol::ManageSieve), script);
        assert_eq!(end.unwrap(), (kind, script.to_owned()));
        assert_eq!(
            said,
            "AUTHENTICATE \"PLAIN\" \"AGFubkB4LmV4YW1wbGUAcGE1NXdvcmQ=\"\r\n"
        );
    }
}

/// MDB: RFC 5804 §4 limits quoted strings.
#[test]
fn a_credential_over_1024_octets_is_sent_as_a_literal_that_does_not_wait() {
    for (length, literal) in [(768, false), (771, true)] {
        let frame = format!("\0ann\0{}", "p".repeat(length - 5));
        let encoded = STANDARD.encode(&frame);
        let script = format!("AUTHENTICATE \"PLAIN\" {{{}+}}\r\n{encoded}\r\n", encoded.len());
        let Some(ClientOutcome::Login(login)) = run(client(Protocol::ManageSieve), &[script.as_bytes()]).done
        else {
            panic!("no login")
        };
        let (said, end) = answer(&login, "OK\r\n");
        assert_eq!(end.unwrap().0, "accepted");
        if literal {
            assert_eq!(said, script);
        } else {
            assert_eq!(said, format!("AUTHENTICATE \"PLAIN\" \"{encoded}\"\r\n"));
        }
    }
}

/// MDB: the peer knows the quoted form only, and answers `AQ==` unquoted in every case.
#[test]
fn challenges_of_both_forms_are_answered_with_a_quoted_string() {
    let encoded = STANDARD.encode("n,a=ann@x.example,\x01auth=Bearer tok\x01\x01");
    let script = format!("AUTHENTICATE \"OAUTHBEARER\" \"{encoded}\"\r\n");
    let Some(ClientOutcome::Login(login)) = run(client(Protocol::ManageSieve), &[script.as_bytes()]).done
    else {
        panic!("no login")
    };
    for challenge in [
        "\"eyJzdGF0dXMiOiI0MDEifQ==\"\r\n",
        "{24}\r\neyJzdGF0dXMiOiI0MDEifQ==\r\n",
        "\"\"\r\n",
        "{0}\r\n\r\n",
    ] {
        let (said, end) = answer(&login, &format!("{challenge}NO \"no\"\r\n"));
        assert_eq!(said, format!("{script}\"AQ==\"\r\n"));
        assert_eq!(
            end.unwrap(),
            ("refused", "NO \"no\"\r\n".to_owned()),
            "the challenge is not shown"
        );
    }
}

#[test]
fn no_answer_is_a_failure_of_the_backend_that_is_never_tried_again() {
    let malformed = ReplayError::Malformed {
        expected: "ManageSieve reply",
    };
    for (script, expected) in [
        ("BYE \"full\"\r\n".to_owned(), ReplayError::Bye),
        ("garbage\r\n".to_owned(), malformed),
        ("\"SASL\" \"PLAIN\"\r\n".to_owned(), malformed),
        ("\"\"\r\nOK\r\n".to_owned(), ReplayError::AcceptedUnseen),
        ("\"\"\r\n".repeat(65), ReplayError::TooManyChallenges),
        ("NO {70000}\r\n".to_owned(), ReplayError::Excess(Excess::Bytes)),
        ("x".repeat(70_000), ReplayError::Excess(Excess::Line)),
    ] {
        let (_, end) = answer(&login(Protocol::ManageSieve), &script);
        let error = end.unwrap_err();
        assert_eq!(error, expected, "{script:.80?}");
        assert_eq!(
            (error.side(), error.retry(), error.breaker()),
            (Side::Backend, Retry::No, BreakerClass::Client)
        );
    }
}
