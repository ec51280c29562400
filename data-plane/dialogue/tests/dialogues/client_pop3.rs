//! Every reply that a POP3 client can draw before login (behaviour §2, §6.2, §7.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailswitch_dialogue::{
    CleartextAuth, ClientLeg, ClientOutcome, ClientSideConfig, Farewell, HeldReply, Hops, LINE_LIMIT, Login,
    Mechanism, Method, PeerTrust, Protocol, Routing, Why, client_side, farewell,
};

use crate::support::*;

const GREETING: &str = "+OK Mailswitch ready.\r\n";

fn replies(script: &[u8]) -> String {
    let run = run(client(Protocol::Pop3), &[script]);
    run.said.strip_prefix(GREETING).expect("the greeting").to_owned()
}

fn login_of(script: &[u8]) -> Box<Login> {
    let run = run(client(Protocol::Pop3), &[script]);
    match run.done {
        Some(ClientOutcome::Login(login)) => login,
        other => panic!("{}: {other:?} after {}", script.escape_ascii(), run.said),
    }
}

#[test]
fn each_command_has_its_reply() {
    for (script, reply) in [
        (
            "CAPA\r\n",
            "+OK Capability list follows\r\nUSER\r\nSASL PLAIN LOGIN OAUTHBEARER XOAUTH2\r\nTOP\r\nRESP-CODES\r\nPIPELINING\r\n\
             EXPIRE NEVER\r\nUIDL\r\nUTF8\r\nIMPLEMENTATION Mailswitch\r\n.\r\n",
        ),
        ("NOOP\r\n", "+OK\r\n"),
        ("utf8\r\n", "+OK UTF8 enabled\r\n"),
        ("UTF8 now\r\n", "-ERR Too many arguments\r\n"),
        (
            "APOP ann c4c9334bac560ecc979e58001b3e22fb\r\n",
            "-ERR Command not known or not permitted before login\r\n",
        ),
        (
            "STAT\r\n",
            "-ERR Command not known or not permitted before login\r\n",
        ),
        (
            "XCLIENT ADDR=1.2.3.4\r\n",
            "-ERR Command not known or not permitted before login\r\n",
        ),
        ("STLS\r\n", "-ERR STLS is not available\r\n"),
        ("USER ann\r\n", "+OK Send PASS\r\n"),
        ("USER\r\n", "-ERR USER needs a name\r\n"),
        ("PASS pw\r\n", "-ERR Send USER first\r\n"),
        (
            "USER ann\r\nPASS\r\nPASS pw\r\n",
            "+OK Send PASS\r\n-ERR Malformed credentials\r\n-ERR Send USER first\r\n",
        ),
        (
            "AUTH\r\n",
            "+OK\r\nPLAIN\r\nLOGIN\r\nOAUTHBEARER\r\nXOAUTH2\r\n.\r\n",
        ),
        ("AUTH CRAM-MD5\r\n", "-ERR Unsupported mechanism\r\n"),
        (
            "USER ann\r\nAUTH X\r\nPASS pw\r\n",
            "+OK Send PASS\r\n-ERR Unsupported mechanism\r\n-ERR Send USER first\r\n",
        ),
        ("AUTH PLAIN !!!\r\n", "-ERR Invalid base64\r\n"),
        ("AUTH PLAIN AAAA\r\n", "-ERR Malformed credentials\r\n"),
        ("AUTH PLAIN =\r\n", "-ERR Malformed credentials\r\n"),
        ("AUTH PLAIN\r\n*\r\n", "+ \r\n-ERR Authentication cancelled\r\n"),
        (
            "AUTH LOGIN\r\nYW5u\r\n*\r\n",
            "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n-ERR Authentication cancelled\r\n",
        ),
        ("AUTH PLAIN !\r\nNOOP\r\n", "-ERR Invalid base64\r\n+OK\r\n"),
        ("\r\n", "-ERR Not a command\r\n"),
        ("QUIT\r\n", "+OK Bye\r\n"),
    ] {
        assert_eq!(replies(script.as_bytes()), reply, "{script:?}");
    }
}

