//! Pipelined commands and literals of every kind: what a server answers through a node is what it answers without.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine as _;
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    lone::{Lone, Setup, destination},
    place::Place,
    postfix::Postfix,
    raw::{Raw, Role},
    when::eventually,
};

use super::{ALICE, SOON};

const SETTLES: Duration = Duration::from_millis(100);

#[test]
fn pipelined_commands_and_literals_of_every_kind_are_answered_as_without_a_node() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let users = [ALICE, "bobby@example.org", "carol@example.org"];
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::Id, Plaintext::Allowed, &users)?;
    let setup = Setup {
        listeners: &[("imap", "implicit")],
        tables: &destination(&dovecot, None, "starttls", "forwarding = \"xclient\"\n"),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let talk = |server, user: &str, piece: usize| -> Result<String> {
        let mut raw = Raw::connect(server)?;
        raw.tls(Role::Client(ca.pem()))?;
        raw.line()?;
        let bytes = conversation(user);
        // The login may come in pieces as well.
        for piece in bytes.chunks(piece) {
            raw.send(piece)?;
        }
        let answer = raw.rest()?;
        // Behind the login: before it, the node speaks.
        let (_, answer) = answer.split_once("a OK").with_context(|| answer.clone())?;
        Ok(alike(answer, user))
    };
    let directly = talk(dovecot.imaps, users[0], usize::MAX)?;
    for expected in ["o OK", "* SEARCH 1", " ~{256}", "p OK", "q BAD", "* BYE", "z OK"] {
        assert!(directly.contains(expected), "{expected}: {directly}");
    }
    let through = node.at("imap", "implicit")?;
    for (user, piece) in [(users[1], usize::MAX), (users[2], 1)] {
        let answer = talk(through, user, piece)?;
        for (line, expected) in answer.split("\r\n").zip(directly.split("\r\n")) {
            assert_eq!(line, expected, "in pieces of {piece}");
        }
        assert_eq!(answer.len(), directly.len(), "in pieces of {piece}");
    }
    eventually("Dovecot saw all three", SOON, || {
        users
            .iter()
            .all(|user| dovecot.sessions_of(user).len() == 1)
            .then_some(())
    })
}

#[test]
fn pipelined_pop3_managesieve_and_submission_are_answered_as_without_a_node() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let users = [ALICE, "bobby@example.org", "carol@example.org"];
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::Id, Plaintext::Allowed, &users)?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Allowed, "example.org")?;
    for user in users {
        // Lines that look like the end of an answer.
        dovecot.deliver(user, "Subject: one\n\n.\n..\n.x\n-ERR\n+OK\n")?;
        dovecot.deliver(user, "Subject: two\n\nQUIT\n")?;
    }
    let setup = Setup {
        listeners: &[
            ("pop3", "implicit"),
            ("managesieve", "implicit"),
            ("submission", "implicit"),
        ],
        tables: &destination(&dovecot, Some(&postfix), "starttls", "forwarding = \"xclient\"\n"),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let talks = [
        (
            "pop3",
            dovecot.pop3s,
            pop3 as fn(&str) -> [String; 2],
            "+OK ",
            "+OK Logged in.\r\n",
            [
                "+OK 2 messages",
                "\r\n..\r\n...\r\n..x\r\n",
                "-ERR Unknown command",
                "Logging out",
            ],
        ),
        (
            "managesieve",
            dovecot.sieves,
            managesieve,
            "OK ",
            "OK \"Logged in.\"\r\n",
            ["OK (TAG \"x y\")", "NO {", "\"two\" ACTIVE", "Logout completed"],
        ),
        (
            "submission",
            postfix.submissions,
            submission,
            "220 ",
            "235 2.7.0 Authentication successful\r\n",
            [
                "354 End data",
                "Ok: 26 bytes queued",
                "500 5.5.2",
                "221 2.0.0 Bye",
            ],
        ),
    ];
    for (protocol, server, conversation, greeting, marker, expected) in talks {
        let talk = |server, user: &str, send: Send| -> Result<String> {
            let mut raw = Raw::connect(server)?;
            raw.tls(Role::Client(ca.pem()))?;
            let [login, rest] = conversation(user);
            match send {
                Send::BehindTheLogin => {
                    // Dovecot 2.3.19 may never read what comes right behind its greeting for ManageSieve over TLS.
                    let said = |raw: &mut Raw| raw.line().with_context(|| format!("{protocol} directly"));
                    while !said(&mut raw)?.starts_with(greeting) {}
                    std::thread::sleep(SETTLES);
                    raw.send(login)?;
                    while format!("{}\r\n", said(&mut raw)?) != marker {}
                    raw.send(rest)?;
                    let answer = raw
                        .rest()
                        .with_context(|| format!("{protocol} directly, behind the login"))?;
                    return Ok(alike(&answer, user));
                }
                Send::InOneWrite => raw.send([login, rest].concat())?,
                Send::ByteByByte => {
                    for byte in [login, rest].concat().into_bytes() {
                        raw.send([byte])?;
                    }
                }
            }
            let answer = raw
                .rest()
                .with_context(|| format!("{protocol} {send:?}\n{}", node.log()))?;
            let (_, answer) = answer.split_once(marker).with_context(|| answer.clone())?;
            Ok(alike(answer, user))
        };
        let directly = talk(server, users[0], Send::BehindTheLogin)?;
        for expected in expected {
            assert!(directly.contains(expected), "{expected}: {directly}");
        }
        let through = node.at(protocol, "implicit")?;
        for (user, send) in [(users[1], Send::InOneWrite), (users[2], Send::ByteByByte)] {
            assert_eq!(talk(through, user, send)?, directly, "{protocol} {send:?}");
        }
    }
    Ok(())
}

