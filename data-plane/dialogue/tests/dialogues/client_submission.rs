//! Every reply that a submission client can draw before login (behaviour §2, §6.4, §7.1).

use mailswitch_dialogue::{
    CleartextAuth, ClientLeg, ClientOutcome, ClientSideConfig, Farewell, HeldReply, Hops, LINE_LIMIT,
    Mechanism, Method, PeerTrust, Protocol, Routing, Why, client_side, farewell,
};

use crate::support::*;

const GREETING: &str = "220 mx.example ESMTP Mailswitch\r\n";

fn replies(script: &[u8]) -> String {
    let run = run(client(Protocol::Submission), &[script]);
    run.said.strip_prefix(GREETING).expect("the greeting").to_owned()
}

fn login_of(script: &[u8]) -> (String, Box<mailswitch_dialogue::Login>) {
    let run = run(client(Protocol::Submission), &[script]);
    match run.done {
        Some(ClientOutcome::Login(login)) => (run.said.replace(GREETING, ""), login),
        other => panic!("{}: {other:?} after {}", script.escape_ascii(), run.said),
    }
}

#[test]
fn each_command_has_its_reply() {
    for (script, reply) in [
        (
            "EHLO me.example\r\n",
            "250-mx.example at your service, [me.example]\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2\r\n",
        ),
        ("HELO me.example\r\n", "250 mx.example\r\n"),
        ("NOOP\r\n", "250 2.0.0 OK\r\n"),
        ("RSET\r\n", "250 2.0.0 OK\r\n"),
        ("STARTTLS\r\n", "503 5.5.1 STARTTLS is not available\r\n"),
        ("MAIL FROM:<a@x>\r\n", "530 5.7.0 Authentication required\r\n"),
        ("RCPT TO:<a@x>\r\n", "530 5.7.0 Authentication required\r\n"),
        ("DATA\r\n", "530 5.7.0 Authentication required\r\n"),
        (
            "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n",
            "530 5.7.0 Authentication required\r\n250 2.0.0 OK\r\n",
        ),
        ("VRFY a\r\n", "503 5.5.1 Command not available here\r\n"),
        (
            "XCLIENT ADDR=1.2.3.4\r\n",
            "503 5.5.1 Command not available here\r\n",
        ),
        ("FOO\r\n", "500 5.5.2 Command not recognized\r\n"),
        ("\r\n", "500 5.5.2 Not a command\r\n"),
        ("EHLO\r\n", "501 5.5.4 Bad argument\r\n"),
        ("QUIT\r\n", "221 2.0.0 Bye\r\n"),
        ("AUTH\r\n", "501 5.5.4 Bad argument\r\n"),
        ("AUTH CRAM-MD5\r\n", "504 5.5.4 Unsupported mechanism\r\n"),
        ("AUTH PLAIN !!!\r\n", "501 5.5.2 Invalid base64\r\n"),
        ("AUTH PLAIN AAAA\r\n", "535 5.7.8 Malformed credentials\r\n"),
        (
            "AUTH PLAIN\r\n*\r\n",
            "334 \r\n501 5.7.0 Authentication cancelled\r\n",
        ),
        (
            "AUTH LOGIN\r\nYW5u\r\n*\r\n",
            "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n501 5.7.0 Authentication cancelled\r\n",
        ),
        (
            "AUTH PLAIN !\r\nNOOP\r\n",
            "501 5.5.2 Invalid base64\r\n250 2.0.0 OK\r\n",
        ),
    ] {
        assert_eq!(replies(script.as_bytes()), reply, "{script:?}");
    }
}

