//! A hundred mebibytes both ways at once: they arrive byte for byte, and what is not taken waits outside the node.

use std::{
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Barrier},
};

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    duplex::{Pattern, Sink},
    lone::{Lone, Setup, destination},
    place::Place,
    raw::{Raw, Role},
};

use super::ALICE;

const BULK: usize = 100 * 1024 * 1024;
/// What a node may grow by while two bulk transfers through it are stuck: some buffers, and not what waits.
const GROWTH: usize = 24 * 1024 * 1024;
const IN_CLEAR: &str = "[capabilities.imap]\nallow_plain_auth_without_tls = true\n";

#[test]
fn a_hundred_mebibytes_both_ways_at_once_arrive_as_they_were_sent_and_wait_outside_the_node() -> Result<()> {
    for tls in ["implicit", "plain"] {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        let directory = place.folder("backend")?;
        let address = place.port(place.server())?;
        let issued = ca.issue(&directory, "legacy.test", address.ip())?;
        let listener = TcpListener::bind(address)?;
        let table = format!(
            "[destination.legacy]\nhost = \"{}\"\ntls_server_name = \"legacy.test\"\nforwarding = \"none\"\n\
             allow_plaintext_auth = true\n[destination.legacy.protocol]\nimap = {{ port = {}, tls = \"{tls}\" }}\n{IN_CLEAR}",
            address.ip(),
            address.port(),
        );
        let setup = Setup {
            listeners: &[("imap", tls)],
            tables: &table,
            ..Setup::default()
        };
        let node = Lone::start(&place, &ca, setup)?;
        // Neither reads before both are stuck.
        let both = Arc::new(Barrier::new(2));
        let there = Arc::clone(&both);
        let backend = std::thread::spawn(move || -> Result<()> {
            let mut raw = Raw::new(listener.accept()?.0)?;
            let dialogue =
                "S: * OK [CAPABILITY IMAP4rev1 SASL-IR] ready\nC: a AUTHENTICATE PLAIN …\nS: a OK in";
            if tls == "implicit" {
                raw.tls(Role::Server(&issued))?;
            }
            raw.play(Role::Server(&issued), dialogue)?;
            raw.into_duplex()?.exchange_when_stuck(
                &mut Pattern::new(1, BULK),
                &mut Pattern::new(2, BULK),
                &mut |_| {
                    there.wait();
                    Ok(())
                },
            )
        });
        let mut raw = Raw::connect(node.at("imap", tls)?)?;
        if tls == "implicit" {
            raw.tls(Role::Client(ca.pem()))?;
        }
        let dialogue = format!("S: * OK …\nC: a LOGIN {ALICE} secret\nS: a OK in");
        raw.play(Role::Client(ca.pem()), &dialogue)?;
        let before = resident(node.process.pid())?;
        raw.into_duplex()?.exchange_when_stuck(
            &mut Pattern::new(2, BULK),
            &mut Pattern::new(1, BULK),
            &mut |sent| {
                both.wait();
                ensure!(
                    sent < BULK / 2,
                    "{sent} bytes were taken, and nobody has read them"
                );
                let grown = resident(node.process.pid())?.saturating_sub(before);
                ensure!(grown < GROWTH, "{tls}: the node has grown by {grown} bytes");
                Ok(())
            },
        )?;
        backend.join().ok().context("the backend's thread")??;
    }
    Ok(())
}

/// The memory of a process that is in use.
fn resident(pid: i32) -> Result<usize> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: usize = text.split(' ').nth(1).context("its second field")?.parse()?;
    Ok(pages * 4096)
}