#[test]
fn every_login_of_many_at_once_gets_in_over_managesieve_on_implicit_tls() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::Id, Plaintext::Allowed, &[ALICE])?;
    let setup = Setup {
        listeners: &[("managesieve", "implicit")],
        tables: &destination(&dovecot, None, "implicit", "forwarding = \"xclient\"\n"),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let through = node.at("managesieve", "implicit")?;
    let [login, _] = managesieve(ALICE);
    let logins = || -> Result<()> {
        for _ in 0..12 {
            let mut raw = Raw::connect(through)?;
            raw.tls(Role::Client(ca.pem()))?;
            while !raw.line()?.starts_with("OK ") {}
            raw.send(&login)?;
            let answer = raw.line()?;
            ensure!(answer == "OK \"Logged in.\"", "{answer}");
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let many: Vec<_> = (0..6).map(|_| scope.spawn(logins)).collect();
        many.into_iter()
            .try_for_each(|one| one.join().map_err(|_| anyhow!("it panicked"))?)
    })
}

#[derive(Debug, Clone, Copy)]
enum Send {
    BehindTheLogin,
    InOneWrite,
    ByteByByte,
}

/// Up to the login, and the rest.
fn pop3(user: &str) -> [String; 2] {
    let commands = "STAT\r\nLIST\r\nLIST 2\r\nUIDL\r\nTOP 1 1\r\nRETR 1\r\nDELE 1\r\nRETR 2\r\nRSET\r\nSTAT\r\nNOPE\r\nQUIT\r\n";
    [
        format!("CAPA\r\nUSER {user}\r\nPASS secret\r\n"),
        commands.to_owned(),
    ]
}

fn managesieve(user: &str) -> [String; 2] {
    let frame = base64(format!("\0{user}\0secret"));
    let login = format!("AUTHENTICATE \"PLAIN\" \"{frame}\"\r\n");
    // It looks like an answer, and like commands.
    let script = "# OK \"x\"\r\n# {3+}\r\n/*\r\nLOGOUT\r\n*/\r\nkeep;\r\n";
    let broken = "keep";
    let rest = format!(
        "NOOP \"x y\"\r\nHAVESPACE \"one\" 9\r\nPUTSCRIPT \"one\" {{{}+}}\r\n{script}\r\n\
         PUTSCRIPT {{3+}}\r\ntwo {{{}+}}\r\n{script}\r\nCHECKSCRIPT {{{}+}}\r\n{broken}\r\n\
         SETACTIVE \"two\"\r\nGETSCRIPT \"one\"\r\nRENAMESCRIPT \"one\" \"three\"\r\nLISTSCRIPTS\r\nDELETESCRIPT \"three\"\r\n\
         LISTSCRIPTS\r\nNOPE\r\nLOGOUT\r\n",
        script.len(),
        script.len(),
        broken.len(),
    );
    [login, rest]
}

