//! Backends that do not behave as a real one does: what the client hears then, and what the backend was sent
//! (behaviour §4, §5, §6.6, §7).

use std::fmt::Write as _;

use anyhow::{Context, Result};
use mailswitch_tests::{
    ca::{Ca, Issued},
    place::Place,
    scripted::Scripted,
    when::eventually,
};

use super::lone::{ALL, Lone, SOON, Setup, plain};

/// What a client reads when there is no backend for now.
pub(super) const IMAP_UNAVAILABLE: &str = "S: a NO [UNAVAILABLE] backend unavailable\nS: * BYE…\nEND";
const SUBMISSION_UNAVAILABLE: &str = "S: 421 4.3.0 backend unavailable\nEND";

/// A greeting that says what the server can do.
pub(super) const CAPABLE: &str = "S: * OK [CAPABILITY IMAP4rev1 SASL-IR] ready\n";

/// What a ManageSieve client reads first.
pub(super) const GREETED: &str =
    "S: \"IMPLEMENTATION\" …\nS: \"VERSION\" \"1.0\"\nS: \"SASL\" …\nS: \"SIEVE\" …\nS: OK …\n";

/// One destination of its own.
pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) protocol: &'static str,
    /// Of the backend's leg.
    pub(super) tls: &'static str,
    /// More keys of the destination.
    pub(super) keys: &'static str,
    pub(super) backend: String,
    /// What the client reads behind its login.
    pub(super) client: &'static str,
    /// What the node's log says of it; nothing when the login is answered.
    pub(super) cause: &'static str,
}

pub(super) fn user(number: usize) -> String {
    format!("u{number}@x.example")
}

pub(super) fn destination(
    number: usize,
    backend: &Scripted,
    issued: &Issued,
    protocol: &str,
    tls: &str,
    keys: &str,
) -> String {
    let others: String = ALL
        .iter()
        .filter(|other| **other != protocol)
        .map(|other| format!("{other} = {{ port = 9, tls = \"{tls}\" }}\n"))
        .collect();
    let forwarding = if keys.contains("forwarding") {
        ""
    } else {
        "forwarding = \"none\"\n"
    };
    format!(
        "[destination.d{number}]\nhost = \"{}\"\ntls_server_name = \"scripted.test\"\n{forwarding}allow_plaintext_auth = true\n\
         tls_pinned_cert_sha256 = \"{}\"\n{keys}[destination.d{number}.protocol]\n\
         {protocol} = {{ port = {}, tls = \"{tls}\" }}\n{others}",
        backend.address.ip(),
        issued.fingerprint,
        backend.address.port(),
    )
}

/// Starts a backend for each case and one node before them all, and plays each login.
pub(super) fn play(cases: &[Case], server: &str) -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let (mut tables, mut moved, mut backends) = (super::lone::DEAD.to_owned(), String::new(), Vec::new());
    for (number, case) in cases.iter().enumerate() {
        let dialogue = case.backend.clone();
        let backend = Scripted::start(&place, &issued, move |_| dialogue.clone())?;
        tables += &destination(number, &backend, &issued, case.protocol, case.tls, case.keys);
        writeln!(moved, "{} d{number}", user(number))?;
        backends.push(backend);
    }
    let server =
        format!("hostname = \"proxy.example.org\"\nlog_level = \"debug\"\nhost_down_threshold = 0\n{server}");
    let setup = Setup {
        protocols: ALL,
        server: &server,
        tables: &tables,
        moved: &moved,
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    for (number, case) in cases.iter().enumerate() {
        let login = match case.protocol {
            "imap" => format!("S: * OK …\nC: a LOGIN {} pw\n", user(number)),
            "pop3" => format!("S: +OK …\nC: USER {}\nS: +OK…\nC: PASS pw\n", user(number)),
            "managesieve" => format!(
                "{GREETED}C: AUTHENTICATE \"PLAIN\" \"{}\"\n",
                plain(&user(number), "pw")
            ),
            _ => format!("S: 220 …\nC: AUTH PLAIN {}\n", plain(&user(number), "pw")),
        };
        let before = node.process.output().len();
        let played = node.play(case.protocol, "implicit", &(login + case.client));
        let said = backends[number].played();
        played.with_context(|| format!("{}: {said:?}", case.what))?;
        let log = node.process.output();
        let unavailable = log[before..]
            .lines()
            .find(|line| line.contains("backend unavailable"));
        match case.cause {
            "" => assert_eq!(unavailable, None, "{}", case.what),
            cause => assert!(
                unavailable.is_some_and(|line| line.contains(cause) && line.contains("session=")),
                "{}: {unavailable:?}",
                case.what
            ),
        }
        let over = eventually("the backend's side is over", SOON, || {
            backends[number].played().pop()
        });
        let fault = over.with_context(|| case.what)?.fault;
        assert_eq!(fault, None, "{}", case.what);
    }
    Ok(())
}

