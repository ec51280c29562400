//! Every reply that an IMAP client can draw before login (behaviour §2, §6.1, §7.1).

use mailswitch_dialogue::{
    AccessConfig, CleartextAuth, ClientLeg, ClientOutcome, ClientSideConfig, Farewell, HeldReply, Hops,
    LINE_LIMIT, Mechanism, Method, PeerTrust, Protocol, Routing, Why, client_side, farewell,
};

use crate::support::*;

const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN AUTH=LOGIN AUTH=OAUTHBEARER AUTH=XOAUTH2] Mailswitch ready.\r\n";

/// What is said behind the greeting to a client over TLS.
fn replies(script: &[u8]) -> String {
    let run = run(client(Protocol::Imap), &[script]);
    run.said.strip_prefix(GREETING).expect("the greeting").to_owned()
}

fn login_of(script: &[u8]) -> (String, Box<mailswitch_dialogue::Login>) {
    let run = run(client(Protocol::Imap), &[script]);
    match run.done {
        Some(ClientOutcome::Login(login)) => (run.said.replace(GREETING, ""), login),
        other => panic!("{}: {other:?} after {}", script.escape_ascii(), run.said),
    }
}

#[test]
fn each_command_has_its_reply() {
    for (script, reply) in [
        (
            "a CAPABILITY\r\n",
            "* CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN AUTH=LOGIN AUTH=OAUTHBEARER AUTH=XOAUTH2\r\na OK CAPABILITY completed\r\n",
        ),
        ("a noop\r\n", "a OK NOOP completed\r\n"),
        ("a ID NIL\r\n", "* ID NIL\r\na OK ID completed\r\n"),
        (
            "a ID (\"name\" \"mbsync\" \"v\" NIL)\r\n",
            "* ID NIL\r\na OK ID completed\r\n",
        ),
        ("a LOGOUT\r\n", "* BYE Logging out\r\na OK LOGOUT completed\r\n"),
        ("a STARTTLS\r\n", "a BAD STARTTLS is not available\r\n"),
        (
            "a SELECT INBOX\r\n",
            "a BAD Command not known or not permitted before login\r\n",
        ),
        (
            "a X-FOO.2 (bar\r\n",
            "a BAD Command not known or not permitted before login\r\n",
        ),
        ("a NOOP x\r\n", "a BAD Too many arguments\r\n"),
        ("a AUTHENTICATE\r\n", "a BAD AUTHENTICATE needs a mechanism\r\n"),
        ("a AUTHENTICATE CRAM-MD5\r\n", "a NO Unsupported mechanism\r\n"),
        ("a AUTHENTICATE PLAIN !!!\r\n", "a BAD Invalid base64\r\n"),
        ("a AUTHENTICATE PLAIN AAAA\r\n", "a NO Malformed credentials\r\n"),
        ("a AUTHENTICATE PLAIN =\r\n", "a NO Malformed credentials\r\n"),
        (
            "a AUTHENTICATE PLAIN\r\n*\r\n",
            "+ \r\na BAD Authentication cancelled\r\n",
        ),
        ("a AUTHENTICATE PLAIN\r\n!\r\n", "+ \r\na BAD Invalid base64\r\n"),
        (
            "a AUTHENTICATE LOGIN\r\nYW5u\r\n*\r\n",
            "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\na BAD Authentication cancelled\r\n",
        ),
        ("a LOGIN\r\n", "a NO LOGIN needs a name and a password\r\n"),
        ("a LOGIN ann\r\n", "a NO LOGIN needs a name and a password\r\n"),
        ("a LOGIN a b c\r\n", "a BAD LOGIN takes a name and a password\r\n"),
        ("a LOGIN \"\" pw\r\n", "a NO Malformed credentials\r\n"),
        ("a LOGIN ann \"\"\r\n", "a NO Malformed credentials\r\n"),
        ("a LOGIN {3+}\r\na\0n pw\r\n", "a NO Malformed credentials\r\n"),
        (
            "a LOGIN ann {3}\r\np\0w\r\n",
            "+ Ready for 3 bytes.\r\na NO Malformed credentials\r\n",
        ),
        ("a LOGIN \"ann\r\n", "a BAD Syntax error\r\n"),
        ("+ NOOP\r\n", "* BAD Syntax error\r\n"),
        ("\r\n", "* BAD Syntax error\r\n"),
    ] {
        assert_eq!(replies(script.as_bytes()), reply, "{script:?}");
    }
}