#[test]
fn a_hundred_mebibytes_are_appended_behind_a_fetch_of_as_many_that_nobody_reads_yet() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::Proxy,
        Plaintext::Refused,
        &[ALICE],
    )?;
    let setup = Setup {
        listeners: &[("imap", "implicit")],
        tables: &destination(&dovecot, None, "implicit", ""),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let (first, second) = (big_message(3, "\r\n"), big_message(4, "\r\n"));
    let mut raw = Raw::connect(node.at("imap", "implicit")?)?;
    raw.tls(Role::Client(ca.pem()))?;
    let login = format!("S: * OK …\nC: a LOGIN {ALICE} secret\nS: a OK …");
    raw.play(Role::Client(ca.pem()), &login)?;
    raw.send(format!("b APPEND INBOX {{{}+}}\r\n", first.len()))?;
    raw.send(&first)?;
    raw.send("\r\nc SELECT INBOX\r\n")?;
    while !raw.line()?.starts_with("c OK") {}
    assert!(
        raw.heard.iter().any(|line| line.starts_with("b OK [APPENDUID")),
        "{:?}",
        raw.heard
    );

    // In one breath: the answer to the first is not read until the second is stuck behind it.
    let mut sent = format!(
        "d FETCH 1 BODY.PEEK[]\r\ne APPEND INBOX {{{}+}}\r\n",
        second.len()
    )
    .into_bytes();
    sent.extend_from_slice(&second);
    sent.extend_from_slice(b"\r\n");
    let mut answers = Answers(Vec::with_capacity(BULK + 4096));
    let before = resident(node.process.pid())?;
    raw.into_duplex()?
        .exchange_when_stuck(&mut sent.as_slice(), &mut answers, &mut |taken| {
            ensure!(
                taken < BULK / 2,
                "{taken} bytes were taken, and nobody has read them"
            );
            let grown = resident(node.process.pid())?.saturating_sub(before);
            ensure!(grown < GROWTH, "the node has grown by {grown} bytes");
            Ok(())
        })?;
    let head = format!("* 1 FETCH (BODY[] {{{}}}\r\n", first.len());
    ensure!(
        answers.0.starts_with(head.as_bytes()),
        "{}",
        answers.0[..200].escape_ascii()
    );
    let body = &answers.0[head.len()..];
    ensure!(
        body[..first.len()] == first,
        "the message that was fetched is another one"
    );
    let rest = String::from_utf8_lossy(&body[first.len()..]);
    ensure!(
        rest.starts_with(")\r\nd OK ") && rest.contains("e OK [APPENDUID"),
        "{rest}"
    );
    // What Dovecot has on its disk: with LF for CRLF.
    let mut stored = Vec::new();
    for file in mail_files(&dovecot)? {
        stored.push(std::fs::read(file)?);
    }
    stored.sort_unstable();
    let expected = [big_message(3, "\n"), big_message(4, "\n")];
    ensure!(stored == expected, "Dovecot has something else");
    Ok(())
}

/// What has come, up to the end of the command `e`.
struct Answers(Vec<u8>);

impl Sink for Answers {
    fn take(&mut self, bytes: &[u8]) -> Result<bool> {
        self.0.extend_from_slice(bytes);
        let tail = &self.0[self.0.len().saturating_sub(500)..];
        Ok(tail.ends_with(b"\r\n") && tail.windows(5).any(|window| window == b"\ne OK"))
    }
}

/// Lines of 76 characters, another message for each seed.
fn big_message(seed: u64, newline: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(BULK + 100);
    let _ = write!(
        message,
        "From: x@x.test{newline}Subject: {seed}{newline}{newline}"
    );
    let mut word = seed;
    for _ in 0..BULK / 78 {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed);
        let _ = write!(message, "{word:019x}");
        for _ in 0..3 {
            let from = message.len() - 19;
            message.extend_from_within(from..);
        }
        message.extend_from_slice(newline.as_bytes());
    }
    message
}

fn mail_files(dovecot: &Dovecot) -> Result<Vec<PathBuf>> {
    let inbox = dovecot.directory.join("mail").join(ALICE).join("Maildir");
    let mut files = Vec::new();
    for folder in ["new", "cur"] {
        for entry in std::fs::read_dir(Path::new(&inbox).join(folder))? {
            files.push(entry?.path());
        }
    }
    Ok(files)
}
