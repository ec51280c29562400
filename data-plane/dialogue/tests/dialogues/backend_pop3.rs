//! A POP3 backend: what it is asked and told before the credential, and what becomes of its answer (behaviour §4, §5.2,
//! §6.2, §6.6, §7.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailswitch_dialogue::{
    Announce, Announced, Answer, BackendLeg, BreakerClass, ClientOutcome, Excess, HandshakeError, Leg, Login,
    Protocol, Ready, ReplayError, Retry, Side, Utf8Announced, handshake,
};

use crate::support::*;

const XCLIENT: &str = "XCLIENT ADDR=192.0.2.7 PORT=40000 DESTADDR=198.51.100.1 DESTPORT=993 SESSION=s-1 TTL=6 CLIENT-TRANSPORT=TLS\r\n";

fn told() -> Announce {
    Announce::Attributes(attributes())
}

/// A login that was preceded by these commands.
fn login_after(commands: &str) -> Box<Login> {
    let script = [commands.as_bytes(), words(Protocol::Pop3).login].concat();
    match run(client(Protocol::Pop3), &[&script]).done {
        Some(ClientOutcome::Login(login)) => login,
        other => panic!("{other:?}"),
    }
}

fn over(
    leg_: BackendLeg,
    announce: Announce,
    commands: &str,
    pieces: &[&[u8]],
) -> (String, Result<Ready, HandshakeError>) {
    let run = run(
        handshake(&login_after(commands).command, leg(leg_, announce)),
        pieces,
    );
    (run.said, run.done.expect("an end"))
}

fn over_tls(announce: Announce, commands: &str, pieces: &[&[u8]]) -> (String, Result<Ready, HandshakeError>) {
    over(BackendLeg::Encrypted(tls()), announce, commands, pieces)
}

#[test]
fn nothing_is_asked_of_a_backend_where_its_answer_would_not_matter() {
    let (said, ready) = over_tls(Announce::Nothing, "", &[b"+OK ready\r\n"]);
    let ready = ready.unwrap();
    assert_eq!(said, "");
    assert_eq!(
        (ready.leg(), ready.announced(), ready.utf8()),
        (Leg::Encrypted, Announced::Nothing, Utf8Announced::NotAsked)
    );
}

#[test]
fn dovecot_is_told_the_client_when_its_greeting_offers_it() {
    let (said, ready) = over_tls(
        told(),
        "",
        &[b"+OK [XCLIENT] Dovecot (Debian) ready.\r\n", b"+OK Updated\r\n"],
    );
    assert_eq!(
        (said.as_str(), ready.unwrap().announced()),
        (XCLIENT, Announced::Accepted)
    );
}

/// MDB.
#[test]
fn a_backend_that_lists_xclient_among_its_capabilities_is_told_too() {
    let (said, ready) = over_tls(
        told(),
        "",
        &[b"+OK ready\r\n", b"+OK\r\nTOP\r\nxclient\r\n.\r\n", b"+OK\r\n"],
    );
    assert_eq!(said, format!("CAPA\r\n{XCLIENT}"));
    assert_eq!(ready.unwrap().announced(), Announced::Accepted);
    for capa in ["+OK\r\nTOP\r\nXCLIENTS\r\n.\r\n", "-ERR what\r\n"] {
        let (said, ready) = over_tls(told(), "", &[b"+OK ready\r\n", capa.as_bytes()]);
        assert_eq!(
            (said.as_str(), ready.unwrap().announced()),
            ("CAPA\r\n", Announced::NotOffered)
        );
    }
}

/// Dovecot says `[XCLIENT]` in its greeting only, which is not said again inside TLS.
#[test]
fn what_the_greeting_offered_in_clear_is_asked_inside_tls_and_a_refusal_does_no_harm() {
    let start: [&[u8]; 4] = [
        b"+OK [XCLIENT] Dovecot ready.\r\n",
        b"+OK\r\nTOP\r\nSTLS\r\n.\r\n",
        b"+OK Begin TLS negotiation now.\r\n",
        b"+OK\r\nTOP\r\n.\r\n",
    ];
    for (answer, announced) in [
        (&b"+OK Updated\r\n"[..], Announced::Accepted),
        (b"-ERR Unknown command.\r\n", Announced::Ignored),
    ] {
        let (said, ready) = over(
            BackendLeg::StartTls,
            told(),
            "",
            &[&start[..], &[answer]].concat(),
        );
        assert_eq!(said, format!("CAPA\r\nSTLS\r\n{TLS}CAPA\r\n{XCLIENT}"));
        assert_eq!(ready.unwrap().announced(), announced);
    }
}

#[test]
fn an_address_of_ipv6_is_told_bare() {
    let mut client = attributes();
    client.client = "[2001:db8::7]:40000".parse().unwrap();
    let (said, _) = over_tls(
        Announce::Attributes(client),
        "",
        &[b"+OK [XCLIENT] x\r\n", b"+OK\r\n"],
    );
    assert!(said.starts_with("XCLIENT ADDR=2001:db8::7 PORT=40000 "), "{said}");
}