#[test]
fn a_login_is_read_from_every_form_that_a_client_may_use() {
    for (script, method) in [
        ("a1 LOGIN ann@x.example pw\r\n", Method::Command),
        ("a1 login \"ann@x.example\" \"pw\"\r\n", Method::Command),
        ("a1 LOGIN {13+}\r\nann@x.example {2+}\r\npw\r\n", Method::Command),
        (
            "a1 AUTHENTICATE PLAIN AGFubkB4LmV4YW1wbGUAcHc=\r\n",
            Method::Sasl(Mechanism::Plain),
        ),
        (
            "a1 authenticate plain AGFubkB4LmV4YW1wbGUAcHc\r\n",
            Method::Sasl(Mechanism::Plain),
        ),
        (
            "a1 AUTHENTICATE PLAIN\r\nAGFubkB4LmV4 YW1wbGUAcHc=\r\n",
            Method::Sasl(Mechanism::Plain),
        ),
        (
            "a1 AUTHENTICATE LOGIN\r\nYW5uQHguZXhhbXBsZQ==\r\ncHc=\r\n",
            Method::Sasl(Mechanism::Login),
        ),
        (
            "a1 AUTHENTICATE LOGIN YW5uQHguZXhhbXBsZQ==\r\ncHc=\r\n",
            Method::Sasl(Mechanism::Login),
        ),
        (
            "a1 AUTHENTICATE LOGIN =\r\nYW5uQHguZXhhbXBsZQ==\r\ncHc=\r\n",
            Method::Sasl(Mechanism::Login),
        ),
    ] {
        let (_, login) = login_of(script.as_bytes());
        assert_eq!(login.credential.expose(), b"\0ann@x.example\0pw", "{script:?}");
        assert_eq!(login.routing, Routing::Login("ann@x.example".to_owned()));
        assert_eq!(login.method, method);
    }
}

#[test]
fn a_password_may_be_any_bytes_but_nul() {
    let (said, login) = login_of(b"a LOGIN ann {5}\r\n\xff\r\n \" \r\n");
    assert_eq!(said, "+ Ready for 5 bytes.\r\n");
    assert_eq!(login.credential.expose(), b"\0ann\0\xff\r\n \"");
}

#[test]
fn a_fault_costs_its_line_and_not_the_next_one() {
    assert_eq!(
        replies(b"a LOGIN \"x b NOOP\r\nb NOOP\r\n"),
        "a BAD Syntax error\r\nb OK NOOP completed\r\n"
    );
    // A literal that flows with it is dropped, not run.
    assert_eq!(
        replies(b"a APPEND x {12+}\r\nz LOGOUT x\r\n\r\nb NOOP\r\n"),
        "a BAD Command not known or not permitted before login\r\nb OK NOOP completed\r\n"
    );
    assert_eq!(
        replies(b"a LOGIN \"x {8+}\r\nz LOGOUT\r\nb NOOP\r\n"),
        "a BAD Syntax error\r\nb OK NOOP completed\r\n"
    );
    // One that waits is not invited.
    assert_eq!(
        replies(b"a APPEND x {12}\r\nb NOOP\r\n"),
        "a BAD Command not known or not permitted before login\r\nb OK NOOP completed\r\n"
    );
}

#[test]
fn a_long_token_is_taken_and_a_longer_literal_is_not_invited() {
    let password = "p".repeat(60_000);
    let (_, login) = login_of(format!("a LOGIN ann {password}\r\n").as_bytes());
    assert_eq!(login.credential.expose().len(), 5 + 60_000);
    assert_eq!(
        replies(b"a LOGIN ann {65536}\r\nb NOOP\r\n"),
        "a BAD [TOOBIG] Literal too long\r\nb OK NOOP completed\r\n"
    );
    for script in [
        &b"a LOGIN ann {65536+}\r\n"[..],
        b"a LOGIN ann {999999999999999999999+}\r\n",
    ] {
        let run = run(client(Protocol::Imap), &[script]);
        assert!(run.said.ends_with("* BYE Line or literal too long\r\n"));
        assert!(matches!(run.done, Some(ClientOutcome::Closed(Why::TooLong))));
    }
    let run = run(client(Protocol::Imap), &[&vec![b'a'; LINE_LIMIT + 2]]);
    assert!(run.said.ends_with("* BYE Line or literal too long\r\n"));
    assert!(matches!(run.done, Some(ClientOutcome::Closed(Why::TooLong))));
}