/// The replay, as an IMAP backend with SASL-IR reads it.
pub(super) fn authenticate(number: usize) -> String {
    format!("C: a AUTHENTICATE PLAIN {}\n", plain(&user(number), "pw"))
}

fn auth(number: usize) -> String {
    format!("C: AUTH PLAIN {}\n", plain(&user(number), "pw"))
}

#[test]
fn a_backend_that_is_no_backend_gets_no_credential_and_the_client_the_temporary_failure() -> Result<()> {
    let imap = |what, tls, keys, backend: &str, cause| Case {
        what,
        protocol: "imap",
        tls,
        keys,
        backend: backend.to_owned(),
        client: IMAP_UNAVAILABLE,
        cause,
    };
    let submission = |what, tls, keys, backend: &str, cause| Case {
        what,
        protocol: "submission",
        tls,
        keys,
        backend: backend.to_owned(),
        client: SUBMISSION_UNAVAILABLE,
        cause,
    };
    // END: the backend read nothing more before the node closed.
    play(
        &[
            imap("PREAUTH", "plain", "", "S: * PREAUTH ready\nEND", "PREAUTH"),
            imap("BYE", "plain", "", "S: * BYE full\nEND", "BYE full"),
            imap("no greeting at all", "plain", "", "S: hello\nEND", "hello"),
            imap(
                "no STARTTLS",
                "starttls",
                "",
                "S: * OK [CAPABILITY IMAP4rev1] x\nEND",
                "does not offer STARTTLS",
            ),
            imap(
                "no STARTTLS when asked",
                "starttls",
                "",
                "S: * OK x\nC: C1 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: C1 OK done\nEND",
                "does not offer STARTTLS",
            ),
            imap(
                "STARTTLS refused",
                "starttls",
                "",
                "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] x\nC: P1 STARTTLS\nS: P1 NO not now\nEND",
                "refused STARTTLS",
            ),
            imap(
                "injected behind STARTTLS",
                "starttls",
                "",
                "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] x\nC: P1 STARTTLS\nS: P1 OK go\n\
                 S: * CAPABILITY IMAP4rev1 AUTH=PLAIN\nEND",
                "in clear behind",
            ),
            submission("554", "plain", "", "S: 554 no\nEND", "554 no"),
            submission(
                "no STARTTLS",
                "starttls",
                "",
                "S: 220 x\nC: EHLO proxy.example.org\nS: 250-x\nS: 250 AUTH PLAIN\nEND",
                "does not offer STARTTLS",
            ),
            submission(
                "STARTTLS refused",
                "starttls",
                "",
                "S: 220 x\nC: EHLO proxy.example.org\nS: 250-x\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 4.7.0 no\nEND",
                "refused STARTTLS",
            ),
            submission(
                "injected behind STARTTLS",
                "starttls",
                "",
                "S: 220 x\nC: EHLO proxy.example.org\nS: 250-x\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n\
                 S: 250 AUTH PLAIN\nEND",
                "in clear behind",
            ),
            submission(
                "XCLIENT refused",
                "plain",
                "forwarding = \"xclient\"\n",
                "S: 220 x\nC: EHLO proxy.example.org\nS: 250-x\nS: 250 XCLIENT ADDR\nC: XCLIENT ADDR=127.…\n\
                 S: 550 5.7.0 no\nEND",
                "refused XCLIENT",
            ),
            submission(
                "EHLO refused",
                "plain",
                "",
                "S: 220 x\nC: EHLO …\nS: 502 no\nEND",
                "refused EHLO",
            ),
        ],
        "",
    )
}