/// MDB: the peer loses it, and RFC 6856 allows it only before login.
#[test]
fn a_clients_utf8_is_remembered_and_said_to_a_backend_that_lists_it() {
    for (capa, answer, said, utf8) in [
        (
            "+OK\r\nUTF8 USER\r\n.\r\n",
            "+OK\r\n",
            "CAPA\r\nUTF8\r\n",
            Utf8Announced::Accepted,
        ),
        (
            "+OK\r\nUTF8\r\n.\r\n",
            "-ERR no\r\n",
            "CAPA\r\nUTF8\r\n",
            Utf8Announced::Refused,
        ),
        ("+OK\r\nTOP\r\n.\r\n", "", "CAPA\r\n", Utf8Announced::NotOffered),
        ("-ERR what\r\n", "", "CAPA\r\n", Utf8Announced::NotOffered),
    ] {
        let pieces = [&b"+OK hi\r\n"[..], capa.as_bytes(), answer.as_bytes()];
        let (heard, ready) = over_tls(Announce::Nothing, "UTF8\r\n", &pieces);
        assert_eq!((heard.as_str(), ready.unwrap().utf8()), (said, utf8), "{capa:?}");
    }
    let (said, ready) = over_tls(
        told(),
        "UTF8\r\n",
        &[
            b"+OK [XCLIENT] hi\r\n",
            b"+OK\r\nUTF8\r\n.\r\n",
            b"+OK Updated\r\n",
            b"+OK\r\n",
        ],
    );
    assert_eq!(said, format!("CAPA\r\n{XCLIENT}UTF8\r\n"), "behind XCLIENT");
    assert_eq!(ready.unwrap().utf8(), Utf8Announced::Accepted);
}

#[test]
fn every_failure_is_the_backends_is_counted_and_is_not_tried_again() {
    for (script, expected) in [
        ("-ERR full\r\n", "Greeting"),
        ("* OK imap\r\n", "Greeting"),
        ("+ what\r\n", "Greeting"),
        ("+OK hi\r\n+ \r\n", "Malformed"),
        ("+OK hi\r\nnonsense\r\n", "Malformed"),
        ("+OK [XCLIENT] hi\r\n-ERR no\r\n", "XclientRefused"),
        ("+OK [XCLIENT] hi\r\nwhat\r\n", "Malformed"),
    ] {
        let (_, end) = over_tls(told(), "", &[script.as_bytes()]);
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
}

#[test]
fn a_backend_that_never_ends_its_reply_is_given_up() {
    for (greeting, endless, expected) in [
        ("+OK hi\r\n+OK\r\n", "UIDL\r\n".to_owned(), Excess::Lines),
        (
            "+OK hi\r\n+OK\r\n",
            format!("{}\r\n", "x".repeat(9000)),
            Excess::Bytes,
        ),
        ("+OK hi\r\n+OK\r\n", "x".to_owned(), Excess::Line),
        ("", "+".to_owned(), Excess::Line),
    ] {
        let script = greeting.to_owned() + &endless.repeat(70_000 / endless.len().min(200));
        let (_, end) = over_tls(told(), "", &[script.as_bytes()]);
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
    let ready = run(handshake, &[b"+OK hi\r\n"]).done.unwrap().unwrap();
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

#[test]
fn the_answer_decides_and_is_relayed_as_it_stands() {
    for (script, kind) in [
        ("+OK Logged in.\r\n", "accepted"),
        ("+ok\r\n", "accepted"),
        ("-ERR [AUTH] Authentication failed.\r\n", "refused"),
        ("-ERR no\r\n", "refused"),
        ("-ERR [SYS/PERM] no\r\n", "refused"),
        (
            "-ERR [SYS/TEMP] Temporary authentication failure.\r\n",
            "temporary",
        ),
        ("-ERR [IN-USE] locked\r\n", "temporary"),
        ("-ERR [LOGIN-DELAY] wait\r\n", "temporary"),
    ] {
        let (said, end) = answer(&login(Protocol::Pop3), script);
        assert_eq!(end.unwrap(), (kind, script.to_owned()));
        assert_eq!(said, "AUTH PLAIN AGFubkB4LmV4YW1wbGUAcGE1NXdvcmQ=\r\n");
    }
}

/// MDB: RFC 5034 §4.
#[test]
fn a_credential_over_255_octets_is_sent_behind_the_prompt() {
    // 11 octets of command, 2 of line end, and base64 of 180 or of 183 bytes.
    for (length, prompted) in [(180, false), (183, true)] {
        let frame = format!("\0ann\0{}", "p".repeat(length - 5));
        let encoded = STANDARD.encode(&frame);
        let script = format!("AUTH PLAIN {encoded}\r\n");
        let Some(ClientOutcome::Login(login)) = run(client(Protocol::Pop3), &[script.as_bytes()]).done else {
            panic!("no login")
        };
        let (said, end) = if prompted {
            answer(&login, "+ \r\n+OK\r\n")
        } else {
            answer(&login, "+OK\r\n")
        };
        assert_eq!(end.unwrap().0, "accepted");
        if prompted {
            assert_eq!(said, format!("AUTH PLAIN\r\n{encoded}\r\n"));
        } else {
            assert_eq!(said, format!("AUTH PLAIN {encoded}\r\n"));
            assert!(said.len() <= 255);
        }
    }
}

#[test]
fn no_answer_is_a_failure_of_the_backend_that_is_never_tried_again() {
    let malformed = ReplayError::Malformed {
        expected: "POP3 reply",
    };
    for (script, expected) in [
        ("garbage\r\n".to_owned(), malformed),
        ("a1 OK\r\n".to_owned(), malformed),
        ("+ \r\n+OK\r\n".to_owned(), ReplayError::AcceptedUnseen),
        ("+ \r\n".repeat(65), ReplayError::TooManyChallenges),
        ("+".repeat(70_000), ReplayError::Excess(Excess::Line)),
    ] {
        let (_, end) = answer(&login(Protocol::Pop3), &script);
        let error = end.unwrap_err();
        assert_eq!(error, expected, "{script:.80?}");
        assert_eq!(
            (error.side(), error.retry(), error.breaker()),
            (Side::Backend, Retry::No, BreakerClass::Client)
        );
    }
}
