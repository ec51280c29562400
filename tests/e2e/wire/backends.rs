//! Real servers behind the node: how a login reaches them, what they answer, as whom they see the client
//! (behaviour §2 to §6). A little over 500 lines: each protocol is tried in the same forms, which are read side by side.

use std::{io::Read, net::TcpListener};

use anyhow::{Context, Result};
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    place::Place,
    postfix::Postfix,
    raw::Raw,
    when::eventually,
};

use super::lone::{ALICE, DEAD, Lone, SOON, Setup, base64, destination, plain};

const BOB: &str = "bob@example.org";
/// A login of a master user: Dovecot takes no `%` in a name.
const MASTER: &str = "alice@example.org-as-root";

#[test]
fn every_form_of_a_login_gets_in_and_what_is_pipelined_behind_it_is_answered_once_and_in_order() -> Result<()>
{
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let users = [ALICE, MASTER];
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::None, Plaintext::Allowed, &users)?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Allowed, "example.org")?;
    let tables = destination(
        "new",
        &dovecot,
        Some(&postfix),
        "starttls",
        "forwarding = \"none\"\n",
    ) + DEAD;
    // The master's login goes where the account's does: the default is dead.
    let setup = Setup {
        routing: "master_user_separators = [\"%\", \"-as-\"]\n",
        tables: &tables,
        moved: "alice@example.org new\n",
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let (frame, master) = (plain(ALICE, "secret"), plain(MASTER, "secret"));
    let unpadded = frame.trim_end_matches('=');
    let (user, password) = (base64(ALICE), base64("secret"));
    let imap = [
        format!("C: a LOGIN {ALICE} secret"),
        format!("C: a login \"{ALICE}\" \"sec\\ret\"").replace("\\r", "r"),
        format!(
            "C: a LOGIN {{17}}\nS: + Ready for 17 bytes.\nC: {ALICE} {{6}}\nS: + Ready for 6 bytes.\nC: secret"
        ),
        format!("C: a LOGIN {{17+}}\nC: {ALICE} {{6+}}\nC: secret"),
        format!("C: a AUTHENTICATE PLAIN {frame}"),
        format!("C: a AUTHENTICATE plain {unpadded}"),
        format!("C: a AUTHENTICATE PLAIN\nS: + \nC: {frame}"),
        format!("C: a AUTHENTICATE LOGIN\nS: + VXNlcm5hbWU6\nC: {user}\nS: + UGFzc3dvcmQ6\nC: {password}"),
        format!("C: a AUTHENTICATE LOGIN {user}\nS: + UGFzc3dvcmQ6\nC: {password}"),
        format!("C: a AUTHENTICATE PLAIN {master}"),
    ];
    for login in &imap {
        // In one write with the login.
        let dialogue = format!(
            "S: * OK …\n{login}\nC: b NOOP\nC: c LOGOUT\nS: a OK …\nS: b OK …\nS: * BYE …\nS: c OK …\nEND"
        );
        node.play("imap", "implicit", &dialogue)
            .with_context(|| login.clone())?;
    }
    eventually("Dovecot saw each of them", SOON, || {
        let seen = (
            dovecot.sessions_of(ALICE).len(),
            dovecot.sessions_of(MASTER).len(),
        );
        (seen == (imap.len() - 1, 1)).then_some(())
    })?;
    let submission = [
        format!("C: AUTH PLAIN {frame}"),
        format!("C: auth plain {unpadded}"),
        format!("C: AUTH PLAIN\nS: 334 \nC: {frame}"),
        format!("C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: {user}\nS: 334 UGFzc3dvcmQ6\nC: {password}"),
        format!("C: AUTH LOGIN {user}\nS: 334 UGFzc3dvcmQ6\nC: {password}"),
        format!("C: AUTH PLAIN {master}"),
    ];
    for login in &submission {
        let dialogue = format!(
            "S: 220 …\n{login}\nC: MAIL FROM:<{ALICE}>\nC: RCPT TO:<{ALICE}>\nC: DATA\nS: 235 2.7.0 …\nS: 250 2.1.0 …\n\
             S: 250 2.1.5 …\nS: 354 …\nC: Subject: x\nC: \nC: y\nC: .\nC: QUIT\nS: 250 2.0.0 …\nS: 221 2.0.0 …\nEND"
        );
        node.play("submission", "implicit", &dialogue)
            .with_context(|| login.clone())?;
    }
    eventually("Postfix took them all", SOON, || {
        (postfix.accepted().len() == submission.len()).then_some(())
    })?;
    assert_eq!(
        postfix
            .accepted()
            .iter()
            .filter(|mail| mail.user == MASTER)
            .count(),
        1
    );
    // The pair of them leaves no trace of a password, at any level.
    let log = node.process.output();
    for secret in ["secret", unpadded, &password, &user, ALICE] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    Ok(())
}

