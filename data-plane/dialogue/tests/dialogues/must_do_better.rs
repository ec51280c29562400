//! Where the contract asks for more than the peer does (MDB in behaviour §1 to §7), by name. Those of POP3 and ManageSieve
//! alone are in their files, STARTTLS is in `starttls`, memory in `memory`; sockets and time are in the wire tests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailswitch_dialogue::{
    AccessConfig, Announce, Announced, Answer, BackendLeg, CleartextAuth, ClientLeg, ClientOutcome,
    ClientSideConfig, HandshakeError, Login, Mechanism, PeerTrust, Protocol, ReplayError, Routing,
    client_side,
};

use crate::support::*;

fn read(protocol: Protocol, script: &str) -> Run<ClientOutcome> {
    run(client(protocol), &[script.as_bytes()])
}

fn login_of(run: Run<ClientOutcome>) -> Box<Login> {
    match run.done {
        Some(ClientOutcome::Login(login)) => login,
        other => panic!("{}: {other:?}", run.said),
    }
}

fn sasl(protocol: Protocol, mechanism: &str, frame: impl AsRef<[u8]>) -> Run<ClientOutcome> {
    let encoded = STANDARD.encode(frame);
    read(protocol, &authenticate(protocol, "a1", mechanism, Some(&encoded)))
}

#[test]
fn a_token_in_clear_is_refused_as_a_password_is() {
    for protocol in PROTOCOLS {
        for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
            let script = authenticate(protocol, "a", mechanism, None);
            let run = run(
                client_on(protocol, ClientLeg::Plain, CleartextAuth::Refused),
                &[script.as_bytes()],
            );
            assert!(run.said.contains(words(protocol).not_private), "{}", run.said);
        }
    }
}

#[test]
fn a_mechanism_outside_the_list_is_not_accepted_in_any_protocol() {
    for protocol in PROTOCOLS {
        let client = client_side(ClientSideConfig {
            presentation: presentation(protocol),
            access: AccessConfig {
                sasl: [Mechanism::OauthBearer].into(),
                ..access(CleartextAuth::Refused)
            },
            leg: ClientLeg::Encrypted(tls()),
            peer: PeerTrust::Client,
        });
        let script = authenticate(protocol, "a", "PLAIN", Some("AGEAYg=="));
        let run = run(client, &[script.as_bytes()]);
        assert!(run.done.is_none(), "{}", run.said);
        assert!(
            run.said.ends_with("Unsupported mechanism\r\n")
                || run.said.ends_with("Unsupported mechanism\"\r\n")
        );
    }
}

#[test]
fn base64_may_lack_the_padding_of_its_last_group_and_goes_on_with_it() {
    for protocol in PROTOCOLS {
        for encoded in ["AGFubgBwdw==", "AGFubgBwdw=", "AGFubgBwdw"] {
            let login = login_of(read(
                protocol,
                &authenticate(protocol, "a1", "PLAIN", Some(encoded)),
            ));
            assert_eq!(login.credential.expose(), b"\0ann\0pw");
            let said = replayed(&login, words(protocol).backend).0;
            assert!(said.contains("AGFubgBwdw=="), "{said}");
        }
    }
}

#[test]
fn broken_base64_is_no_wrong_password() {
    for (protocol, reply) in [(Protocol::Imap, "a BAD "), (Protocol::Submission, "501 5.5.2 ")] {
        let script = authenticate(protocol, "a", "PLAIN", Some("!!!!"));
        let said = read(protocol, &script).said;
        assert!(said.lines().last().unwrap().starts_with(reply), "{said}");
    }
}

#[test]
fn a_mechanism_that_nobody_serves_is_504_in_submission() {
    let said = read(Protocol::Submission, "AUTH CRAM-MD5\r\n").said;
    assert!(said.ends_with("504 5.5.4 Unsupported mechanism\r\n"));
}

#[test]
fn a_plain_frame_has_exactly_two_nuls() {
    for protocol in PROTOCOLS {
        for frame in ["ann\0pw", "\0ann\0pw\0", "\0ann\0p\0w", "a\0b\0ann\0pw"] {
            assert!(sasl(protocol, "PLAIN", frame).done.is_none(), "{frame:?}");
        }
    }
}

#[test]
fn a_password_need_not_be_utf8() {
    for protocol in PROTOCOLS {
        let login = login_of(sasl(protocol, "PLAIN", b"\0ann\0\xff\xfe\x01"));
        assert_eq!(login.credential.expose(), b"\0ann\0\xff\xfe\x01");
    }
}