#[test]
fn the_capabilities_say_what_is_possible_now() {
    let capa = |leg, cleartext| {
        run(client_on(Protocol::Pop3, leg, cleartext), &[b"CAPA\r\nAUTH\r\n"])
            .said
            .replace(GREETING, "")
    };
    let fixed = "TOP\r\nRESP-CODES\r\nPIPELINING\r\nEXPIRE NEVER\r\nUIDL\r\nUTF8\r\nIMPLEMENTATION Mailswitch\r\n.\r\n";
    assert_eq!(
        capa(ClientLeg::StartTls, CleartextAuth::Refused),
        format!("+OK Capability list follows\r\nSTLS\r\n{fixed}+OK\r\n.\r\n")
    );
    assert_eq!(
        capa(ClientLeg::Plain, CleartextAuth::Refused),
        format!("+OK Capability list follows\r\n{fixed}+OK\r\n.\r\n")
    );
    assert!(capa(ClientLeg::StartTls, CleartextAuth::Allowed).starts_with(
        "+OK Capability list follows\r\nUSER\r\nSASL PLAIN LOGIN OAUTHBEARER XOAUTH2\r\nSTLS\r\nTOP\r\n"
    ));
}

#[test]
fn a_login_is_read_from_every_form_that_a_client_may_use() {
    for (script, method) in [
        ("USER ann@x.example\r\nPASS pw\r\n", Method::Command),
        ("user ann@x.example \r\npass pw\r\n", Method::Command),
        ("USER eve\r\nUSER ann@x.example\r\nPASS pw\r\n", Method::Command),
        (
            "AUTH PLAIN AGFubkB4LmV4YW1wbGUAcHc=\r\n",
            Method::Sasl(Mechanism::Plain),
        ),
        (
            "USER eve\r\nAUTH plain\r\nAGFubkB4LmV4YW1wbGUAcHc\r\n",
            Method::Sasl(Mechanism::Plain),
        ),
        (
            "AUTH LOGIN\r\nYW5uQHguZXhhbXBsZQ==\r\ncHc=\r\n",
            Method::Sasl(Mechanism::Login),
        ),
        (
            "AUTH LOGIN YW5uQHguZXhhbXBsZQ==\r\ncHc=\r\n",
            Method::Sasl(Mechanism::Login),
        ),
    ] {
        let login = login_of(script.as_bytes());
        assert_eq!(login.credential.expose(), b"\0ann@x.example\0pw", "{script:?}");
        assert_eq!(login.routing, Routing::Login("ann@x.example".to_owned()));
        assert_eq!(login.method, method);
    }
}

/// MDB: the peer strips leading blanks.
#[test]
fn pass_keeps_every_blank_of_the_password() {
    let login = login_of(b"USER ann\r\nPASS  two  words \r\n");
    assert_eq!(login.credential.expose(), b"\0ann\0 two  words ");
}

#[test]
fn a_nul_in_a_name_or_a_password_is_refused_so_that_nobody_reads_another_user() {
    assert_eq!(
        replies(b"USER ann\r\nPASS p\0w\r\n"),
        "+OK Send PASS\r\n-ERR Malformed credentials\r\n"
    );
    assert_eq!(
        replies(b"USER ann\0eve\r\nPASS pw\r\n"),
        "-ERR Not a command\r\n-ERR Send USER first\r\n"
    );
}

/// MDB.
#[test]
fn stls_forgets_a_pending_user_and_utf8() {
    let run = run(
        client_on(Protocol::Pop3, ClientLeg::StartTls, CleartextAuth::Allowed),
        &[
            b"UTF8\r\nUSER eve\r\nSTLS\r\n",
            b"PASS pw\r\nUSER ann\r\nPASS pw\r\n",
        ],
    );
    let (_, behind) = run.said.split_once(TLS).unwrap();
    assert_eq!(behind, "-ERR Send USER first\r\n+OK Send PASS\r\n");
    let Some(ClientOutcome::Login(login)) = run.done else {
        panic!("no login")
    };
    assert_eq!(login.routing, Routing::Login("ann".to_owned()));
    let handshake = mailswitch_dialogue::handshake(
        &login.command,
        leg(
            mailswitch_dialogue::BackendLeg::Plain,
            mailswitch_dialogue::Announce::Nothing,
        ),
    );
    let backend = crate::support::run(handshake, &[b"+OK hi\r\n"]);
    assert_eq!(backend.said, "", "nobody asked for UTF8 inside TLS");
}

