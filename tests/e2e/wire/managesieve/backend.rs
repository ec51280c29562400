//! ManageSieve toward a backend: what it is sent, and what comes of its answer (behaviour §6.3, §6.6).

use anyhow::Result;

use super::super::{
    lone::plain,
    scripts::{Case, play, user},
};
use super::UNAVAILABLE;

fn auth(number: usize) -> String {
    format!("C: AUTHENTICATE \"PLAIN\" \"{}\"\n", plain(&user(number), "pw"))
}

#[test]
fn a_backend_that_is_no_backend_gets_no_credential_and_the_client_the_temporary_failure() -> Result<()> {
    let case = |what, tls, keys, backend: &str, cause| Case {
        what,
        protocol: "managesieve",
        tls,
        keys,
        backend: backend.to_owned(),
        client: UNAVAILABLE,
        cause,
    };
    play(
        &[
            case("BYE", "plain", "", "S: BYE \"full\"\nEND", "BYE"),
            case(
                "NO",
                "plain",
                "",
                "S: \"SASL\" \"\"\nS: NO {4}\nS: full\nEND",
                "NO",
            ),
            case("no ManageSieve", "plain", "", "S: * OK imap\nEND", "imap"),
            case(
                "no STARTTLS",
                "starttls",
                "",
                "S: \"SASL\" \"PLAIN\"\nS: OK\nEND",
                "does not offer STARTTLS",
            ),
            case(
                "STARTTLS in a literal is none",
                "starttls",
                "",
                "S: \"SIEVE\" {12}\nS: \"STARTTLS\"\nS: \nS: OK\nEND",
                "does not offer STARTTLS",
            ),
            case(
                "STARTTLS refused",
                "starttls",
                "",
                "S: \"STARTTLS\"\nS: OK\nC: STARTTLS\nS: NO {4}\nS: full\nEND",
                "refused STARTTLS",
            ),
            case(
                "injected behind STARTTLS",
                "starttls",
                "",
                "S: \"STARTTLS\"\nS: OK\nC: STARTTLS\nS: OK\nS: \"SASL\" \"PLAIN\"\nS: OK\nEND",
                "in clear behind",
            ),
            case(
                "XCLIENT refused",
                "plain",
                "forwarding = \"xclient\"\n",
                "S: \"XCLIENT\"\nS: OK\nC: XCLIENT ADDR=127.…\nS: NO \"no\"\nEND",
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
        protocol: "managesieve",
        tls: "plain",
        keys,
        backend: format!("S: \"SASL\" \"PLAIN\"\nS: OK \"hi\"\n{backend}"),
        client,
        cause,
    };
    play(
        &[
            case(
                "OK and what follows",
                "",
                auth(0) + "S: OK (SASL \"x\") \"in\"\nC: LISTSCRIPTS\nS: OK\nEND",
                "S: OK (SASL \"x\") \"in\"\nC: LISTSCRIPTS\nS: OK",
                "",
            ),
            case(
                "a refusal with a literal, in its words",
                "",
                auth(1) + "S: NO {19}\nS: OK\nS: not you, ever\nS: \nEND",
                "S: NO {19}\nS: OK\nS: not you, ever\nS: \nS: BYE…\nEND",
                "",
            ),
            case(
                "a refusal that is hidden",
                HIDE,
                auth(2) + "S: NO {12}\nS: no such user\nEND",
                "S: NO \"Authentication failed.\"\nS: BYE…\nEND",
                "",
            ),
            case(
                "a temporary refusal that is not hidden",
                HIDE,
                auth(3) + "S: NO (TRYLATER) \"database away\"\nEND",
                "S: NO (TRYLATER) \"database away\"\nS: BYE…\nEND",
                "",
            ),
            case(
                "a quoted challenge to PLAIN is cancelled",
                "",
                auth(4) + "S: \"more\"\nC: \"*\"\nS: NO \"cancelled\"\nEND",
                "S: NO \"cancelled\"\nS: BYE…\nEND",
                "",
            ),
            case(
                "a literal one too",
                "",
                auth(5) + "S: {4}\nS: more\nC: \"*\"\nS: NO \"cancelled\"\nEND",
                "S: NO \"cancelled\"\nS: BYE…\nEND",
                "",
            ),
            case(
                "BYE",
                "",
                auth(6) + "S: BYE \"gone\"\nEND",
                UNAVAILABLE,
                "goodbye",
            ),
            case("closed", "", auth(7), UNAVAILABLE, "closed"),
            case(
                "nonsense",
                "",
                auth(8) + "S: hello\nEND",
                UNAVAILABLE,
                "no ManageSieve reply",
            ),
            case("no answer", "", auth(9) + "END", UNAVAILABLE, "did not answer"),
        ],
        "backend_timeout = \"2s\"\n",
    )
}

#[test]
fn the_block_inside_tls_counts_and_xclient_may_bring_another() -> Result<()> {
    const XCLIENT: &str =
        "C: XCLIENT ADDR=127.… PORT=… DESTADDR=127.… DESTPORT=… SESSION=… TTL=6 CLIENT-TRANSPORT=TLS\n";
    let case = |what, tls, backend: String| Case {
        what,
        protocol: "managesieve",
        tls,
        keys: "forwarding = \"xclient\"\n",
        backend,
        client: "S: OK \"in\"",
        cause: "",
    };
    let start = "S: \"STARTTLS\"\nS: \"XCLIENT\"\nS: OK\nC: STARTTLS\nS: OK\nTLS\n";
    play(
        &[
            case(
                "listed again",
                "starttls",
                format!(
                    "{start}S: \"XCLIENT\"\nS: OK\n{XCLIENT}S: OK \"Updated\"\n{}S: OK \"in\"\nEND",
                    auth(0)
                ),
            ),
            case(
                "not listed again",
                "starttls",
                format!(
                    "{start}S: \"SASL\" \"PLAIN\"\nS: OK\n{}S: OK \"in\"\nEND",
                    auth(1)
                ),
            ),
            case(
                "capabilities behind XCLIENT",
                "implicit",
                format!(
                    "TLS\nS: \"XCLIENT\"\nS: OK\n{XCLIENT}S: \"SASL\" \"PLAIN\"\nS: OK\n{}S: OK \"in\"\nEND",
                    auth(2)
                ),
            ),
        ],
        "",
    )
}