#[test]
fn a_nul_in_an_argument_cannot_make_the_backend_read_another_user() {
    for script in [
        "a LOGIN {7+}\r\nann\0eve pw\r\n",
        "a LOGIN ann {6+}\r\npw\0eve\r\n",
        "a LOGIN \"ann\0eve\" pw\r\n",
    ] {
        assert!(read(Protocol::Imap, script).done.is_none(), "{script:?}");
    }
    for protocol in PROTOCOLS {
        let script = authenticate(protocol, "a", "LOGIN", Some(&STANDARD.encode("ann\0eve")))
            + &response(protocol, &STANDARD.encode("pw"));
        assert!(read(protocol, &script).done.is_none());
    }
}

#[test]
fn commas_and_equals_signs_of_a_saslname_are_decoded_for_routing() {
    for protocol in PROTOCOLS {
        let login = login_of(sasl(
            protocol,
            "OAUTHBEARER",
            "n,a=a=2Cb=3Dc@x.example,\x01auth=Bearer t\x01\x01",
        ));
        assert_eq!(login.routing, Routing::Login("a,b=c@x.example".to_owned()));
    }
}

#[test]
fn a_bare_name_beside_an_opaque_token_routes() {
    for protocol in PROTOCOLS {
        for (mechanism, frame) in [
            ("OAUTHBEARER", "n,a=ann,\x01auth=Bearer t\x01\x01"),
            ("XOAUTH2", "user=ann\x01auth=Bearer t\x01\x01"),
        ] {
            let login = login_of(sasl(protocol, mechanism, frame));
            assert_eq!(login.routing, Routing::Login("ann".to_owned()));
        }
    }
}

#[test]
fn a_token_of_sixty_thousand_bytes_is_read_as_an_imap_argument() {
    let frame = format!("n,a=a@x,\x01auth=Bearer {}\x01\x01", "t".repeat(44_000));
    let login = login_of(sasl(Protocol::Imap, "OAUTHBEARER", &frame));
    assert_eq!(login.credential.expose(), frame.as_bytes());
}

#[test]
fn an_imap_command_name_with_signs_and_digits_is_unknown_and_no_syntax_error() {
    let run = read(Protocol::Imap, &"a X-FOO.2 (bar\r\n".repeat(5));
    assert!(run.done.is_none(), "not counted: {}", run.said);
    assert_eq!(run.said.matches("a BAD Command not known").count(), 5);
}

#[test]
fn the_tail_of_a_faulty_imap_line_is_no_command_of_its_own() {
    let run = read(
        Protocol::Imap,
        "a LOGIN \"x b LOGOUT c LOGIN d e\r\nf LOGIN \"x g NOOP\r\nh NOOP\r\n",
    );
    assert!(
        run.done.is_none(),
        "counted twice, and not more often: {}",
        run.said
    );
    assert!(
        run.said
            .ends_with("a BAD Syntax error\r\nf BAD Syntax error\r\nh OK NOOP completed\r\n")
    );
}

#[test]
fn a_tag_that_could_say_more_to_the_backend_is_refused() {
    for tag in ["a+b", "a\"", "{3}", "(a", "*", &"t".repeat(129)] {
        let run = read(Protocol::Imap, &format!("{tag} LOGIN ann pw\r\n"));
        assert!(run.done.is_none(), "{tag}");
        assert!(run.said.ends_with("* BAD Syntax error\r\n"), "{}", run.said);
    }
}

#[test]
fn an_imap_backend_that_has_signed_us_in_or_says_goodbye_is_a_failure() {
    for greeting in ["* PREAUTH welcome\r\n", "* BYE full\r\n"] {
        let handshake = backend(Protocol::Imap, leg(BackendLeg::Plain, Announce::Nothing));
        let end = run(handshake, &[greeting.as_bytes()]).done.unwrap();
        assert!(matches!(end, Err(HandshakeError::Greeting(_))));
    }
}

#[test]
fn untagged_lines_before_the_answer_to_starttls_are_skipped() {
    let Words { offers_tls, .. } = words(Protocol::Imap);
    let run = run(
        backend(Protocol::Imap, leg(BackendLeg::StartTls, Announce::Nothing)),
        &[offers_tls, b"* OK note\r\n* CAPABILITY X\r\nP1 ok\r\n"],
    );
    assert!(run.said.contains(TLS));
}