#[test]
fn a_refusal_is_relayed_and_both_legs_are_closed() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let users = [ALICE, BOB];
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::None, Plaintext::Allowed, &users)?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Allowed, "example.org")?;
    // Dovecot makes an address that has failed wait before its next login.
    let sources: Vec<String> = (10..30)
        .map(|host| format!("\"{}\"", place.address(host)))
        .collect();
    let leg = |name, keys: &str| {
        let keys = format!(
            "forwarding = \"none\"\nsource_ips = [{}]\n{keys}",
            sources.join(", ")
        );
        destination(name, &dovecot, Some(&postfix), "implicit", &keys)
    };
    let tables = leg("legacy", "") + &leg("hides", "hide_auth_errors = true\n");
    let setup = Setup {
        tables: &tables,
        moved: "bob@example.org hides\n",
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    // A second login on the same connection must not reach the server of the first.
    let again = format!("C: b LOGIN {ALICE} secret\nC: c NOOP");
    for (login, answer) in [
        (
            format!("LOGIN {ALICE} wrong-1"),
            "S: a NO [AUTHENTICATIONFAILED] …",
        ),
        (
            format!("AUTHENTICATE PLAIN {}", plain(BOB, "wrong-2")),
            "S: a NO [AUTHENTICATIONFAILED] Authentication failed.",
        ),
        // Dovecot knows PLAIN and LOGIN only.
        (
            format!(
                "AUTHENTICATE XOAUTH2 {}",
                base64(format!("user={ALICE}\x01auth=Bearer wrong-3\x01\x01"))
            ),
            "S: a NO …nsupported authentication mechanism…",
        ),
        (
            format!(
                "AUTHENTICATE OAUTHBEARER {}",
                base64(format!("n,a={ALICE},\x01auth=Bearer wrong-4\x01\x01"))
            ),
            "S: a NO …nsupported authentication mechanism…",
        ),
    ] {
        let dialogue = format!("S: * OK …\nC: a {login}\n{again}\n{answer}\nS: * BYE…\nEND");
        node.play("imap", "implicit", &dialogue).with_context(|| login)?;
    }
    for (frame, answer) in [
        (
            plain(ALICE, "wrong-5"),
            "S: 535 5.7.8 Error: authentication failed…",
        ),
        (plain(BOB, "wrong-6"), "S: 535 5.7.8 Authentication failed."),
    ] {
        let dialogue = format!("S: 220 …\nC: AUTH PLAIN {frame}\nC: NOOP\n{answer}\nEND");
        node.play("submission", "implicit", &dialogue)?;
    }
    eventually("Dovecot saw the ends", SOON, || {
        (dovecot.log().matches("auth failed, 1 attempts").count() >= 2).then_some(())
    })
    .with_context(|| dovecot.log())?;
    eventually("Postfix saw the ends", SOON, || {
        (postfix.log().matches("disconnect from").count() >= 2).then_some(())
    })?;
    assert!(dovecot.sessions().is_empty(), "nobody got in");
    assert!(!node.process.output().contains("wrong-"), "{}", node.log_tail());
    Ok(())
}

