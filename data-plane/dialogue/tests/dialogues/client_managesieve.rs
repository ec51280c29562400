//! Every reply that a ManageSieve client can draw before login (behaviour §2, §6.3, §7.1).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailswitch_dialogue::{
    CleartextAuth, ClientLeg, ClientOutcome, ClientSide, ClientSideConfig, Farewell, HeldReply, Hops,
    LINE_LIMIT, Login, Mechanism, Method, PeerTrust, Presentation, Protocol, Routing, Why, client_side,
    farewell,
};

use crate::support::*;

const BLOCK: &str = "\"IMPLEMENTATION\" \"Mailswitch ManageSieve\"\r\n\"VERSION\" \"1.0\"\r\n\
    \"SASL\" \"PLAIN LOGIN OAUTHBEARER XOAUTH2\"\r\n\"SIEVE\" \"fileinto vacation\"\r\nOK \"Mailswitch ManageSieve ready.\"\r\n";

const IN_CLEAR: &str = "\"IMPLEMENTATION\" \"Mailswitch ManageSieve\"\r\n\"VERSION\" \"1.0\"\r\n\"SASL\" \"\"\r\n\
    \"SIEVE\" \"fileinto vacation\"\r\n\"STARTTLS\"\r\nOK \"Mailswitch ManageSieve ready.\"\r\n";

fn sieve() -> ClientSide {
    client(Protocol::ManageSieve)
}

fn replies(script: &[u8]) -> String {
    let run = run(sieve(), &[script]);
    run.said.strip_prefix(BLOCK).expect("the capabilities").to_owned()
}

fn login_of(script: &[u8]) -> Box<Login> {
    let run = run(sieve(), &[script]);
    match run.done {
        Some(ClientOutcome::Login(login)) => login,
        other => panic!("{}: {other:?} after {}", script.escape_ascii(), run.said),
    }
}

#[test]
fn each_command_has_its_reply() {
    const UNKNOWN: &str = "NO \"Command not known or not permitted before login\"\r\n";
    for (script, reply) in [
        ("CAPABILITY\r\n", BLOCK),
        ("NOOP\r\n", "OK \"Done\"\r\n"),
        ("noop \"a tag\"\r\n", "OK (TAG {5}\r\na tag) \"Done\"\r\n"),
        ("NOOP {4+}\r\n\"\r\n)\r\n", "OK (TAG {4}\r\n\"\r\n)) \"Done\"\r\n"),
        ("STARTTLS\r\n", "NO \"STARTTLS is not available\"\r\n"),
        ("LISTSCRIPTS\r\n", UNKNOWN),
        (
            "PUTSCRIPT \"a\" {8+}\r\nLOGOUT\r\n\r\nNOOP\r\n",
            &format!("{UNKNOWN}OK \"Done\"\r\n"),
        ),
        ("XCLIENT ADDR=1.2.3.4\r\n", UNKNOWN),
        ("UNAUTHENTICATE\r\n", UNKNOWN),
        ("\r\n", "NO \"Syntax error\"\r\n"),
        ("NOOP tag\r\n", "NO \"Syntax error\"\r\n"),
        ("NOOP \"a\r\n", "NO \"Syntax error\"\r\n"),
        ("AUTHENTICATE\r\n", "NO \"Syntax error\"\r\n"),
        (
            "AUTHENTICATE \"CRAM-MD5\"\r\n",
            "NO \"Unsupported mechanism\"\r\n",
        ),
        ("AUTHENTICATE \"PLAIN\" \"!!!\"\r\n", "NO \"Invalid base64\"\r\n"),
        (
            "AUTHENTICATE \"PLAIN\" \"AAAA\"\r\n",
            "NO \"Malformed credentials\"\r\n",
        ),
        (
            "AUTHENTICATE \"PLAIN\" \"\"\r\n",
            "NO \"Malformed credentials\"\r\n",
        ),
        (
            "AUTHENTICATE \"PLAIN\"\r\n\"AAA\r\n",
            "\"\"\r\nNO \"Malformed credentials\"\r\n",
        ),
        (
            "AUTHENTICATE \"PLAIN\"\r\n\"*\"\r\nNOOP\r\n",
            "\"\"\r\nNO \"Authentication cancelled\"\r\nOK \"Done\"\r\n",
        ),
        (
            "AUTHENTICATE \"PLAIN\"\r\n*\r\n",
            "\"\"\r\nNO \"Authentication cancelled\"\r\n",
        ),
        ("LOGOUT\r\n", "OK \"Logout\"\r\n"),
    ] {
        assert_eq!(replies(script.as_bytes()), reply, "{script:?}");
    }
}

