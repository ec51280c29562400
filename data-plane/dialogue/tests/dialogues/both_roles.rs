//! Our server role wired to our client role: whatever credential a client presents to us and we replay to ourselves
//! is read there as the same credential of the same person.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailswitch_dialogue::{
    Announce, Answer, BackendLeg, CleartextAuth, ClientLeg, ClientOutcome, Handshake, Login, Protocol, Replay,
};
use proptest::prelude::*;

use crate::support::*;

fn read(protocol: Protocol, script: &[u8]) -> Option<Box<Login>> {
    match run(client(protocol), &[script]).done {
        Some(ClientOutcome::Login(login)) => Some(login),
        _ => None,
    }
}

/// A second proxy behind the first: over STARTTLS, announced, and at the end it says yes.
fn through_a_second_proxy(login: &Login) -> Box<Login> {
    let protocol = login.command.protocol();
    let mut server = Wire::new(client_on(protocol, ClientLeg::StartTls, CleartextAuth::Refused));
    let config = leg(BackendLeg::StartTls, Announce::Attributes(attributes()));
    let mut handshake: Wire<_, _> = Wire::<dyn mailswitch_dialogue::Dialogue<Done = _> + Send, _>::new(
        mailswitch_dialogue::handshake(&login.command, config) as Handshake,
    );
    let ready = loop {
        let said = std::mem::take(&mut server.said);
        assert!(!said.is_empty() || handshake.done.is_some(), "both wait");
        // TLS itself has no bytes here: each side starts it when it has heard what is before it.
        around_tls(&said).for_each(|part| handshake.receive(&part));
        if let Some(end) = handshake.done.take() {
            break end.expect("ready");
        }
        let said = std::mem::take(&mut handshake.said);
        around_tls(&said).for_each(|part| server.receive(&part));
    };
    let mut replay: Wire<_, _> = Wire::<dyn mailswitch_dialogue::Dialogue<Done = _> + Send, _>::new(
        ready.replay(&login.credential) as Replay,
    );
    let seen = loop {
        let said = std::mem::take(&mut replay.said);
        assert!(!said.is_empty(), "both wait");
        server.receive(&said);
        if let Some(ClientOutcome::Login(seen)) = server.done.take() {
            break seen;
        }
        let said = std::mem::take(&mut server.said);
        replay.receive(&said);
    };
    replay.receive(match protocol {
        Protocol::Imap => b"tag-7 OK in\r\n",
        _ => words(protocol).accepted,
    });
    assert!(matches!(replay.done, Some(Ok(Answer::Accepted { .. }))));
    seen
}

/// What was said before TLS started, and what inside it.
fn around_tls(said: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let text = String::from_utf8(said.to_vec()).expect("text");
    text.split(TLS)
        .map(|part| part.as_bytes().to_vec())
        .collect::<Vec<_>>()
        .into_iter()
}

fn check(login: &Login) {
    let seen = through_a_second_proxy(login);
    assert_eq!(seen.credential.expose(), login.credential.expose());
    assert_eq!(seen.credential.frame(), login.credential.frame());
    assert_eq!(seen.routing, login.routing);
    assert_eq!(
        seen.command.temporary_failure(),
        login.command.temporary_failure(),
        "under the same tag"
    );
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9@.%+=, \"\\\\äß(){}-]{1,40}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn passwords_of_any_bytes(user in text(), password in prop::collection::vec(1u8..=255, 1..60)) {
        let mut script = format!("tag-7 LOGIN {{{}+}}\r\n{user} {{{}+}}\r\n", user.len(), password.len()).into_bytes();
        script.extend(&password);
        script.extend(b"\r\n");
        let login = read(Protocol::Imap, &script).expect("a login");
        prop_assert_eq!(login.credential.expose(), [b"\0", user.as_bytes(), b"\0", &password].concat());
        check(&login);
    }

    #[test]
    fn pop3_passwords_of_any_bytes_that_fit_into_a_line(
        user in "[a-z0-9@.%+]{1,40}",
        password in prop::collection::vec(any::<u8>().prop_filter("no line end", |byte| !b"\0\r\n".contains(byte)), 1..300),
    ) {
        let script = [b"USER ", user.as_bytes(), b"\r\nPASS ", &password, b"\r\n"].concat();
        let login = read(Protocol::Pop3, &script).expect("a login");
        prop_assert_eq!(login.credential.expose(), [b"\0", user.as_bytes(), b"\0", &password].concat());
        check(&login);
    }

    #[test]
    fn plain_frames_with_an_authorization_identity(authzid in text(), user in text(), password in text()) {
        let encoded = STANDARD.encode(format!("{authzid}\0{user}\0{password}"));
        for protocol in PROTOCOLS {
            let script = authenticate(protocol, "tag-7", "PLAIN", Some(&encoded));
            check(&read(protocol, script.as_bytes()).expect("a login"));
        }
    }

    #[test]
    fn bearer_tokens(user in "[a-z]{1,9}@[a-z]{1,9}", token in "[a-zA-Z0-9._~+/-]{1,400}") {
        for (mechanism, frame) in [
            ("OAUTHBEARER", format!("n,a={user},\x01host=h\x01auth=Bearer {token}\x01\x01")),
            ("XOAUTH2", format!("user={user}\x01auth=Bearer {token}\x01\x01")),
        ] {
            let encoded = STANDARD.encode(frame);
            for protocol in PROTOCOLS {
                let script = authenticate(protocol, "tag-7", mechanism, None) + &response(protocol, &encoded);
                check(&read(protocol, script.as_bytes()).expect("a login"));
            }
        }
    }
}

#[test]
fn a_token_longer_than_a_command_line() {
    let encoded = STANDARD.encode(format!("n,a=a@x,\x01auth=Bearer {}\x01\x01", "t".repeat(40_000)));
    for protocol in PROTOCOLS {
        let script = authenticate(protocol, "tag-7", "OAUTHBEARER", Some(&encoded));
        check(&read(protocol, script.as_bytes()).expect("a login"));
    }
}