#[test]
fn the_client_is_announced_to_dovecot_and_postfix_as_each_leg_says() -> Result<()> {
    for (announce, forwarding) in [
        (Announce::Id, "xclient"),
        (Announce::Proxy, "proxy"),
        (Announce::None, "none"),
    ] {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        let dovecot = Dovecot::start(&place, &ca, "legacy", announce, Plaintext::Allowed, &[ALICE])?;
        let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Allowed, "example.org")?;
        let keys = format!(
            "forwarding = \"{forwarding}\"\nsource_ips = [\"{}\"]\n",
            place.address(9)
        );
        let tables = destination("legacy", &dovecot, Some(&postfix), "starttls", &keys);
        let node = Lone::start(
            &place,
            &ca,
            Setup {
                tables: &tables,
                ..Setup::default()
            },
        )?;
        let client = place.address(77);
        let seen = if forwarding == "none" {
            place.address(9)
        } else {
            client
        };
        let connect = |protocol| -> Result<_> {
            let mut raw = mailswitch_tests::raw::Raw::connect_from(client, node.at(protocol, "implicit"))?;
            raw.tls(node.client())?;
            Ok(raw)
        };
        let mut imap = connect("imap")?;
        imap.play(
            node.client(),
            &format!("S: * OK …\nC: a LOGIN {ALICE} secret\nS: a OK …\nC: b LOGOUT\nS: * BYE…"),
        )
        .with_context(|| node.log_tail())?;
        let session = eventually("the login is in Dovecot's log", SOON, || {
            dovecot.sessions_of(ALICE).pop()
        })?;
        assert_eq!(session.rip, seen, "{forwarding}");
        if announce == Announce::Id {
            // Both logs name the session alike.
            let log = node.process.output();
            assert!(
                log.contains(&format!("session={}", session.session)),
                "{}: {log}",
                session.session
            );
        }
        let mut submission = connect("submission")?;
        submission
            .play(
                node.client(),
                &format!(
                    "S: 220 …\nC: AUTH PLAIN {}\nS: 235 …\nC: MAIL FROM:<{ALICE}>\nS: 250 …\nC: RCPT TO:<{ALICE}>\nS: 250 …\n\
                     C: DATA\nS: 354 …\nC: x: y\nC: .\nS: 250 …\nC: QUIT\nS: 221 …",
                    plain(ALICE, "secret")
                ),
            )
            .with_context(|| node.log_tail())?;
        let accepted = eventually("the message is in Postfix's log", SOON, || {
            postfix.accepted().pop()
        })?;
        assert_eq!(
            (accepted.client, accepted.user.as_str()),
            (seen, ALICE),
            "{forwarding}"
        );
    }
    Ok(())
}