#[test]
fn only_failures_count_and_the_last_one_closes_without_more_words() {
    let run = run(
        client(Protocol::Pop3),
        &[b"STAT\r\nPASS x\r\nAUTH PLAIN\r\n*\r\nAUTH X\r\nUSER ann\r\nPASS\r\nNOOP\r\nAUTH PLAIN !\r\nNOOP\r\n"],
    );
    assert!(
        run.said.ends_with("+OK\r\n-ERR Invalid base64\r\n"),
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
fn a_line_without_end_closes() {
    for head in [&b""[..], b"USER ann\r\nPASS ", b"AUTH PLAIN\r\n"] {
        let run = run(client(Protocol::Pop3), &[head, &vec![b'a'; LINE_LIMIT + 2]]);
        assert!(run.said.ends_with("-ERR Line too long\r\n"));
        assert!(matches!(run.done, Some(ClientOutcome::Closed(Why::TooLong))));
    }
}

#[test]
fn a_token_that_fills_a_line_is_read() {
    let head = "n,a=ann@x.example,\x01auth=Bearer ";
    let frame = format!("{head}{}\x01\x01", "t".repeat(49_137 - head.len() - 2));
    let script = format!("AUTH OAUTHBEARER {}\r\n", STANDARD.encode(&frame));
    assert!((LINE_LIMIT - 4..=LINE_LIMIT).contains(&(script.len() - 2)));
    assert_eq!(login_of(script.as_bytes()).credential.expose(), frame.as_bytes());
}

#[test]
fn xclient_is_offered_to_a_proxy_of_ours_only_and_only_its_ttl_is_taken() {
    let proxied = |script: &[u8]| {
        let client = client_side(ClientSideConfig {
            presentation: presentation(Protocol::Pop3),
            access: access(CleartextAuth::Refused),
            leg: ClientLeg::Encrypted(tls()),
            peer: PeerTrust::Proxy,
        });
        run(client, &[script])
    };
    let run = proxied(b"CAPA\r\nXCLIENT TTL=4 ADDR=192.0.2.1\r\nUSER ann\r\nPASS pw\r\n");
    assert!(run.said.starts_with("+OK [XCLIENT] Mailswitch ready.\r\n"));
    assert!(run.said.contains("\r\nXCLIENT\r\n") && run.said.contains("+OK Updated\r\n"));
    let Some(ClientOutcome::Login(login)) = run.done else {
        panic!("{}", run.said)
    };
    assert_eq!(login.hops, Some(Hops(4)));
    assert!(proxied(b"XCLIENT TTL=x\r\n").said.ends_with("-ERR Bad TTL\r\n"));
}

#[test]
fn what_we_answer_ourselves_is_never_a_wrong_password_unless_it_was() {
    let command = login(Protocol::Pop3).command;
    assert_eq!(
        command.temporary_failure(),
        b"-ERR [SYS/TEMP] backend unavailable, wait and try again\r\n"
    );
    assert_eq!(
        command.authentication_failed(),
        b"-ERR [AUTH] Authentication failed.\r\n"
    );
    assert_eq!(command.after_refusal(), b"");
    assert_eq!(command.held(HeldReply::Bye), b"", "the command stays unanswered");
    assert!(command.held(HeldReply::No).starts_with(b"-ERR [SYS/TEMP] "));
    assert_eq!(farewell(Protocol::Pop3, Farewell::Timeout), b"", "RFC 1939 §3");
    for why in [Farewell::Shutdown, Farewell::Busy] {
        assert!(farewell(Protocol::Pop3, why).starts_with(b"-ERR [SYS/TEMP] "));
    }
}