#[test]
fn a_login_is_read_from_every_form_that_a_client_may_use() {
    for (script, mechanism) in [
        ("AUTH PLAIN AGFubkB4LmV4YW1wbGUAcHc=\r\n", Mechanism::Plain),
        ("auth plain AGFubkB4LmV4YW1wbGUAcHc\r\n", Mechanism::Plain),
        (
            "EHLO a\r\nAUTH PLAIN\r\nAGFubkB4LmV4YW1wbGUAcHc=\r\n",
            Mechanism::Plain,
        ),
        ("AUTH LOGIN\r\nYW5uQHguZXhhbXBsZQ==\r\ncHc=\r\n", Mechanism::Login),
        ("AUTH LOGIN YW5uQHguZXhhbXBsZQ==\r\ncHc=\r\n", Mechanism::Login),
    ] {
        let (_, login) = login_of(script.as_bytes());
        assert_eq!(login.credential.expose(), b"\0ann@x.example\0pw", "{script:?}");
        assert_eq!(login.routing, Routing::Login("ann@x.example".to_owned()));
        assert_eq!(login.method, Method::Sasl(mechanism));
    }
}

#[test]
fn the_ehlo_argument_is_kept_as_it_came_and_shown_harmlessly() {
    let (said, login) = login_of(b"EHLO a\xffb c\r\nAUTH PLAIN AGEAYg==\r\n");
    assert!(
        said.starts_with("250-mx.example at your service, [a?b?c]\r\n"),
        "{said}"
    );
    assert_eq!(login.helo.as_ref().unwrap().as_bytes(), b"a\xffb c");
    let (_, login) = login_of(b"AUTH PLAIN AGEAYg==\r\n");
    assert!(login.helo.is_none());
}

#[test]
fn only_failures_count_and_the_last_one_closes() {
    let run = run(
        client(Protocol::Submission),
        &[b"FOO\r\nMAIL FROM:<>\r\nAUTH PLAIN\r\n*\r\nAUTH X\r\n\r\nNOOP\r\nAUTH PLAIN !\r\nNOOP\r\n"],
    );
    assert!(
        run.said.ends_with(
            "250 2.0.0 OK\r\n501 5.5.2 Invalid base64\r\n421 4.7.0 Too many errors, closing connection\r\n"
        ),
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
    let run = run(client(Protocol::Submission), &[&vec![b'a'; LINE_LIMIT + 2]]);
    assert!(
        run.said
            .ends_with("421 4.7.0 Line too long, closing connection\r\n")
    );
    assert!(matches!(run.done, Some(ClientOutcome::Closed(Why::TooLong))));
}

#[test]
fn xclient_is_offered_to_a_proxy_of_ours_only_and_only_its_ttl_is_taken() {
    let proxied = |script: &[u8]| {
        let client = client_side(ClientSideConfig {
            presentation: presentation(Protocol::Submission),
            access: access(CleartextAuth::Refused),
            leg: ClientLeg::Encrypted(tls()),
            peer: PeerTrust::Proxy,
        });
        run(client, &[script])
    };
    let run = proxied(b"EHLO a\r\nXCLIENT TTL=4 ADDR=192.0.2.1\r\nEHLO b\r\nAUTH PLAIN AGEAYg==\r\n");
    assert!(run.said.contains("250-XCLIENT TTL\r\n"), "{}", run.said);
    assert_eq!(run.said.matches(GREETING).count(), 2);
    let Some(ClientOutcome::Login(login)) = run.done else {
        panic!("{}", run.said)
    };
    assert_eq!(login.hops, Some(Hops(4)));
    assert_eq!(login.helo.unwrap().as_bytes(), b"b");
    assert!(
        proxied(b"XCLIENT TTL=x\r\n")
            .said
            .ends_with("501 5.5.4 Bad TTL\r\n")
    );
}

#[test]
fn what_we_answer_ourselves_is_never_a_wrong_password_unless_it_was() {
    let command = login(Protocol::Submission).command;
    assert_eq!(command.temporary_failure(), b"421 4.3.0 backend unavailable\r\n");
    assert_eq!(
        command.authentication_failed(),
        b"535 5.7.8 Authentication failed.\r\n"
    );
    assert_eq!(command.after_refusal(), b"");
    assert!(command.held(HeldReply::Bye).starts_with(b"421 "));
    assert!(command.held(HeldReply::No).starts_with(b"454 "));
    assert!(farewell(Protocol::Submission, Farewell::Timeout).starts_with(b"421 4.4.2 "));
    assert!(farewell(Protocol::Submission, Farewell::Shutdown).starts_with(b"421 "));
}