#[test]
fn only_the_right_certificate_gets_a_credential() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::None, Plaintext::Allowed, &[])?;
    let users = dovecot.directory.join("users");
    let pin =
        |fingerprint: &str| format!("forwarding = \"none\"\ntls_pinned_cert_sha256 = \"{fingerprint}\"\n");
    let right = dovecot.certificate.fingerprint.to_uppercase();
    let colons: Vec<&str> = right
        .as_bytes()
        .chunks(2)
        .map(|two| std::str::from_utf8(two).unwrap_or(""))
        .collect();
    let cases = [
        (
            "the name and the trust store",
            String::from("forwarding = \"none\"\n"),
            true,
        ),
        ("the pin", pin(&colons.join(":")), true),
        ("a wrong pin", pin(&"0".repeat(64)), false),
        (
            "another name",
            "forwarding = \"none\"\ntls_server_name = \"other.test\"\n".into(),
            false,
        ),
        (
            "a wrong pin, even with no verification asked for",
            pin(&"0".repeat(64)) + "tls_allow_invalid_certs = true\n",
            false,
        ),
        (
            "another name with no verification asked for",
            "forwarding = \"none\"\ntls_server_name = \"other.test\"\ntls_allow_invalid_certs = true\n"
                .into(),
            true,
        ),
    ];
    let (mut tables, mut moved, mut rows) = (DEAD.to_owned(), String::new(), String::new());
    for (number, (_, keys, _)) in cases.iter().enumerate() {
        for tls in ["implicit", "starttls"] {
            let table = destination(&format!("{tls}{number}"), &dovecot, None, tls, keys);
            tables += &match keys.contains("tls_server_name") {
                true => table.replace("tls_server_name = \"legacy.test\"\n", ""),
                false => table,
            };
            moved += &format!("{tls}{number}@x.example {tls}{number}\n");
            rows += &format!("{tls}{number}@x.example:secret\n");
        }
    }
    std::fs::write(users, rows)?;
    let setup = Setup {
        server: "log_level = \"debug\"\nhost_down_threshold = 0\n",
        tables: &tables,
        moved: &moved,
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    for (number, (what, _, works)) in cases.iter().enumerate() {
        for tls in ["implicit", "starttls"] {
            let answer = if *works {
                "S: a OK …"
            } else {
                "S: a NO [UNAVAILABLE]…\nS: * BYE…\nEND"
            };
            let dialogue = format!("S: * OK …\nC: a LOGIN {tls}{number}@x.example secret\n{answer}");
            node.play("imap", "implicit", &dialogue)
                .with_context(|| format!("{what} over {tls}"))?;
        }
    }
    eventually("Dovecot let in those that were sent there", SOON, || {
        (dovecot.sessions().len() == 6).then_some(())
    })?;
    Ok(())
}

#[test]
fn a_node_does_not_dial_itself_and_a_missing_leg_is_a_temporary_failure() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let own = place.port(place.address(2))?;
    let tables = format!(
        "{DEAD}[listener.own]\nprotocol = \"imap\"\nbind = [\"{own}\"]\ntls = \"plain\"\n\
         [destination.self]\nhost = \"{}\"\nforwarding = \"none\"\nallow_plaintext_auth = true\n\
         [destination.self.protocol]\nimap = {{ port = {}, tls = \"plain\" }}\n\
         submission = {{ port = 9, tls = \"plain\" }}\n",
        own.ip(),
        own.port(),
    );
    let setup = Setup {
        tables: &tables,
        moved: "bob@example.org self\n",
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    for (login, cause) in [(BOB, "loop"), (ALICE, "cannot connect")] {
        let dialogue = format!(
            "S: * OK …\nC: a LOGIN {login} pw\nS: a NO [UNAVAILABLE] backend unavailable\nS: * BYE…\nEND"
        );
        node.play("imap", "implicit", &dialogue)?;
        let log = node.process.output();
        let said = log.lines().rfind(|line| line.contains("backend unavailable"));
        assert!(said.is_some_and(|line| line.contains(cause)), "{said:?}");
    }
    let dialogue = format!(
        "S: 220 …\nC: AUTH PLAIN {}\nS: 421 4.3.0 backend unavailable\nEND",
        plain(ALICE, "pw")
    );
    node.play("submission", "implicit", &dialogue)?;
    Ok(())
}

#[test]
fn more_than_a_buffer_of_mail_behind_a_login_arrives_whole() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Allowed,
        &[ALICE],
    )?;
    let tables = destination("legacy", &dovecot, None, "implicit", "forwarding = \"none\"\n");
    let setup = Setup {
        tables: &tables,
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let text: String = (0..20_000).map(|line| format!("line {line:07}\r\n")).collect();
    let message = format!("Message-ID: <big@example.org>\r\n\r\n{text}");
    let said = format!(
        "a LOGIN {ALICE} secret\r\nb APPEND INBOX {{{}+}}\r\n{message}\r\nc SELECT INBOX\r\n\
         d FETCH 1 BODY.PEEK[TEXT]\r\ne LOGOUT\r\n",
        message.len()
    );
    let mut raw = node.connect("imap", "implicit")?;
    raw.send(&said)?;
    let heard = raw.rest()?;
    assert!(
        heard.contains(&format!("BODY[TEXT] {{{}}}\r\n{text})", text.len())),
        "{} bytes",
        heard.len()
    );
    assert_eq!(heard.matches("e OK").count(), 1);
    Ok(())
}