#[test]
fn what_an_imap_backend_can_do_is_asked_and_its_id_is_not_forgotten() {
    let run = run(
        backend(
            Protocol::Imap,
            leg(BackendLeg::Plain, Announce::Attributes(attributes())),
        ),
        &[
            b"* OK hi\r\n",
            b"* CAPABILITY IMAP4rev1 ID\r\nC1 OK\r\n",
            b"F1 OK\r\n",
        ],
    );
    assert!(run.said.starts_with("C1 CAPABILITY\r\nF1 ID ("), "{}", run.said);
    assert_eq!(run.done.unwrap().unwrap().announced(), Announced::Accepted);
}

/// What is said to a backend that greets so, and its answer.
fn replayed(login: &Login, backend: &[u8]) -> (String, Replayed) {
    let protocol = login.command.protocol();
    let handshake = mailswitch_dialogue::handshake(&login.command, leg(BackendLeg::Plain, Announce::Nothing));
    let ready = run(handshake, &[backend]).done.unwrap().unwrap();
    let replay = ready.replay(&login.credential);
    let run = run(replay, &[words(protocol).accepted]);
    (run.said, run.done)
}

type Replayed = Option<Result<Answer, ReplayError>>;

#[test]
fn an_initial_response_goes_only_to_an_imap_backend_that_offers_it() {
    let login = login(Protocol::Imap);
    for (capabilities, at_once) in [("SASL-IR", true), ("IMAP4rev2", true), ("IMAP4rev1", false)] {
        let greeting = format!("* OK [CAPABILITY {capabilities}] hi\r\n");
        let (said, _) = replayed(&login, greeting.as_bytes());
        assert_eq!(said != "a1 AUTHENTICATE PLAIN\r\n", at_once, "{said}");
    }
}

#[test]
fn a_mail_transaction_before_the_login_is_told_to_authenticate() {
    for command in ["MAIL FROM:<a@x>", "RCPT TO:<a@x>", "DATA", "BDAT 0 LAST"] {
        let said = read(Protocol::Submission, &format!("{command}\r\n")).said;
        assert!(said.ends_with("530 5.7.0 Authentication required\r\n"), "{said}");
    }
}

/// `hide_auth_errors` replaces refusals only.
#[test]
fn what_is_no_verdict_on_the_credential_is_told_apart_from_a_refusal() {
    for (protocol, later) in [
        (Protocol::Imap, "a1 NO [UNAVAILABLE] later\r\n"),
        (Protocol::Pop3, "-ERR [SYS/TEMP] later\r\n"),
        (Protocol::ManageSieve, "NO (TRYLATER) \"later\"\r\n"),
        (Protocol::Submission, "454 4.7.0 later\r\n"),
    ] {
        let Words { backend, refused, .. } = words(protocol);
        let answer = |bytes: &[u8]| {
            let login = login(protocol);
            let handshake =
                mailswitch_dialogue::handshake(&login.command, leg(BackendLeg::Plain, Announce::Nothing));
            let ready = run(handshake, &[backend]).done.unwrap().unwrap();
            let replay = ready.replay(&login.credential);
            run(replay, &[bytes]).done.unwrap().unwrap()
        };
        assert!(matches!(answer(later.as_bytes()), Answer::Temporary { .. }));
        assert!(matches!(answer(refused), Answer::Refused { .. }));
    }
}

/// The peer leaves it attached, free to sign in as somebody else there.
#[test]
fn a_refused_client_is_told_goodbye_where_the_protocol_has_one() {
    for (protocol, goodbye) in [
        (Protocol::Imap, "* BYE "),
        (Protocol::ManageSieve, "BYE "),
        (Protocol::Pop3, ""),
        (Protocol::Submission, ""),
    ] {
        let after = String::from_utf8(login(protocol).command.after_refusal().to_vec()).unwrap();
        assert_eq!(
            after.split('"').next().unwrap().split("Not").next().unwrap(),
            goodbye
        );
    }
}

#[test]
fn the_temporary_failure_has_a_code_that_no_client_takes_for_a_wrong_password() {
    for (protocol, reply) in [
        (
            Protocol::Imap,
            "a1 NO [UNAVAILABLE] backend unavailable\r\n* BYE ",
        ),
        (Protocol::Pop3, "-ERR [SYS/TEMP] backend unavailable, "),
        (
            Protocol::ManageSieve,
            "NO (TRYLATER) \"backend unavailable\"\r\nBYE ",
        ),
        (Protocol::Submission, "421 4.3.0 backend unavailable\r\n"),
    ] {
        let said = String::from_utf8(login(protocol).command.temporary_failure()).unwrap();
        assert!(said.starts_with(reply), "{said}");
    }
}