/// MDB: the peer prompts with a `{0}` literal that lacks its closing line end.
#[test]
fn the_empty_prompt_is_an_empty_string_and_those_of_login_are_literals() {
    assert_eq!(replies(b"AUTHENTICATE \"PLAIN\"\r\n"), "\"\"\r\n");
    assert_eq!(
        replies(b"AUTHENTICATE \"LOGIN\"\r\n\"YW5u\"\r\n\"*\"\r\n"),
        "{12}\r\nVXNlcm5hbWU6\r\n{12}\r\nUGFzc3dvcmQ6\r\nNO \"Authentication cancelled\"\r\n"
    );
}

/// MDB: the peer writes `{n}` back, which no client expects.
#[test]
fn literals_of_both_kinds_are_read_and_neither_draws_a_prompt() {
    for script in [
        "AUTHENTICATE \"PLAIN\" {28+}\r\nAGFubkB4LmV4YW1wbGUAcHc=XXXX\r\n",
        "AUTHENTICATE {5}\r\nPLAIN {24}\r\nAGFubkB4LmV4YW1wbGUAcHc=\r\n",
        "AUTHENTICATE {5+}\r\nPLAIN {24+}\r\nAGFubkB4LmV4YW1wbGUAcHc=\r\n",
        "AUTHENTICATE \"PLAIN\"\r\n{24}\r\nAGFubkB4LmV4YW1wbGUAcHc=\r\n",
        "AUTHENTICATE \"PLAIN\"\r\n{24+}\r\nAGFubkB4LmV4YW1wbGUAcHc=\r\n",
    ] {
        let run = run(sieve(), &[script.as_bytes()]);
        let said = run.said.strip_prefix(BLOCK).unwrap();
        if script.contains("XXXX") {
            assert_eq!(said, "NO \"Invalid base64\"\r\n");
            continue;
        }
        assert!(matches!(said, "" | "\"\"\r\n"), "{said}");
        let Some(ClientOutcome::Login(login)) = run.done else {
            panic!("{script}")
        };
        assert_eq!(login.credential.expose(), b"\0ann@x.example\0pw");
    }
}

#[test]
fn a_login_is_read_from_every_form_that_a_client_may_use() {
    for (script, mechanism) in [
        (
            "AUTHENTICATE \"PLAIN\" \"AGFubkB4LmV4YW1wbGUAcHc=\"\r\n",
            Mechanism::Plain,
        ),
        (
            "authenticate \"plain\" \"AGFubkB4LmV4YW1wbGUAcHc\"\r\n",
            Mechanism::Plain,
        ),
        (
            "AUTHENTICATE \"PLAIN\"\r\n\"AGFubkB4LmV4YW1wbGUAcHc=\"\r\n",
            Mechanism::Plain,
        ),
        // Leniency: a bare line.
        (
            "AUTHENTICATE \"PLAIN\"\r\nAGFubkB4LmV4YW1wbGUAcHc=\r\n",
            Mechanism::Plain,
        ),
        (
            "AUTHENTICATE \"LOGIN\"\r\n\"YW5uQHguZXhhbXBsZQ==\"\r\n\"cHc=\"\r\n",
            Mechanism::Login,
        ),
        (
            "AUTHENTICATE \"LOGIN\" \"YW5uQHguZXhhbXBsZQ==\"\r\n{4+}\r\ncHc=\r\n",
            Mechanism::Login,
        ),
    ] {
        let login = login_of(script.as_bytes());
        assert_eq!(login.credential.expose(), b"\0ann@x.example\0pw", "{script:?}");
        assert_eq!(login.routing, Routing::Login("ann@x.example".to_owned()));
        assert_eq!(login.method, Method::Sasl(mechanism));
    }
}

