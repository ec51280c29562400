//! Plaintext around STARTTLS: from a client it is discarded, from a backend it ends the leg (behaviour §4 step 7).

use mailswitch_dialogue::{
    Announce, BackendLeg, CleartextAuth, ClientLeg, ClientOutcome, ClientSideConfig, HandshakeError, Leg,
    PeerTrust, Protocol, client_side,
};

use crate::support::*;

fn offered(protocol: Protocol) -> mailswitch_dialogue::ClientSide {
    client_on(protocol, ClientLeg::StartTls, CleartextAuth::Refused)
}

#[test]
fn what_a_client_pipelines_behind_starttls_is_never_interpreted() {
    for protocol in PROTOCOLS {
        let Words {
            start_tls,
            noop,
            login,
            ..
        } = words(protocol);
        let mut wire = Wire::new(offered(protocol));
        wire.receive(start_tls);
        let quiet = wire.finish();
        let mut wire = Wire::new(offered(protocol));
        wire.receive(&[start_tls, noop, login].concat());
        let injected = String::from_utf8_lossy(&wire.said).into_owned();
        assert_eq!(
            injected, quiet.said,
            "what was injected draws no reply, also inside TLS"
        );
        wire.receive(noop);
        let run = wire.finish();
        assert!(run.done.is_none());
        assert_eq!(
            run.said[injected.len()..].lines().count(),
            1,
            "one reply, to the one command inside TLS: {}",
            run.said
        );
    }
}

#[test]
fn a_client_finds_the_gate_open_and_the_offer_gone_inside_tls() {
    let imap = run(
        offered(Protocol::Imap),
        &[
            b"a STARTTLS\r\n",
            b"b CAPABILITY\r\nc STARTTLS\r\nd LOGIN ann pw\r\n",
        ],
    );
    let (before, behind) = imap.said.split_once(TLS).unwrap();
    assert!(before.contains("LOGINDISABLED STARTTLS]") && !before.contains("AUTH="));
    assert!(
        behind.contains("AUTH=PLAIN") && !behind.contains("LOGINDISABLED") && !behind.contains(" STARTTLS\r")
    );
    assert!(behind.contains("c BAD STARTTLS is not available\r\n"));
    assert!(matches!(imap.done, Some(ClientOutcome::Login(_))));

    let pop3 = run(
        offered(Protocol::Pop3),
        &[b"CAPA\r\nSTLS\r\n", b"CAPA\r\nSTLS\r\nUSER ann\r\nPASS pw\r\n"],
    );
    let (before, behind) = pop3.said.split_once(TLS).unwrap();
    assert!(before.contains("\r\nSTLS\r\n") && !before.contains("USER") && !before.contains("SASL"));
    assert!(behind.contains("USER\r\nSASL PLAIN") && !behind.contains("\r\nSTLS\r\n"));
    assert!(behind.contains("-ERR STLS is not available\r\n"));
    assert!(matches!(pop3.done, Some(ClientOutcome::Login(_))));

    let submission = run(
        offered(Protocol::Submission),
        &[b"EHLO before\r\nSTARTTLS\r\n", b"AUTH PLAIN AGEAYg==\r\n"],
    );
    let (before, _) = submission.said.split_once(TLS).unwrap();
    assert!(before.contains("250 STARTTLS\r\n") && !before.contains("AUTH"));
    let Some(ClientOutcome::Login(login)) = submission.done else {
        panic!("{}", submission.said)
    };
    assert!(login.helo.is_none(), "an EHLO in clear is forgotten");
}

#[test]
fn what_a_proxy_of_ours_said_in_clear_is_forgotten_inside_tls() {
    for (protocol, before, after) in [
        (
            Protocol::Imap,
            "a ID (\"x-proxy-ttl\" \"99\")\r\nb STARTTLS\r\n",
            "c LOGIN ann pw\r\n",
        ),
        (
            Protocol::Pop3,
            "XCLIENT TTL=99\r\nSTLS\r\n",
            "AUTH PLAIN AGEAYg==\r\n",
        ),
        (
            Protocol::ManageSieve,
            "XCLIENT TTL=99\r\nSTARTTLS\r\n",
            "AUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n",
        ),
        (
            Protocol::Submission,
            "XCLIENT TTL=99\r\nSTARTTLS\r\n",
            "AUTH PLAIN AGEAYg==\r\n",
        ),
    ] {
        let client = client_side(ClientSideConfig {
            presentation: presentation(protocol),
            access: access(CleartextAuth::Refused),
            leg: ClientLeg::StartTls,
            peer: PeerTrust::Proxy,
        });
        let run = run(client, &[before.as_bytes(), after.as_bytes()]);
        let Some(ClientOutcome::Login(login)) = run.done else {
            panic!("{}", run.said)
        };
        assert_eq!(login.hops, None, "somebody in between may have said it");
    }
}