#[test]
fn only_failures_count_and_the_last_one_says_goodbye() {
    let run = run(
        client(Protocol::Imap),
        &[b"a AUTHENTICATE PLAIN\r\n*\r\nb FOO\r\nc FETCH\r\nd NOOP\r\ne AUTHENTICATE PLAIN !\r\nf LOGIN x\r\ng NOOP\r\nh AUTHENTICATE X\r\ni NOOP\r\n"],
    );
    assert!(
        run.said
            .ends_with("g OK NOOP completed\r\nh NO Unsupported mechanism\r\n* BYE Too many errors\r\n"),
        "{}",
        run.said
    );
    assert!(matches!(
        run.done,
        Some(ClientOutcome::Closed(Why::TooManyFailures))
    ));
    assert_eq!(run.rest, b"i NOOP\r\n");
}

#[test]
fn a_mechanism_that_is_not_listed_is_neither_advertised_nor_accepted() {
    let client = client_side(ClientSideConfig {
        presentation: presentation(Protocol::Imap),
        access: AccessConfig {
            sasl: [Mechanism::OauthBearer].into(),
            ..access(CleartextAuth::Refused)
        },
        leg: ClientLeg::Encrypted(tls()),
        peer: PeerTrust::Client,
    });
    let run = run(
        client,
        &[b"a AUTHENTICATE PLAIN AGEAYg==\r\nb AUTHENTICATE LOGIN\r\nc LOGIN ann pw\r\n"],
    );
    assert_eq!(
        run.said,
        "* OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=OAUTHBEARER] Mailswitch ready.\r\na NO Unsupported mechanism\r\nb NO Unsupported mechanism\r\n"
    );
    assert!(
        matches!(run.done, Some(ClientOutcome::Login(_))),
        "LOGIN is not affected by the list"
    );
}

#[test]
fn the_hop_count_is_taken_from_a_proxy_of_ours_only() {
    for (peer, hops) in [(PeerTrust::Proxy, Some(Hops(5))), (PeerTrust::Client, None)] {
        let client = client_side(ClientSideConfig {
            presentation: presentation(Protocol::Imap),
            access: access(CleartextAuth::Refused),
            leg: ClientLeg::Encrypted(tls()),
            peer,
        });
        let run = run(
            client,
            &[b"F1 ID (\"x-originating-ip\" \"192.0.2.7\" \"X-Proxy-TTL\" \"5\")\r\na LOGIN ann pw\r\n"],
        );
        let Some(ClientOutcome::Login(login)) = run.done else {
            panic!("{}", run.said)
        };
        assert_eq!(login.hops, hops);
    }
}

#[test]
fn what_we_answer_ourselves_is_never_a_wrong_password_unless_it_was() {
    let (_, login) = login_of(b"x.7 LOGIN ann pw\r\n");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert_eq!(
        text(login.command.temporary_failure()),
        "x.7 NO [UNAVAILABLE] backend unavailable\r\n* BYE backend unavailable\r\n"
    );
    assert_eq!(
        text(login.command.authentication_failed()),
        "x.7 NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"
    );
    assert!(login.command.after_refusal().starts_with(b"* BYE "));
    assert!(text(login.command.held(HeldReply::Bye)).starts_with("* BYE "));
    assert!(text(login.command.held(HeldReply::No)).starts_with("x.7 NO [UNAVAILABLE] "));
    for why in [Farewell::Timeout, Farewell::Shutdown] {
        assert!(
            farewell(Protocol::Imap, why).starts_with(b"* BYE ")
                && farewell(Protocol::Imap, why).ends_with(b"\r\n")
        );
    }
}