#[test]
fn every_answer_to_the_credential_reaches_the_client_as_the_contract_has_it() -> Result<()> {
    let imap = |what, keys, backend: String, client, cause| Case {
        what,
        protocol: "imap",
        tls: "plain",
        keys,
        backend: format!("{CAPABLE}{backend}"),
        client,
        cause,
    };
    let submission = |what, keys, backend: String, client, cause| Case {
        what,
        protocol: "submission",
        tls: "plain",
        keys,
        backend: format!("S: 220 x\nC: EHLO proxy.example.org\nS: 250 x\n{backend}"),
        client,
        cause,
    };
    const HIDE: &str = "hide_auth_errors = true\n";
    play(
        &[
            imap(
                "untagged lines go before the answer",
                "",
                authenticate(0)
                    + "S: * CAPABILITY IMAP4rev1 IDLE\nS: * OK hello\nS: a OK in\nC: b IDLE\nS: + idling\nEND",
                "S: * CAPABILITY IMAP4rev1 IDLE\nS: * OK hello\nS: a OK in\nC: b IDLE\nS: + idling",
                "",
            ),
            imap(
                "a refusal in its words",
                "",
                authenticate(1) + "S: * OK note\nS: a NO [AUTHENTICATIONFAILED] not you\nEND",
                "S: * OK note\nS: a NO [AUTHENTICATIONFAILED] not you\nS: * BYE…\nEND",
                "",
            ),
            imap(
                "a refusal that is hidden",
                HIDE,
                authenticate(2) + "S: * OK user unknown\nS: a NO no such user\nEND",
                "S: a NO [AUTHENTICATIONFAILED] Authentication failed.\nS: * BYE…\nEND",
                "",
            ),
            imap(
                "a temporary refusal that is not hidden",
                HIDE,
                authenticate(3) + "S: a NO [UNAVAILABLE] database away\nEND",
                "S: a NO [UNAVAILABLE] database away\nS: * BYE…\nEND",
                "",
            ),
            imap(
                "BAD",
                "",
                authenticate(4) + "S: a BAD what\nEND",
                "S: a BAD what\nS: * BYE…\nEND",
                "",
            ),
            imap(
                "a challenge to PLAIN is cancelled",
                "",
                authenticate(5) + "S: + more\nC: *\nS: a BAD cancelled\nEND",
                "S: a BAD cancelled\nS: * BYE…\nEND",
                "",
            ),
            imap(
                "BYE",
                "",
                authenticate(6) + "S: * BYE gone\nEND",
                IMAP_UNAVAILABLE,
                "goodbye",
            ),
            imap(
                "no answer",
                "",
                authenticate(7) + "END",
                IMAP_UNAVAILABLE,
                "did not answer",
            ),
            imap("closed", "", authenticate(8), IMAP_UNAVAILABLE, "closed"),
            imap(
                "nonsense",
                "",
                authenticate(9) + "S: nonsense\nEND",
                IMAP_UNAVAILABLE,
                "no IMAP reply",
            ),
            submission(
                "235 and what follows",
                "",
                auth(10) + "S: 235-2.7.0 in\nS: 235 2.7.0 really\nC: NOOP\nS: 250 ok\nEND",
                "S: 235-2.7.0 in\nS: 235 2.7.0 really\nC: NOOP\nS: 250 ok",
                "",
            ),
            submission(
                "535",
                "",
                auth(11) + "S: 535 5.7.8 not you\nEND",
                "S: 535 5.7.8 not you\nEND",
                "",
            ),
            submission(
                "535 hidden",
                HIDE,
                auth(12) + "S: 535-5.7.8 no\nS: 535 5.7.8 such user\nEND",
                "S: 535 5.7.8 Authentication failed.\nEND",
                "",
            ),
            submission(
                "454 is not hidden",
                HIDE,
                auth(13) + "S: 454 4.7.0 database away\nEND",
                "S: 454 4.7.0 database away\nEND",
                "",
            ),
            submission("closed", "", auth(14), SUBMISSION_UNAVAILABLE, "closed"),
            submission(
                "nonsense",
                "",
                auth(15) + "S: hello\nEND",
                SUBMISSION_UNAVAILABLE,
                "no SMTP reply",
            ),
            submission(
                "no answer",
                "",
                auth(16) + "END",
                SUBMISSION_UNAVAILABLE,
                "did not answer",
            ),
        ],
        "backend_timeout = \"2s\"\n",
    )
}

