//! Handshakes with backends as they are: what is asked, what is told about the client, and every way to fail
//! (behaviour §4, §5, §6.1, §6.4, §7.2).

use mailswitch_dialogue::{
    Announce, Announced, BackendLeg, BreakerClass, ClientCommand, ClientOutcome, Excess, HandshakeConfig,
    HandshakeError, Leg, PlaintextAuth, Protocol, Ready, Retry, Side, handshake,
};

use crate::support::*;

fn told() -> Announce {
    Announce::Attributes(attributes())
}

fn over_tls(
    protocol: Protocol,
    announce: Announce,
    pieces: &[&[u8]],
) -> (String, Result<Ready, HandshakeError>) {
    let run = run(
        backend(protocol, leg(BackendLeg::Encrypted(tls()), announce)),
        pieces,
    );
    (run.said, run.done.expect("an end"))
}

const ID: &str = "F1 ID (\"x-originating-ip\" \"192.0.2.7\" \"x-originating-port\" \"40000\" \"x-connected-ip\" \"198.51.100.1\" \
     \"x-connected-port\" \"993\" \"x-proxy-ttl\" \"6\" \"x-session-id\" \"s-1\" \"x-client-transport\" \"TLS\")\r\n";

#[test]
fn dovecot_is_told_the_client_by_id() {
    let (said, ready) = over_tls(
        Protocol::Imap,
        told(),
        &[
            b"* OK [CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN] Dovecot (Debian) ready.\r\n",
            b"* ID (\"name\" \"Dovecot\")\r\nF1 OK ID completed.\r\n",
        ],
    );
    assert_eq!(said, ID);
    let ready = ready.unwrap();
    assert_eq!(
        (ready.leg(), ready.announced()),
        (Leg::Encrypted, Announced::Accepted)
    );
}

#[test]
fn an_imap_backend_may_write_our_tags_in_any_case() {
    let (said, ready) = over_tls(
        Protocol::Imap,
        told(),
        &[
            b"* OK ready\r\n",
            b"* CAPABILITY IMAP4rev1 ID\r\nc1 ok\r\n",
            b"f1 Ok\r\n",
        ],
    );
    assert_eq!(said, format!("C1 CAPABILITY\r\n{ID}"));
    assert_eq!(ready.unwrap().announced(), Announced::Accepted);
}

#[test]
fn an_imap_backend_that_does_not_say_what_it_can_is_asked() {
    let (said, ready) = over_tls(
        Protocol::Imap,
        told(),
        &[
            b"* OK ready\r\n",
            b"* CAPABILITY IMAP4rev1\r\n* CAPABILITY IMAP4rev1 id\r\nC1 OK\r\n",
            b"F1 NO not for you\r\n",
        ],
    );
    assert_eq!(said, format!("C1 CAPABILITY\r\n{ID}"));
    assert_eq!(ready.unwrap().announced(), Announced::Ignored);

    let (said, ready) = over_tls(
        Protocol::Imap,
        told(),
        &[b"* OK [CAPABILITY IMAP4rev1] ready\r\n"],
    );
    assert_eq!(
        (said.as_str(), ready.unwrap().announced()),
        ("", Announced::NotOffered)
    );

    let (said, ready) = over_tls(
        Protocol::Imap,
        Announce::Nothing,
        &[b"* OK [CAPABILITY IMAP4rev1 ID] ready\r\n"],
    );
    assert_eq!(
        (said.as_str(), ready.unwrap().announced()),
        ("", Announced::Nothing)
    );
}

#[test]
fn postfix_is_told_the_client_by_xclient_and_greeted_again() {
    let (said, ready) = over_tls(
        Protocol::Submission,
        told(),
        &[
            b"220 mx.example ESMTP Postfix (Debian/GNU)\r\n",
            b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-ETRN\r\n250-AUTH PLAIN LOGIN\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT\r\n250 CHUNKING\r\n",
            b"220 mx.example ESMTP Postfix (Debian/GNU)\r\n",
            b"250-mx.example\r\n250 AUTH PLAIN\r\n",
        ],
    );
    assert_eq!(
        said,
        "EHLO mx.example\r\nXCLIENT ADDR=192.0.2.7 PORT=40000 DESTADDR=198.51.100.1 DESTPORT=993 PROTO=ESMTP\r\nEHLO mx.example\r\n"
    );
    assert_eq!(ready.unwrap().announced(), Announced::Accepted);
}

#[test]
fn xclient_is_not_sent_when_it_is_not_offered_or_lists_nothing_of_ours() {
    for listed in [
        "250 AUTH PLAIN\r\n",
        "250 XCLIENT\r\n",
        "250 XCLIENT LOGIN NAME\r\n",
    ] {
        let (said, ready) = over_tls(
            Protocol::Submission,
            told(),
            &[b"220 hi\r\n", format!("250-hi\r\n{listed}").as_bytes()],
        );
        assert_eq!(
            (said.as_str(), ready.unwrap().announced()),
            ("EHLO mx.example\r\n", Announced::NotOffered)
        );
    }
}

