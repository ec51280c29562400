//! POP3 toward a backend: what it is sent, and what comes of its answer (behaviour §6.2, §6.6).

use anyhow::Result;
use mailswitch_tests::{ca::Ca, place::Place, scripted::Scripted, when::eventually};

use super::super::{
    lone::{DEAD, Lone, SOON, Setup, only, plain},
    scripts::{Case, destination, play, user},
};
use super::UNAVAILABLE;

fn auth(number: usize) -> String {
    format!("C: AUTH PLAIN {}\n", plain(&user(number), "pw"))
}

#[test]
fn a_backend_that_is_no_backend_gets_no_credential_and_the_client_the_temporary_failure() -> Result<()> {
    let case = |what, tls, keys, backend: &str, cause| Case {
        what,
        protocol: "pop3",
        tls,
        keys,
        backend: backend.to_owned(),
        client: UNAVAILABLE,
        cause,
    };
    play(
        &[
            case("-ERR", "plain", "", "S: -ERR full\nEND", "-ERR full"),
            case("no POP3", "plain", "", "S: * OK imap\nEND", "imap"),
            case(
                "no STLS",
                "starttls",
                "",
                "S: +OK x\nC: CAPA\nS: +OK\nS: TOP\nS: .\nEND",
                "does not offer STARTTLS",
            ),
            case(
                "no CAPA",
                "starttls",
                "",
                "S: +OK x\nC: CAPA\nS: -ERR what\nEND",
                "does not offer STARTTLS",
            ),
            case(
                "STLS refused",
                "starttls",
                "",
                "S: +OK x\nC: CAPA\nS: +OK\nS: stls\nS: .\nC: STLS\nS: -ERR not now\nEND",
                "refused STARTTLS",
            ),
            case(
                "injected behind STLS",
                "starttls",
                "",
                "S: +OK x\nC: CAPA\nS: +OK\nS: STLS\nS: .\nC: STLS\nS: +OK go\nS: +OK XCLIENT\nEND",
                "in clear behind",
            ),
            case(
                "XCLIENT refused",
                "plain",
                "forwarding = \"xclient\"\n",
                "S: +OK [XCLIENT] x\nC: XCLIENT ADDR=127.…\nS: -ERR no\nEND",
                "refused XCLIENT",
            ),
        ],
        "",
    )
}

#[test]
fn every_answer_to_the_credential_reaches_the_client_as_the_contract_has_it() -> Result<()> {
    const HIDE: &str = "hide_auth_errors = true\n";
    let case = |what, keys, backend: String, client, cause| Case {
        what,
        protocol: "pop3",
        tls: "plain",
        keys,
        backend: format!("S: +OK x\n{backend}"),
        client,
        cause,
    };
    play(
        &[
            case(
                "+OK and what follows",
                "",
                auth(0) + "S: +OK in\nC: STAT\nS: +OK 0 0\nEND",
                "S: +OK in\nC: STAT\nS: +OK 0 0",
                "",
            ),
            case(
                "a refusal in its words",
                "",
                auth(1) + "S: -ERR [AUTH] not you\nEND",
                "S: -ERR [AUTH] not you\nEND",
                "",
            ),
            case(
                "a refusal that is hidden",
                HIDE,
                auth(2) + "S: -ERR no such user\nEND",
                "S: -ERR [AUTH] Authentication failed.\nEND",
                "",
            ),
            case(
                "a temporary refusal that is not hidden",
                HIDE,
                auth(3) + "S: -ERR [SYS/TEMP] database away\nEND",
                "S: -ERR [SYS/TEMP] database away\nEND",
                "",
            ),
            case(
                "a locked mailbox is not hidden",
                HIDE,
                auth(4) + "S: -ERR [IN-USE] locked\nEND",
                "S: -ERR [IN-USE] locked\nEND",
                "",
            ),
            case(
                "a challenge to PLAIN is cancelled",
                "",
                auth(5) + "S: + more\nC: *\nS: -ERR cancelled\nEND",
                "S: -ERR cancelled\nEND",
                "",
            ),
            case("closed", "", auth(6), UNAVAILABLE, "closed"),
            case(
                "nonsense",
                "",
                auth(7) + "S: hello\nEND",
                UNAVAILABLE,
                "no POP3 reply",
            ),
            case("no answer", "", auth(8) + "END", UNAVAILABLE, "did not answer"),
        ],
        "backend_timeout = \"2s\"\n",
    )
}

