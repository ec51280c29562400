//! What ends a connection that does not sign in: time, failures, room, size (behaviour §1, configuration §3.3).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    place::Place,
    raw::Raw,
    when::eventually,
};

use super::lone::{ALICE, DEAD, Lone, SOON, Setup, base64, destination};

/// Of one line, literal or response.
const LIMIT: usize = 64 * 1024;

#[test]
fn who_does_not_sign_in_in_time_is_told_so_and_closed() -> Result<()> {
    let place = Place::new()?;
    let setup = Setup {
        listener: ", preauth_timeout = \"1s\"",
        ..Setup::default()
    };
    let node = Lone::start(&place, &Ca::new(place.path())?, setup)?;
    let began = Instant::now();
    let mut waiting = Vec::new();
    for (protocol, greeting, farewell) in [
        ("imap", "S: * OK …", "S: * BYE…\nEND"),
        ("submission", "S: 220 …", "S: 421 4.4.2…\nEND"),
    ] {
        for tls in ["implicit", "starttls", "plain"] {
            waiting.push((node.play(protocol, tls, greeting)?, farewell));
        }
    }
    // In the middle of a line, and within an exchange.
    let mut unfinished = node.play("imap", "implicit", "S: * OK …")?;
    unfinished.send("a LOG")?;
    waiting.push((unfinished, "S: * BYE…\nEND"));
    let exchange = node.play(
        "submission",
        "implicit",
        "S: 220 …\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6",
    )?;
    waiting.push((exchange, "S: 421 4.4.2…\nEND"));
    // Who never speaks TLS hears nothing.
    waiting.push((Raw::connect(node.at("imap", "implicit"))?, "END"));
    for (mut raw, farewell) in waiting {
        raw.play(node.client(), farewell)?;
    }
    ensure!(began.elapsed() >= Duration::from_secs(1), "too early");
    Ok(())
}

#[test]
fn the_last_failure_is_answered_and_the_connection_closed() -> Result<()> {
    let place = Place::new()?;
    let setup = Setup {
        listener: ", max_auth_attempts = 3",
        ..Setup::default()
    };
    let node = Lone::start(&place, &Ca::new(place.path())?, setup)?;
    // Not counted: aborts, unknown commands that are well-formed.
    let imap = "S: * OK …
        C: a FOO
        S: a BAD…
        C: b AUTHENTICATE PLAIN
        S: + 
        C: *
        S: b BAD…
        C: c AUTHENTICATE NTLM
        S: c NO…
        C: d LOGIN ann
        S: d NO…
        C: e FOO
        S: e BAD…
        C: f \"
        S: f BAD…
        S: * BYE…
        END";
    node.play("imap", "implicit", imap)?;
    let submission = "S: 220 …
        C: FOO
        S: 500 5.5.2…
        C: AUTH PLAIN
        S: 334 
        C: *
        S: 501 5.7.0…
        C: AUTH NTLM
        S: 504 5.5.4…
        C: AUTH PLAIN !
        S: 501 5.5.2…
        C: MAIL FROM:<a@x.example>
        S: 530 5.7.0…
        C: \x01
        S: 500 5.5.2…
        S: 421 …
        END";
    node.play("submission", "implicit", submission)?;
    Ok(())
}