#[test]
fn the_backend_hears_the_clients_ehlo_argument_unless_it_cannot_be_said() {
    let helo = |client: &[u8], hostname: Option<&str>| {
        let script = [b"EHLO ", client, b"\r\nAUTH PLAIN AGEAYg==\r\n"].concat();
        let Some(ClientOutcome::Login(login)) =
            run(crate::support::client(Protocol::Submission), &[&script]).done
        else {
            panic!("no login")
        };
        let config = HandshakeConfig {
            leg: BackendLeg::Plain,
            plaintext: PlaintextAuth::Allowed,
            announce: Announce::Nothing,
            helo: login.helo,
            hostname: hostname.map(Into::into),
        };
        run(handshake(&login.command, config), &[b"220 hi\r\n"]).said
    };
    assert_eq!(helo(b"[127.0.0.1]", Some("mx.example")), "EHLO [127.0.0.1]\r\n");
    assert_eq!(helo(b"a b", Some("mx.example")), "EHLO mx.example\r\n");
    assert_eq!(helo(b"\xc3\xa4", None), "EHLO proxy\r\n");
    assert_eq!(helo(&[b'a'; 255], None), format!("EHLO {}\r\n", "a".repeat(255)));
    assert_eq!(helo(&[b'a'; 256], None), "EHLO proxy\r\n");
}

#[test]
fn every_failure_is_the_backends_is_counted_and_is_not_tried_again() {
    for (protocol, script, expected) in [
        (Protocol::Imap, "* PREAUTH hi\r\n", "Greeting"),
        (Protocol::Imap, "* BYE full\r\n", "Greeting"),
        (Protocol::Imap, "220 smtp\r\n", "Greeting"),
        (Protocol::Imap, "* OK hi\r\nC1 NO\r\n", "Refused"),
        (Protocol::Imap, "* OK hi\r\nC1 OK\r\n", "Malformed"),
        (Protocol::Imap, "* OK hi\r\n* BYE\r\n", "Bye"),
        (Protocol::Imap, "* OK hi\r\n+ go\r\n", "Malformed"),
        (Protocol::Imap, "* OK hi\r\nX9 OK\r\n", "Malformed"),
        (Protocol::Imap, "* OK [CAPABILITY ID] hi\r\n* BYE\r\n", "Bye"),
        (Protocol::Submission, "554 no\r\n", "Greeting"),
        (Protocol::Submission, "421 later\r\n", "Greeting"),
        (Protocol::Submission, "* OK imap\r\n", "Malformed"),
        (Protocol::Submission, "220 hi\r\n502 no\r\n", "Refused"),
        (
            Protocol::Submission,
            "220 hi\r\n250-x\r\n250 XCLIENT ADDR\r\n550 no\r\n",
            "XclientRefused",
        ),
        (
            Protocol::Submission,
            "220 hi\r\n250-x\r\n250 XCLIENT ADDR\r\n220 hi\r\n421 no\r\n",
            "Refused",
        ),
    ] {
        let (_, end) = over_tls(protocol, told(), &[script.as_bytes()]);
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
    assert_eq!(HandshakeError::Closed.retry(), Retry::Yes);
}

#[test]
fn a_backend_that_never_ends_its_reply_is_given_up() {
    for (protocol, greeting, endless, expected) in [
        (
            Protocol::Imap,
            "* OK hi\r\n",
            "* 1 EXISTS\r\n".to_owned(),
            Excess::Lines,
        ),
        (Protocol::Imap, "* OK hi\r\n", "* ".to_owned(), Excess::Line),
        (
            Protocol::Submission,
            "220 hi\r\n",
            "250-x\r\n".to_owned(),
            Excess::Lines,
        ),
        (
            Protocol::Submission,
            "220 hi\r\n",
            format!("250-{}\r\n", "x".repeat(9000)),
            Excess::Bytes,
        ),
        (Protocol::Submission, "", "2".to_owned(), Excess::Line),
    ] {
        let script = greeting.to_owned() + &endless.repeat(70_000 / endless.len().min(200));
        let (_, end) = over_tls(protocol, told(), &[script.as_bytes()]);
        assert!(
            matches!(end, Err(HandshakeError::Excess(excess)) if excess == expected),
            "{expected:?}: {end:?}"
        );
    }
}

#[test]
fn a_probe_needs_no_login_and_hears_what_a_pop3_server_lists() {
    for protocol in PROTOCOLS {
        let probe = handshake(
            &ClientCommand::probe(protocol),
            leg(BackendLeg::Plain, Announce::Nothing),
        );
        let mut pieces = vec![words(protocol).backend];
        if protocol == Protocol::Pop3 {
            pieces.push(b"+OK\r\nSASL PLAIN\r\n.\r\n");
        }
        let run = run(probe, &pieces);
        let ready = run.done.unwrap().unwrap();
        assert_eq!((ready.protocol(), ready.leg()), (protocol, Leg::Clear));
        if protocol == Protocol::Pop3 {
            assert_eq!(run.said, "CAPA\r\n");
        }
    }
}