#[test]
fn what_was_learnt_in_clear_is_asked_again_but_for_the_greetings_xclient() -> Result<()> {
    const XCLIENT: &str =
        "C: XCLIENT ADDR=127.… PORT=… DESTADDR=127.… DESTPORT=… SESSION=… TTL=6 CLIENT-TRANSPORT=TLS\n";
    let start =
        "S: +OK [XCLIENT] Dovecot ready.\nC: CAPA\nS: +OK\nS: STLS\nS: .\nC: STLS\nS: +OK go\nTLS\nC: CAPA\n";
    let case = |what, tls, backend: String| Case {
        what,
        protocol: "pop3",
        tls,
        keys: "forwarding = \"xclient\"\n",
        backend,
        client: "S: +OK in",
        cause: "",
    };
    play(
        &[
            case(
                "Dovecot",
                "starttls",
                format!(
                    "{start}S: +OK\nS: TOP\nS: .\n{XCLIENT}S: +OK Updated\n{}S: +OK in\nEND",
                    auth(0)
                ),
            ),
            case(
                "an offer that was none",
                "starttls",
                format!(
                    "{start}S: +OK\nS: TOP\nS: .\n{XCLIENT}S: -ERR what\n{}S: +OK in\nEND",
                    auth(1)
                ),
            ),
            case(
                "a greeting inside TLS",
                "implicit",
                format!(
                    "TLS\nS: +OK [XCLIENT] x\n{XCLIENT}S: +OK\n{}S: +OK in\nEND",
                    auth(2)
                ),
            ),
            case(
                "CAPA",
                "plain",
                format!(
                    "S: +OK x\nC: CAPA\nS: +OK\nS: XCLIENT\nS: .\n{XCLIENT}S: +OK\n{}S: +OK in\nEND",
                    auth(3)
                ),
            ),
            case(
                "none",
                "plain",
                format!(
                    "S: +OK x\nC: CAPA\nS: +OK\nS: TOP\nS: .\n{}S: +OK in\nEND",
                    auth(4)
                ),
            ),
        ],
        "",
    )
}

#[test]
fn a_password_keeps_its_blanks_a_wish_for_utf8_is_said_again_and_what_is_long_waits_for_the_prompt()
-> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let long = "p".repeat(300);
    let scripts = [
        format!("S: +OK x\nC: AUTH PLAIN {}\nS: +OK in", plain(&user(0), " p  w ")),
        format!(
            "S: +OK x\nC: CAPA\nS: +OK\nS: UTF8 USER\nS: .\nC: UTF8\nS: +OK\nC: AUTH PLAIN {}\nS: +OK in",
            plain(&user(1), "pw")
        ),
        format!(
            "S: +OK x\nC: CAPA\nS: +OK\nS: TOP\nS: .\nC: AUTH PLAIN {}\nS: +OK in",
            plain(&user(2), "pw")
        ),
        format!(
            "S: +OK x\nC: AUTH PLAIN\nS: + \nC: {}\nS: +OK in",
            plain(&user(3), &long)
        ),
    ];
    let (mut tables, mut moved, mut backends) = (DEAD.to_owned(), String::new(), Vec::new());
    for (number, script) in scripts.into_iter().enumerate() {
        let backend = Scripted::start(&place, &issued, move |_| script.clone())?;
        tables += &destination(number, &backend, &issued, "pop3", "plain", "");
        moved += &format!("{} d{number}\n", user(number));
        backends.push(backend);
    }
    let setup = Setup {
        tables: &tables,
        moved: &moved,
        ..only(&["pop3"])
    };
    let node = Lone::start(&place, &ca, setup)?;
    for (number, (before, password)) in [
        ("", " p  w "),
        ("C: UTF8\nS: +OK…\n", "pw"),
        ("C: UTF8\nS: +OK…\n", "pw"),
        ("", &long),
    ]
    .into_iter()
    .enumerate()
    {
        let dialogue = format!(
            "S: +OK …\n{before}C: USER {}\nS: +OK…\nC: PASS {password}\nS: +OK in\nEND",
            user(number)
        );
        node.play("pop3", "implicit", &dialogue)?;
        let played = eventually("the backend's side is over", SOON, || {
            backends[number].played().pop()
        })?;
        assert_eq!(played.fault, None);
    }
    Ok(())
}