fn submission(user: &str) -> [String; 2] {
    let frame = base64(format!("\0{user}\0secret"));
    let rest = format!(
        "MAIL FROM:<{user}>\r\nRCPT TO:<{user}>\r\nDATA\r\nSubject: dots\r\n\r\n..\r\n.x\r\n.\r\n\
         MAIL FROM:<{user}> BODY=8BITMIME\r\nRCPT TO:<{user}>\r\nBDAT 18\r\nSubject: chunk\r\n\r\nBDAT 6 LAST\r\n\
         \r\n.\r\n.RSET\r\nVRFY x\r\nNOPE\r\nQUIT\r\n"
    );
    [format!("EHLO client.test\r\nAUTH PLAIN {frame}\r\n"), rest]
}

/// An IMAP session from the login to the end, with nothing waited for.
fn conversation(user: &str) -> Vec<u8> {
    let binary: Vec<u8> = b"Subject: binary\r\nContent-Type: application/octet-stream\r\n\
        Content-Transfer-Encoding: binary\r\n\r\n"
        .iter()
        .copied()
        .chain(0..=255)
        .collect();
    // It looks like an answer, and like commands.
    let tricky = "Subject: tricky\r\n\r\na OK x\r\n* BYE x\r\nz LOGOUT\r\n{3+}\r\n+ go\r\n.\r\n";
    let mut all = format!(
        "a LOGIN {{{}+}}\r\n{user} {{6+}}\r\nsecret\r\n\
         b CREATE \"quoted \\\"box\\\\\"\r\nc CREATE {{4+}}\r\nlite\r\n\
         d APPEND INBOX (\\Seen) {{{}+}}\r\n{tricky}\r\n",
        user.len(),
        tricky.len(),
    )
    .into_bytes();
    // Synchronising: the server's "+" comes while it is already being sent.
    all.extend_from_slice(format!("e APPEND INBOX {{{}}}\r\n{tricky}\r\n", tricky.len()).as_bytes());
    // literal8 (RFC 3516), and two messages in one command (RFC 3502).
    all.extend_from_slice(format!("f APPEND INBOX ~{{{}+}}\r\n", binary.len()).as_bytes());
    all.extend_from_slice(&binary);
    all.extend_from_slice(b"\r\ng APPEND INBOX {12+}\r\nSubject: 1\r\n {12+}\r\nSubject: 2\r\n\r\n");
    all.extend_from_slice(b"h SELECT {5+}\r\nINBOX\r\n");
    for number in 0..300 {
        all.extend_from_slice(format!("n{number} NOOP\r\n").as_bytes());
    }
    for command in [
        "i SEARCH CHARSET UTF-8 SUBJECT {6+}\r\ntricky",
        "j SEARCH SUBJECT {0+}\r\n",
        "k SEARCH CHARSET UTF-8 TEXT {9+}\r\nzü€zü",
        "l FETCH 1:* (FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS ({7+}\r\nSubject)])",
        "m FETCH 1:2 BODY.PEEK[]",
        "o FETCH 3 BINARY.PEEK[1]",
        "p STORE 2 +FLAGS (\\Deleted)",
        "q NOSUCHCOMMAND {3+}\r\nabc",
        "r EXPUNGE",
        "s FETCH 1:* BODY.PEEK[]<0.5>",
        "z LOGOUT",
    ] {
        // Dovecot works on several commands at once, but not across a change of the mailbox.
        let command = format!("y EXAMINE INBOX\r\nx SELECT INBOX\r\n{command}\r\n");
        all.extend_from_slice(command.as_bytes());
    }
    all
}

/// Without what differs from one session to the next: the user, long numbers, ids, and how long it took.
fn alike(answer: &str, user: &str) -> String {
    let mut text = String::new();
    for line in answer.replace(user, "USER").split_inclusive("\r\n") {
        let line = match (line.rfind(" ("), line.rfind(" secs)")) {
            (Some(from), Some(to)) if from < to => format!("{}\r\n", &line[..from]),
            _ => line.to_owned(),
        };
        let mut word = String::new();
        for character in line.chars().chain(['\0']) {
            if character.is_ascii_alphanumeric() {
                word.push(character);
                continue;
            }
            let id = word.len() > 9 && word.contains(|c: char| c.is_ascii_digit());
            text += if id { "ID" } else { &word };
            word.clear();
            if character != '\0' {
                text.push(character);
            }
        }
    }
    text
}

fn base64(text: String) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}