#[test]
fn a_connection_too_many_is_closed_without_a_byte_and_its_place_is_free_again() -> Result<()> {
    let place = Place::new()?;
    let metrics = place.port(place.address(2))?;
    let tables = format!("[metrics]\nbind = \"{metrics}\"\n{DEAD}");
    let setup = Setup {
        listener: ", max_connections = 2",
        tables: &tables,
        ..Setup::default()
    };
    let node = Lone::start(&place, &Ca::new(place.path())?, setup)?;
    for (protocol, greeting) in [("imap", "S: * OK …"), ("submission", "S: 220 …")] {
        let greeted = || node.play(protocol, "starttls", greeting).ok();
        let first = eventually("the first", SOON, greeted)?;
        let _second = eventually("the second", SOON, greeted)?;
        let mut third = Raw::connect(node.at(protocol, "starttls"))?;
        assert_eq!(third.rest()?, "");
        drop(first);
        eventually("a place is free again", SOON, greeted)?;
        // Each listener counts its own.
        node.play(protocol, "plain", greeting)?;
    }
    let log = node.process.output();
    let full = log.lines().find(|line| line.contains("the listener is full"));
    for field in ["listener=imap-starttls", "protocol=imap", "peer=127."] {
        assert!(full.is_some_and(|line| line.contains(field)), "{full:?}");
    }
    // Counted by listener and reason.
    let page = crate::sight::get(metrics, "/metrics")?;
    let counted = page
        .lines()
        .find(|line| line.starts_with("mail_connections_refused") && line.contains("\"imap-starttls\""));
    // The third one, and each that asked again before the place was free.
    let refused = counted.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    assert!(
        counted.is_some_and(|line| line.contains("error_type=\"listener_full\""))
            && refused.is_some_and(|count: u64| count > 0),
        "{page}"
    );
    Ok(())
}

#[test]
fn clients_that_take_too_much_are_told_and_each_limit_is_counted() -> Result<()> {
    const BOB: &str = "bob@example.org";
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let legacy = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Allowed,
        &[ALICE, BOB],
    )?;
    let metrics = place.port(place.address(2))?;
    let tables = format!("[metrics]\nbind = \"{metrics}\"\n")
        + &destination("legacy", &legacy, None, "implicit", "forwarding = \"none\"\n");
    let setup = Setup {
        tables: &tables,
        // The least that a node has room for: 16 connections of one client, and 16 that have not signed in.
        descriptors: Some(192),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let counted = |reason: &str| -> Result<u64> {
        let page = crate::sight::get(metrics, "/metrics")?;
        let of_reason = |line: &&str| {
            line.starts_with("mail_connections_refused") && line.contains(&format!("\"{reason}\""))
        };
        Ok(page
            .lines()
            .filter(of_reason)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum())
    };
    let greeted = || node.play("imap", "plain", "S: * OK …").ok();
    let refused = || node.play("imap", "plain", "S: * BYE…\nEND").ok();
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(eventually("a place before login", SOON, greeted)?);
    }
    eventually("no place before login", SOON, refused)?;
    let before_login = counted("login_limit")?;
    assert!(before_login > 0 && counted("client_limit")? == 0);
    drop(silent);
    let mut sessions = Vec::new();
    for who in [ALICE, BOB] {
        for _ in 0..8 {
            let login = format!("S: * OK …\nC: a LOGIN {who} secret\nS: a OK…");
            sessions.push(eventually("a session", SOON, || {
                node.play("imap", "implicit", &login).ok()
            })?);
        }
    }
    eventually("the client has its share", SOON, || {
        refused()?;
        counted("client_limit").ok().filter(|count| *count > 0)
    })?;
    drop(sessions);
    eventually("there is room again", SOON, greeted)?;
    Ok(())
}

#[test]
fn what_a_node_has_room_for_is_in_its_log_at_start() -> Result<()> {
    let place = Place::new()?;
    let metrics = place.port(place.address(2))?;
    let tables = format!("[metrics]\nbind = \"{metrics}\"\n{DEAD}");
    let setup = Setup {
        tables: &tables,
        ..Setup::default()
    };
    let node = Lone::start(&place, &Ca::new(place.path())?, setup)?;
    // What there is room for is said at start.
    let log = node.process.output();
    let limits = log.lines().find(|line| line.contains("msg=limits"));
    let limits = limits.with_context(|| format!("no limits in {log}"))?;
    let of = |field: &str| -> Result<usize> {
        let value = limits.split(' ').find_map(|word| word.strip_prefix(field));
        Ok(value.with_context(|| limits.to_owned())?.parse()?)
    };
    let (descriptors, per_client, before_login) =
        (of("descriptors=")?, of("per_client=")?, of("before_login=")?);
    assert_eq!(
        (per_client, before_login),
        ((descriptors - 128) / 4, per_client),
        "{limits}"
    );
    assert_eq!(
        (of("held=")?, of("held_per_account=")?),
        (before_login / 2, 64),
        "{limits}"
    );
    Ok(())
}