#[test]
fn what_a_backend_sends_behind_its_starttls_reply_ends_the_leg() {
    for (protocol, greeting, reply) in [
        (
            Protocol::Imap,
            "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n",
            "P1 OK go\r\n* CAPABILITY ID\r\n",
        ),
        (
            Protocol::Imap,
            "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n",
            "P1 OK go\r\n\n",
        ),
        (
            Protocol::Pop3,
            "+OK hi\r\n+OK\r\nSTLS\r\n.\r\n",
            "+OK go\r\n+OK\r\nXCLIENT\r\n.\r\n",
        ),
        (
            Protocol::ManageSieve,
            "\"STARTTLS\"\r\nOK\r\n",
            "OK\r\n\"XCLIENT\"\r\nOK\r\n",
        ),
        (
            Protocol::Submission,
            "220 hi\r\n250-x\r\n250 STARTTLS\r\n",
            "220 go\r\n250 x\r\n",
        ),
    ] {
        let run = run(
            backend(protocol, leg(BackendLeg::StartTls, Announce::Nothing)),
            &[greeting.as_bytes(), reply.as_bytes()],
        );
        assert!(
            matches!(run.done, Some(Err(HandshakeError::Injection(_)))),
            "{:?}",
            run.done
        );
        assert!(!run.said.contains(TLS));
    }
}

#[test]
fn a_backend_without_starttls_or_that_refuses_it_is_never_talked_to_in_clear() {
    for (protocol, script, missing) in [
        (
            Protocol::Imap,
            "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n",
            true,
        ),
        (
            Protocol::Imap,
            "* OK hi\r\n* CAPABILITY IMAP4rev1\r\nC1 OK\r\n",
            true,
        ),
        (
            Protocol::Imap,
            "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\nP1 NO\r\n",
            false,
        ),
        (Protocol::Pop3, "+OK hi\r\n+OK\r\nUSER\r\n.\r\n", true),
        (Protocol::Pop3, "+OK hi\r\n-ERR what\r\n", true),
        (Protocol::ManageSieve, "\"SASL\" \"PLAIN\"\r\nOK\r\n", true),
        (
            Protocol::ManageSieve,
            "\"STARTTLS\"\r\nOK\r\nNO \"no\"\r\n",
            false,
        ),
        (Protocol::Pop3, "+OK hi\r\n+OK\r\nSTLS\r\n.\r\n-ERR no\r\n", false),
        (
            Protocol::Submission,
            "220 hi\r\n250-x\r\n250 AUTH PLAIN\r\n",
            true,
        ),
        (
            Protocol::Submission,
            "220 hi\r\n250-x\r\n250 STARTTLS\r\n454 no\r\n",
            false,
        ),
    ] {
        let run = run(
            backend(protocol, leg(BackendLeg::StartTls, Announce::Nothing)),
            &[script.as_bytes()],
        );
        match run.done {
            Some(Err(HandshakeError::StartTlsMissing)) => assert!(missing),
            Some(Err(HandshakeError::StartTlsRefused(_))) => assert!(!missing),
            other => panic!("{script:?}: {other:?}"),
        }
    }
}

#[test]
fn what_a_backend_said_in_clear_is_asked_again_inside_tls() {
    // Dovecot: SASL-IR and ID were promised in clear, and are not there inside TLS.
    let imap = run(
        backend(
            Protocol::Imap,
            leg(BackendLeg::StartTls, Announce::Attributes(attributes())),
        ),
        &[
            b"* OK [CAPABILITY IMAP4rev1 SASL-IR ID STARTTLS LOGINDISABLED] Dovecot ready.\r\n",
            b"P1 OK Begin TLS negotiation now.\r\n",
            b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nC1 OK Pre-login capabilities listed\r\n",
        ],
    );
    assert_eq!(imap.said, format!("P1 STARTTLS\r\n{TLS}C1 CAPABILITY\r\n"));
    assert_eq!(imap.done.unwrap().unwrap().leg(), Leg::Encrypted);

    let submission = run(
        backend(
            Protocol::Submission,
            leg(BackendLeg::StartTls, Announce::Attributes(attributes())),
        ),
        &[
            b"220 mx ESMTP Postfix\r\n",
            b"250-mx\r\n250-XCLIENT NAME ADDR\r\n250 STARTTLS\r\n",
            b"220 2.0.0 Ready to start TLS\r\n",
            b"250-mx\r\n250 AUTH PLAIN\r\n",
        ],
    );
    assert_eq!(
        submission.said,
        format!("EHLO mx.example\r\nSTARTTLS\r\n{TLS}EHLO mx.example\r\n")
    );
    assert_eq!(submission.done.unwrap().unwrap().leg(), Leg::Encrypted);

    // UTF8 was promised in clear, and is not there inside TLS.
    let Some(ClientOutcome::Login(login)) = run(
        client(Protocol::Pop3),
        &[b"UTF8\r\n", words(Protocol::Pop3).login],
    )
    .done
    else {
        panic!("no login")
    };
    let pop3 = run(
        mailswitch_dialogue::handshake(&login.command, leg(BackendLeg::StartTls, Announce::Nothing)),
        &[
            b"+OK hi\r\n",
            b"+OK\r\nUTF8\r\nSTLS\r\n.\r\n",
            b"+OK Begin TLS negotiation\r\n",
            b"+OK\r\nUSER\r\n.\r\n",
        ],
    );
    assert_eq!(pop3.said, format!("CAPA\r\nSTLS\r\n{TLS}CAPA\r\n"));
    assert_eq!(pop3.done.unwrap().unwrap().leg(), Leg::Encrypted);
}
