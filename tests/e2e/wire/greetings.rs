//! What a client reads first, on every kind of listener, with the gate shut and open (behaviour §6.1, §6.4).

use anyhow::Result;
use mailswitch_tests::{ca::Ca, place::Place};

use super::lone::{DEAD, Lone, Setup};

const ADVERTISED: &str = "IMAP4rev2 IMAP4rev1 ENABLE SASL-IR LITERAL+ ID UTF8=ACCEPT JMAPACCESS";
const IMAP_AUTH: &str = "AUTH=PLAIN AUTH=LOGIN AUTH=OAUTHBEARER AUTH=XOAUTH2";
const KEYWORDS: [&str; 8] = [
    "ENHANCEDSTATUSCODES",
    "8BITMIME",
    "BINARYMIME",
    "SMTPUTF8",
    "PIPELINING",
    "CHUNKING",
    "REQUIRETLS",
    "SIZE",
];

/// The server's lines of an EHLO reply.
fn ehlo(greeted: &str, more: &[&str]) -> String {
    let lines: Vec<&str> = std::iter::once(greeted)
        .chain(KEYWORDS)
        .chain(more.iter().copied())
        .collect();
    let last = lines.len() - 1;
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        text += &format!("S: 250{}{line}\n", if index == last { ' ' } else { '-' });
    }
    text
}

#[test]
fn imap_advertises_no_login_while_the_gate_is_shut_and_all_of_it_behind_tls() -> Result<()> {
    let place = Place::new()?;
    let node = Lone::start(&place, &Ca::new(place.path())?, Setup::default())?;
    let open = format!("{ADVERTISED} {IMAP_AUTH}");
    for (tls, dialogue) in [
        (
            "implicit",
            format!("S: * OK [CAPABILITY {open}] …\nC: a capability\nS: * CAPABILITY {open}\nS: a OK…"),
        ),
        (
            "starttls",
            format!(
                "S: * OK [CAPABILITY {ADVERTISED} LOGINDISABLED STARTTLS] …\n\
                 C: a CAPABILITY\nS: * CAPABILITY {ADVERTISED} LOGINDISABLED STARTTLS\nS: a OK…\n\
                 C: b STARTTLS\nS: b OK…\nTLS\n\
                 C: c CAPABILITY\nS: * CAPABILITY {open}\nS: c OK…\nC: d STARTTLS\nS: d BAD…"
            ),
        ),
        (
            "plain",
            format!("S: * OK [CAPABILITY {ADVERTISED} LOGINDISABLED] …\nC: a STARTTLS\nS: a BAD…"),
        ),
    ] {
        node.play("imap", tls, &dialogue)?;
    }
    Ok(())
}

#[test]
fn submission_advertises_no_auth_while_the_gate_is_shut_and_all_of_it_behind_tls() -> Result<()> {
    let place = Place::new()?;
    let node = Lone::start(&place, &Ca::new(place.path())?, Setup::default())?;
    let greeting = "S: 220 proxy.example.org ESMTP …\n";
    let hello = "C: EHLO me.example\n";
    let greeted = "proxy.example.org at your service, [me.example]";
    let auth = "AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2";
    for (tls, dialogue) in [
        ("implicit", ehlo(greeted, &[auth])),
        (
            "starttls",
            ehlo(greeted, &["STARTTLS"])
                + "C: STARTTLS\nS: 220 2.0.0…\nTLS\n"
                + hello
                + &ehlo(greeted, &[auth])
                + "C: STARTTLS\nS: 503 5.5.1…",
        ),
        ("plain", ehlo(greeted, &[]) + "C: STARTTLS\nS: 503 5.5.1…"),
    ] {
        node.play("submission", tls, &format!("{greeting}{hello}{dialogue}"))?;
    }
    Ok(())
}

#[test]
fn what_the_file_says_of_capabilities_is_sent_as_it_stands_there() -> Result<()> {
    let place = Place::new()?;
    let tables = format!(
        "[capabilities.imap]\nbanner = \"Hello\"\nadvertise = \"IMAP4rev1 ID\"\nsasl = [\"LOGIN\"]\n\
         allow_plain_auth_without_tls = true\n\
         [capabilities.submission]\nbanner = \"Good day\"\nehlo = \"SIZE PIPELINING\"\nsasl = [\"XOAUTH2\"]\n\
         allow_plain_auth_without_tls = true\n{DEAD}"
    );
    let setup = Setup {
        // No host name: the greeting shows the address of the local socket.
        server: "log_level = \"debug\"\n",
        tables: &tables,
        ..Setup::default()
    };
    let node = Lone::start(&place, &Ca::new(place.path())?, setup)?;
    let ip = place.address(2);
    for (tls, more_imap, more_ehlo) in [
        ("plain", "", ""),
        ("starttls", " STARTTLS", "S: 250-STARTTLS\n"),
        ("implicit", "", ""),
    ] {
        let imap = format!(
            "S: * OK [CAPABILITY IMAP4rev1 ID AUTH=LOGIN{more_imap}] Hello\n\
             C: a AUTHENTICATE PLAIN\nS: a NO…\nC: b AUTHENTICATE login\nS: + VXNlcm5hbWU6\nC: *\nS: b BAD…"
        );
        node.play("imap", tls, &imap)?;
        let submission = format!(
            "S: 220 {ip} ESMTP Good day\nC: EHLO [127.0.0.1]\nS: 250-{ip} at your service, [[127.0.0.1]]\n\
             S: 250-SIZE\nS: 250-PIPELINING\n{more_ehlo}S: 250 AUTH XOAUTH2\nC: AUTH PLAIN\nS: 504 5.5.4…"
        );
        node.play("submission", tls, &submission)?;
    }
    Ok(())
}