/// MDB: the code is RFC 5804's.
#[test]
fn a_client_in_clear_is_told_that_encryption_is_needed() {
    let run = run(
        client_on(Protocol::ManageSieve, ClientLeg::StartTls, CleartextAuth::Refused),
        &[b"AUTHENTICATE \"PLAIN\"\r\n"],
    );
    assert_eq!(
        run.said,
        format!("{IN_CLEAR}NO (ENCRYPT-NEEDED) \"Encryption required for authentication\"\r\n")
    );
}

#[test]
fn the_capabilities_are_said_again_inside_tls() {
    let run = run(
        client_on(Protocol::ManageSieve, ClientLeg::StartTls, CleartextAuth::Refused),
        &[b"STARTTLS\r\nNOOP \"injected\"\r\n", b"STARTTLS\r\n"],
    );
    assert_eq!(
        run.said,
        format!("{IN_CLEAR}OK \"Begin TLS negotiation\"\r\n{TLS}{BLOCK}NO \"STARTTLS is not available\"\r\n")
    );
}

#[test]
fn half_a_command_in_clear_is_no_part_of_one_inside_tls() {
    let mut wire = Wire::new(client_on(
        Protocol::ManageSieve,
        ClientLeg::StartTls,
        CleartextAuth::Refused,
    ));
    wire.receive(b"STARTTLS\r\nNOOP {4+}\r\nab");
    wire.receive(b"NOOP\r\n");
    let said = wire.finish().said;
    assert!(said.ends_with(&format!("{TLS}{BLOCK}OK \"Done\"\r\n")), "{said}");
}

#[test]
fn a_capability_too_long_for_a_quoted_string_is_a_literal_and_others_are_escaped() {
    let client = client_side(ClientSideConfig {
        presentation: Presentation::ManageSieve {
            implementation: "a \"b\\c\"".into(),
            sieve: Arc::new(["x".repeat(1000), "y".repeat(100)]),
        },
        access: access(CleartextAuth::Refused),
        leg: ClientLeg::Encrypted(tls()),
        peer: PeerTrust::Client,
    });
    let said = run(client, &[]).said;
    assert!(
        said.starts_with("\"IMPLEMENTATION\" \"a \\\"b\\\\c\\\"\"\r\n"),
        "{said}"
    );
    let literal = format!(
        "\"SIEVE\" {{1101}}\r\n{} {}\r\n",
        "x".repeat(1000),
        "y".repeat(100)
    );
    assert!(said.contains(&literal), "{said}");
}

#[test]
fn only_failures_count_and_the_last_one_says_goodbye() {
    let run = run(
        sieve(),
        &[
            b"LISTSCRIPTS\r\nAUTHENTICATE \"PLAIN\"\r\n\"*\"\r\nAUTHENTICATE \"X\"\r\nNOOP x\r\nNOOP\r\n\
            AUTHENTICATE \"PLAIN\" \"!\"\r\nNOOP\r\n",
        ],
    );
    assert!(
        run.said
            .ends_with("OK \"Done\"\r\nNO \"Invalid base64\"\r\nBYE \"Too many errors\"\r\n"),
        "{}",
        run.said
    );
    assert!(matches!(
        run.done,
        Some(ClientOutcome::Closed(Why::TooManyFailures))
    ));
    assert_eq!(run.rest, b"NOOP\r\n");
}

