//! Every command and every failure before login, and what it is answered with (behaviour §2, §6.1, §6.4).

use anyhow::Result;
use mailswitch_tests::{ca::Ca, place::Place};

use super::lone::{Lone, Setup, base64, plain};

#[test]
fn an_imap_command_is_answered_with_the_word_that_the_contract_has_for_it() -> Result<()> {
    let place = Place::new()?;
    let node = Lone::start(&place, &Ca::new(place.path())?, Setup::default())?;
    let (long_tag, longest_tag) = ("t".repeat(129), "t".repeat(128));
    let dialogue = format!(
        "S: * OK …
        C: a noop
        S: a OK…
        C: b ID (\"name\" \"x\" \"version\" NIL)
        S: * ID NIL
        S: b OK…
        C: c ID NIL
        S: * ID NIL
        S: c OK…
        C: d X-FOO.2 bar {{3+}}
        C: a b c
        S: d BAD…
        C: e SELECT INBOX
        S: e BAD…
        C: f LOGIN \"ann
        S: f BAD…
        C: g NOOP
        S: g OK…
        C: h LOGIN ann
        S: h NO…
        C: i LOGIN
        S: i NO…
        C: j LOGIN {{3+}}
        C: a\0n pw
        S: j NO…
        C: k LOGIN \"\" pw
        S: k NO…
        C: l LOGIN {{3}}
        S: + Ready for 3 bytes.
        C: ann {{0}}
        S: + Ready for 0 bytes.
        C: 
        S: l NO…
        C: m LOGIN {{70000}}
        S: m BAD…
        C: n NOOP
        S: n OK…
        C: a+b NOOP
        S: * BAD…
        C: {long_tag} NOOP
        S: * BAD…
        C: {longest_tag} NOOP
        S: {longest_tag} OK…
        C: o LOGOUT
        S: * BYE…
        S: o OK…
        END"
    );
    node.play("imap", "implicit", &dialogue)?;
    Ok(())
}

#[test]
fn a_sasl_exchange_that_comes_to_nothing_has_the_reply_of_its_protocol_and_the_connection_goes_on()
-> Result<()> {
    let place = Place::new()?;
    let node = Lone::start(&place, &Ca::new(place.path())?, Setup::default())?;
    let user = base64("ann@x.example");
    // What the client says, what it is asked, and the IMAP and SMTP answers.
    let bearer = |token: &str| base64(format!("n,a=ann@x.example,\x01auth=Bearer {token}\x01\x01"));
    let xoauth2 = |auth: &str| base64(format!("user=ann@x.example\x01{auth}\x01\x01"));
    type Round = (&'static str, String);
    let cases: Vec<(&str, Vec<Round>, &str, &str)> = vec![
        ("PLAIN", vec![("", "*".into())], "BAD", "501 5.7.0"),
        ("plain", vec![("", "!!!!".into())], "BAD", "501 5.5.2"),
        ("PLAIN !!!!", vec![], "BAD", "501 5.5.2"),
        ("PLAIN =", vec![], "NO", "535 5.7.8"),
        ("PLAIN", vec![("", String::new())], "NO", "535 5.7.8"),
        ("PLAIN", vec![("", base64("ann\0pw"))], "NO", "535 5.7.8"),
        ("PLAIN", vec![("", base64("\0ann\0p\0w"))], "NO", "535 5.7.8"),
        ("PLAIN", vec![("", base64("\0ann\0"))], "NO", "535 5.7.8"),
        ("PLAIN", vec![("", base64(b"\0\xff\0pw"))], "NO", "535 5.7.8"),
        ("LOGIN", vec![("VXNlcm5hbWU6", "*".into())], "BAD", "501 5.7.0"),
        ("LOGIN =", vec![("VXNlcm5hbWU6", "*".into())], "BAD", "501 5.7.0"),
        (
            "LOGIN",
            vec![("VXNlcm5hbWU6", user.clone()), ("UGFzc3dvcmQ6", "*".into())],
            "BAD",
            "501 5.7.0",
        ),
        (
            "LOGIN",
            vec![("VXNlcm5hbWU6", user.clone()), ("UGFzc3dvcmQ6", base64("p\0w"))],
            "NO",
            "535 5.7.8",
        ),
        ("OAUTHBEARER", vec![("", bearer(""))], "NO", "535 5.7.8"),
        (
            "OAUTHBEARER",
            vec![("", base64("n,,\x01\x01"))],
            "NO",
            "535 5.7.8",
        ),
        (
            "XOAUTH2",
            vec![("", xoauth2("auth=Basic abc"))],
            "NO",
            "535 5.7.8",
        ),
        ("XOAUTH2", vec![("", base64("nothing"))], "NO", "535 5.7.8"),
        ("CRAM-MD5", vec![], "NO", "504 5.5.4"),
        ("SCRAM-SHA-256 AAAA", vec![], "NO", "504 5.5.4"),
    ];
    let (mut imap, mut submission) = ("S: * OK …\n".to_owned(), "S: 220 …\n".to_owned());
    for (number, (command, rounds, tagged, code)) in cases.iter().enumerate() {
        imap += &format!("C: a{number} AUTHENTICATE {command}\n");
        submission += &format!("C: AUTH {command}\n");
        for (prompt, response) in rounds {
            imap += &format!("S: + {prompt}\nC: {response}\n");
            submission += &format!("S: 334 {prompt}\nC: {response}\n");
        }
        imap += &format!("S: a{number} {tagged} …\n");
        submission += &format!("S: {code} …\n");
    }
    node.play(
        "imap",
        "implicit",
        &(imap + "C: z AUTHENTICATE\nS: z BAD…\nC: y NOOP\nS: y OK…"),
    )?;
    node.play("submission", "implicit", &(submission + "C: NOOP\nS: 250 2.0.0…"))?;
    Ok(())
}

#[test]
fn nothing_secret_is_taken_or_asked_for_in_clear() -> Result<()> {
    let place = Place::new()?;
    let setup = Setup {
        // Privacy refusals do not count.
        listener: ", max_auth_attempts = 2",
        ..Setup::default()
    };
    let node = Lone::start(&place, &Ca::new(place.path())?, setup)?;
    let frame = plain("ann@x.example", "pw");
    for tls in ["starttls", "plain"] {
        let imap = format!(
            "S: * OK …
            C: a LOGIN ann pw
            S: a NO [PRIVACYREQUIRED]…
            C: b LOGIN {{3}}
            S: b NO [PRIVACYREQUIRED]…
            C: c LOGIN {{3+}}
            C: ann {{2+}}
            C: pw
            S: c NO [PRIVACYREQUIRED]…
            C: d AUTHENTICATE PLAIN {frame}
            S: d NO [PRIVACYREQUIRED]…
            C: e AUTHENTICATE OAUTHBEARER
            S: e NO [PRIVACYREQUIRED]…
            C: f AUTHENTICATE XOAUTH2
            S: f NO [PRIVACYREQUIRED]…
            C: g NOOP
            S: g OK…"
        );
        node.play("imap", tls, &imap)?;
        let submission = format!(
            "S: 220 …
            C: AUTH PLAIN {frame}
            S: 538 5.7.11…
            C: AUTH LOGIN
            S: 538 5.7.11…
            C: AUTH OAUTHBEARER
            S: 538 5.7.11…
            C: AUTH XOAUTH2
            S: 538 5.7.11…
            C: NOOP
            S: 250 2.0.0…"
        );
        node.play("submission", tls, &submission)?;
    }
    Ok(())
}

#[test]
fn a_submission_command_is_answered_with_the_code_that_the_contract_has_for_it() -> Result<()> {
    let place = Place::new()?;
    let node = Lone::start(&place, &Ca::new(place.path())?, Setup::default())?;
    let dialogue = "S: 220 proxy.example.org ESMTP …
        C: HELO me.example
        S: 250 proxy.example.org
        C: NOOP
        S: 250 2.0.0…
        C: rset
        S: 250 2.0.0…
        C: MAIL FROM:<a@x.example>
        S: 530 5.7.0…
        C: RCPT TO:<b@x.example>
        S: 530 5.7.0…
        C: DATA
        S: 530 5.7.0…
        C: BDAT 6 LAST
        C: QUIT
        S: 530 5.7.0…
        C: VRFY a
        S: 503 5.5.1…
        C: HELP
        S: 503 5.5.1…
        C: \x01\x02
        S: 500 5.5.2…
        C: AUTH CRAM-MD5
        C: NOOP
        S: 504 5.5.4…
        S: 250 2.0.0…
        C: QUIT
        S: 221 2.0.0…
        END";
    node.play("submission", "implicit", dialogue)?;
    Ok(())
}

#[test]
fn what_is_pipelined_behind_a_starttls_is_never_interpreted() -> Result<()> {
    let place = Place::new()?;
    let node = Lone::start(&place, &Ca::new(place.path())?, Setup::default())?;
    // In one write: the second command came in clear, and must not be answered inside TLS.
    node.play(
        "imap",
        "starttls",
        "S: * OK …\nC: a STARTTLS\nC: b CAPABILITY\nS: a OK…\nTLS\nC: c NOOP\nS: c OK…",
    )?;
    node.play(
        "submission",
        "starttls",
        "S: 220 …\nC: EHLO injected\nS: 250-…\nS: 250-…\nS: 250-…\nS: 250-…\nS: 250-…\nS: 250-…\nS: 250-…\nS: 250-…\n\
         S: 250-…\nS: 250 STARTTLS\nC: STARTTLS\nC: VRFY injected\nS: 220 2.0.0…\nTLS\nC: NOOP\nS: 250 2.0.0…",
    )?;
    Ok(())
}