#[test]
fn lines_literals_and_responses_may_be_as_long_as_the_limit_and_no_longer() -> Result<()> {
    let place = Place::new()?;
    let node = Lone::start(&place, &Ca::new(place.path())?, Setup::default())?;
    let filled = |head: &str, length: usize| format!("{head}{}", "x".repeat(length - head.len()));
    // A frame whose base64 has exactly this length.
    let frame = |length: usize| base64(filled("\0ann@x.example\0", length / 4 * 3));
    let unavailable = "S: a NO [UNAVAILABLE]…\nS: * BYE…\nEND";
    let piece = "a LOGIN ann@x.example ";
    for (what, said, answer) in [
        (
            "a line at the limit",
            format!("C: {}", filled(piece, LIMIT)),
            unavailable,
        ),
        (
            "a line over it",
            format!("C: {}", filled(piece, LIMIT + 1)),
            "S: * BYE…\nEND",
        ),
        (
            "a response at the limit",
            format!("C: a AUTHENTICATE PLAIN\nS: + \nC: {}", frame(LIMIT)),
            unavailable,
        ),
        (
            "a response over it",
            format!("C: a AUTHENTICATE PLAIN\nS: + \nC: {}", frame(LIMIT + 4)),
            "S: * BYE…\nEND",
        ),
        (
            "a literal of 60,000 octets",
            format!(
                "C: {piece}{{60000}}\nS: + Ready for 60000 bytes.\nC: {}",
                "x".repeat(60_000)
            ),
            unavailable,
        ),
        (
            "a literal that flows",
            format!("C: {piece}{{60000+}}\nC: {}", "x".repeat(60_000)),
            unavailable,
        ),
        (
            "a literal over the limit that waits is not asked for",
            format!("C: {piece}{{65537}}"),
            "S: a BAD…\nC: b NOOP\nS: b OK…",
        ),
        (
            "one that flows cannot be skipped",
            format!("C: {piece}{{65537+}}"),
            "S: * BYE…\nEND",
        ),
    ] {
        let played = node.play("imap", "implicit", &format!("S: * OK …\n{said}\n{answer}"));
        ensure!(played.is_ok(), "{what}: {:?}", played.err());
    }
    for (what, said, answer) in [
        (
            "a response at the limit",
            format!("C: AUTH PLAIN\nS: 334 \nC: {}", frame(LIMIT)),
            "S: 421 4.3.0…\nEND",
        ),
        (
            "a line over it",
            format!("C: {}", filled("NOOP ", LIMIT + 1)),
            "S: 500 5.5…\nS: 421 …\nEND",
        ),
        (
            "a line at the limit",
            format!("C: {}", filled("NOOP ", LIMIT)),
            "S: 250 2.0.0…",
        ),
    ] {
        let played = node.play("submission", "implicit", &format!("S: 220 …\n{said}\n{answer}"));
        ensure!(played.is_ok(), "{what}: {:?}", played.err());
    }
    Ok(())
}

#[test]
fn a_login_that_is_no_identifier_gets_the_temporary_failure_and_is_not_logged() -> Result<()> {
    let place = Place::new()?;
    let node = Lone::start(&place, &Ca::new(place.path())?, Setup::default())?;
    let long = "l".repeat(1025);
    for login in [
        "ann b@x.example",
        "%root",
        "an\u{7}n@x.example",
        &long,
        "a\u{7f}b",
    ] {
        let imap = format!(
            "S: * OK …\nC: a AUTHENTICATE PLAIN {}\nS: a NO [UNAVAILABLE]…\nS: * BYE…\nEND",
            super::lone::plain(login, "pw")
        );
        node.play("imap", "implicit", &imap)?;
        let submission = format!(
            "S: 220 …\nC: AUTH PLAIN {}\nS: 421 4.3.0…\nEND",
            super::lone::plain(login, "pw")
        );
        node.play("submission", "implicit", &submission)?;
    }
    let log = node.process.output();
    assert!(log.contains("it is no identifier"), "{log}");
    assert!(
        !log.contains("ann b") && !log.contains("%root") && !log.contains(&long),
        "{log}"
    );
    Ok(())
}