#[test]
fn a_leg_whose_two_ends_differ_about_the_proxy_header_is_named_in_the_log() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let wants = Dovecot::start(&place, &ca, "wants", Announce::Proxy, Plaintext::Allowed, &[])?;
    let not = Dovecot::start(&place, &ca, "not", Announce::None, Plaintext::Allowed, &[])?;
    let leg = |name, dovecot, tls, forwarding: &str| {
        let keys = format!("forwarding = \"{forwarding}\"\nallow_plaintext_auth = true\n");
        destination(name, dovecot, None, tls, &keys)
    };
    let tables = DEAD.to_owned()
        + &leg("d0", &wants, "plain", "none")
        + &leg("d1", &wants, "implicit", "none")
        + &leg("d2", &not, "implicit", "proxy");
    let setup = Setup {
        server: "log_level = \"info\"\nbackend_timeout = \"1s\"\nhost_down_threshold = 0\n",
        tables: &tables,
        moved: "u0@x.example d0\nu1@x.example d1\nu2@x.example d2\n",
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    for (number, hint) in [
        "no PROXY header was sent",
        "no PROXY header was sent",
        "a PROXY header was sent",
    ]
    .iter()
    .enumerate()
    {
        let dialogue =
            format!("S: * OK …\nC: a LOGIN u{number}@x.example pw\nS: a NO [UNAVAILABLE]…\nS: * BYE…\nEND");
        node.play("imap", "implicit", &dialogue)?;
        let log = node.process.output();
        let said = log.lines().rfind(|line| line.contains("backend unavailable"));
        assert!(said.is_some_and(|line| line.contains(hint)), "{number}: {said:?}");
    }
    Ok(())
}

/// What is passed through has no greeting of ours, and a backend that hangs up at once is all that there is to see.
#[test]
fn a_pass_through_backend_that_closes_without_a_word_is_named_with_what_may_help() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let mut tables = DEAD.to_owned();
    for (forwarding, header) in [("none", 0), ("proxy", 28)] {
        let silent = TcpListener::bind((place.server(), 0))?;
        tables += &format!(
            "[destination.{forwarding}]\nhost = \"{}\"\nforwarding = \"{forwarding}\"\n\
             protocol.smtp = {{ port = {}, tls = \"plain\" }}\n",
            place.server(),
            silent.local_addr()?.port()
        );
        std::thread::spawn(move || {
            for client in silent.incoming() {
                // What was read leaves a close that is no reset.
                let _ = client.and_then(|mut client| client.read_exact(&mut vec![0; header]));
            }
        });
    }
    for (forwarding, hint) in [
        ("none", "no PROXY header was sent: does the backend expect one"),
        ("proxy", "a PROXY header was sent: does the backend expect one"),
    ] {
        let place = Place::new()?;
        let mx = place.port(place.address(2))?;
        let tables =
            format!("[listener.mx]\nprotocol = \"smtp\"\nbind = [\"{mx}\"]\ntls = \"plain\"\n{tables}");
        let setup = Setup {
            routing: &format!("smtp_passthrough_destination = \"{forwarding}\"\n"),
            tables: &tables,
            ..Setup::default()
        };
        let node = Lone::start(&place, &ca, setup)?;
        Raw::connect(mx)?.play(node.client(), "END")?;
        let said = eventually("the log says so", SOON, || {
            let log = node.process.output();
            let line = log
                .lines()
                .find(|line| line.contains("closed before it said anything"));
            line.map(str::to_owned)
        })?;
        for words in [
            hint,
            "backend unavailable",
            "listener=mx",
            "protocol=smtp",
            " session=",
            " peer=127.",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    Ok(())
}