#[test]
fn what_was_learnt_in_clear_is_asked_again_and_the_credential_waits_where_it_must() -> Result<()> {
    let frame = |number| plain(&user(number), "pw");
    play(
        &[
            Case {
                what: "capabilities are asked again behind TLS, and no SASL-IR is guessed",
                protocol: "imap",
                tls: "starttls",
                keys: "",
                backend: format!(
                    "S: * OK [CAPABILITY IMAP4rev1 SASL-IR STARTTLS] x\nC: P1 STARTTLS\nS: * OK note\nS: P1 ok go\nTLS\n\
                     C: C1 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: C1 OK done\nC: a AUTHENTICATE PLAIN\nS: + \n\
                     C: {}\nS: a OK in\nEND",
                    frame(0)
                ),
                client: "S: a OK in",
                cause: "",
            },
            Case {
                what: "IMAP4rev2 has SASL-IR",
                protocol: "imap",
                tls: "implicit",
                keys: "",
                backend: format!(
                    "TLS\nS: * OK hello\nC: C1 CAPABILITY\nS: * CAPABILITY IMAP4rev2\nS: C1 OK done\n\
                     C: a AUTHENTICATE PLAIN {}\nS: a OK in\nEND",
                    frame(1)
                ),
                client: "S: a OK in",
                cause: "",
            },
            Case {
                what: "EHLO again behind TLS, and XCLIENT only as it is listed there",
                protocol: "submission",
                tls: "starttls",
                keys: "forwarding = \"xclient\"\n",
                backend: format!(
                    "S: 220 x\nC: EHLO proxy.example.org\nS: 250-x\nS: 250-XCLIENT NAME ADDR LOGIN\nS: 250 STARTTLS\n\
                     C: STARTTLS\nS: 220 go\nTLS\nC: EHLO proxy.example.org\nS: 250-x\n\
                     S: 250 XCLIENT LOGIN PROTO ADDR TTL SESSION DESTADDR\n\
                     C: XCLIENT ADDR=127.… DESTADDR=127.… SESSION=… TTL=6 PROTO=ESMTP\n\
                     S: 220 x\nC: EHLO proxy.example.org\nS: 250 x\nC: AUTH PLAIN {}\nS: 235 in\nEND",
                    frame(2)
                ),
                client: "S: 235 in",
                cause: "",
            },
            Case {
                what: "no XCLIENT when none of ours is listed",
                protocol: "submission",
                tls: "plain",
                keys: "forwarding = \"xclient\"\n",
                backend: format!(
                    "S: 220 x\nC: EHLO …\nS: 250-x\nS: 250 XCLIENT LOGIN NAME\nC: AUTH PLAIN {}\nS: 235 in\nEND",
                    frame(3)
                ),
                client: "S: 235 in",
                cause: "",
            },
            Case {
                what: "the ID, in its order; a refusal of it does no harm",
                protocol: "imap",
                tls: "plain",
                keys: "forwarding = \"xclient\"\n",
                backend: format!(
                    "S: * OK [CAPABILITY IMAP4rev1 ID SASL-IR] x\n\
                     C: F1 ID (\"x-originating-ip\" \"127.…\" \"x-originating-port\" \"…\" \"x-connected-ip\" \"127.…\" \
                     \"x-connected-port\" \"…\" \"x-proxy-ttl\" \"6\" \"x-session-id\" \"…\" \"x-client-transport\" \"TLS\")\n\
                     S: * ID NIL\nS: F1 NO no\nC: a AUTHENTICATE PLAIN {}\nS: a OK in\nEND",
                    frame(4)
                ),
                client: "S: a OK in",
                cause: "",
            },
            Case {
                what: "no ID where the leg says none",
                protocol: "imap",
                tls: "plain",
                keys: "forwarding = \"none\"\n",
                backend: format!(
                    "S: * OK [CAPABILITY IMAP4rev1 ID SASL-IR] x\nC: a AUTHENTICATE PLAIN {}\nS: a OK in\nEND",
                    frame(5)
                ),
                client: "S: a OK in",
                cause: "",
            },
        ],
        "",
    )
}