#[test]
fn what_is_too_long_closes_with_a_goodbye() {
    let endless = vec![b'a'; LINE_LIMIT + 2];
    for head in [
        &b""[..],
        b"AUTHENTICATE \"PLAIN\"\r\n",
        b"AUTHENTICATE \"PLAIN\"\r\n\"",
        b"PUTSCRIPT \"a\" {70000+}\r\n",
        b"PUTSCRIPT \"a\" {70000}\r\n",
        b"AUTHENTICATE \"PLAIN\"\r\n{65537+}\r\n",
    ] {
        let run = run(sieve(), &[head, &endless]);
        assert!(
            run.said.ends_with("BYE \"Line or literal too long\"\r\n"),
            "{}: {}",
            head.escape_ascii(),
            run.said
        );
        assert!(matches!(run.done, Some(ClientOutcome::Closed(Why::TooLong))));
    }
    assert_eq!(
        replies(format!("NOOP {{1025+}}\r\n{}\r\n", "t".repeat(1025)).as_bytes()),
        "NO \"Tag too long\"\r\n"
    );
}

#[test]
fn a_token_that_fills_a_literal_is_read() {
    let head = "n,a=ann@x.example,\x01auth=Bearer ";
    let frame = format!("{head}{}\x01\x01", "t".repeat(49_050 - head.len() - 2));
    let encoded = STANDARD.encode(&frame);
    for script in [
        format!(
            "AUTHENTICATE \"OAUTHBEARER\" {{{}+}}\r\n{encoded}\r\n",
            encoded.len()
        ),
        format!("AUTHENTICATE \"OAUTHBEARER\" \"{encoded}\"\r\n"),
        format!("AUTHENTICATE \"OAUTHBEARER\"\r\n{encoded}\r\n"),
    ] {
        assert_eq!(login_of(script.as_bytes()).credential.expose(), frame.as_bytes());
    }
}

#[test]
fn xclient_is_offered_to_a_proxy_of_ours_only_and_only_its_ttl_is_taken() {
    let proxied = |script: &[u8]| {
        let client = client_side(ClientSideConfig {
            presentation: presentation(Protocol::ManageSieve),
            access: access(CleartextAuth::Refused),
            leg: ClientLeg::Encrypted(tls()),
            peer: PeerTrust::Proxy,
        });
        run(client, &[script])
    };
    let run = proxied(b"XCLIENT TTL=4 ADDR=192.0.2.1\r\nAUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n");
    assert!(run.said.contains("\"XCLIENT\"\r\nOK "), "{}", run.said);
    assert!(run.said.ends_with("OK \"Updated\"\r\n"));
    let Some(ClientOutcome::Login(login)) = run.done else {
        panic!("{}", run.said)
    };
    assert_eq!(login.hops, Some(Hops(4)));
    assert!(proxied(b"XCLIENT TTL=x\r\n").said.ends_with("NO \"Bad TTL\"\r\n"));
}

#[test]
fn what_we_answer_ourselves_is_never_a_wrong_password_unless_it_was() {
    let command = login(Protocol::ManageSieve).command;
    assert_eq!(
        command.temporary_failure(),
        b"NO (TRYLATER) \"backend unavailable\"\r\nBYE (TRYLATER) \"backend unavailable\"\r\n"
    );
    assert_eq!(
        command.authentication_failed(),
        b"NO \"Authentication failed.\"\r\n"
    );
    assert!(command.after_refusal().starts_with(b"BYE "));
    assert!(command.held(HeldReply::Bye).starts_with(b"BYE (TRYLATER) "));
    assert!(command.held(HeldReply::No).starts_with(b"NO (TRYLATER) "));
    for why in [Farewell::Timeout, Farewell::Shutdown, Farewell::Busy] {
        assert!(farewell(Protocol::ManageSieve, why).starts_with(b"BYE "));
    }
}
