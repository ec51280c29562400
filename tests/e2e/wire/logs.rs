//! What a node says of a connection, at each level, and what `--check` says of its file (behaviour §12,
//! configuration §1).

use std::process::Command;

use anyhow::Result;
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    place::Place,
    when::eventually,
};

use super::lone::{ALICE, DEAD, Lone, SOON, Setup, destination, program};

#[test]
fn every_line_of_a_connection_names_its_session_at_every_level() -> Result<()> {
    for level in ["error", "warn", "info", "debug", "trace"] {
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
        let tables = destination("legacy", &dovecot, None, "implicit", "forwarding = \"none\"\n")
            + &DEAD.replace("destination.legacy", "destination.dead");
        let server = format!("log_level = \"{level}\"\n");
        let setup = Setup {
            server: &server,
            tables: &tables,
            moved: "bob@example.org dead\n",
            ..Setup::default()
        };
        let mut node = Lone::start(&place, &ca, setup)?;
        for dialogue in [
            format!("S: * OK …\nC: a LOGIN {ALICE} secret\nS: a OK…\nC: b LOGOUT\nS: * BYE…\nS: b OK…\nEND"),
            format!("S: * OK …\nC: a LOGIN {ALICE} wrong\nS: a NO…\nS: * BYE…\nEND"),
            "S: * OK …\nC: a LOGIN bob@example.org pw-1\nS: a NO [UNAVAILABLE]…\nS: * BYE…\nEND".to_owned(),
            "S: * OK …\nC: a LOGIN \"bob x\" pw-2\nS: a NO [UNAVAILABLE]…\nS: * BYE…\nEND".to_owned(),
        ] {
            node.play("imap", "implicit", &dialogue)?;
        }
        assert!(node.process.stop(SOON)?.success());
        let log = node.process.output();
        let of_connections = [
            ("backend unavailable", "warn"),
            ("it is no identifier", "warn"),
            ("login refused by the backend", "info"),
            ("session closed", "info"),
            ("login read", "debug"),
            ("msg=routed", "debug"),
        ];
        let order = ["error", "warn", "info", "debug", "trace"];
        let rank = |name: &str| order.iter().position(|known| *known == name);
        for (text, least) in of_connections {
            let lines: Vec<&str> = log.lines().filter(|line| line.contains(text)).collect();
            assert_eq!(
                !lines.is_empty(),
                rank(level) >= rank(least),
                "{level}: {text}\n{log}"
            );
            for line in lines {
                for field in [
                    " session=",
                    " listener=imap-implicit",
                    " protocol=imap",
                    " peer=127.",
                ] {
                    assert!(line.contains(field), "{level}: no {field} in: {line}");
                }
                let destination = match text {
                    "backend unavailable" => " destination=dead",
                    "login refused by the backend" | "session closed" => " destination=legacy",
                    _ => "",
                };
                assert!(line.contains(destination), "{level}: no {destination} in: {line}");
            }
        }
        for secret in ["secret", "wrong", "pw-1", "pw-2", ALICE, "bob x"] {
            assert!(!log.contains(secret), "{level}: {secret} is in the log");
        }
    }
    Ok(())
}

#[test]
fn what_was_moved_and_why_it_ended_is_in_the_last_line_of_a_session() -> Result<()> {
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
        server: "log_level = \"info\"\nbridge_idle = \"1s\"\nshutdown_grace = \"1s\"\n",
        tables: &tables,
        ..Setup::default()
    };
    let mut node = Lone::start(&place, &ca, setup)?;
    let login = format!("S: * OK …\nC: a LOGIN {ALICE} secret\nS: a OK…\n");
    let closed = |node: &Lone, reason: &str| {
        eventually(reason, SOON, || {
            let log = node.process.output();
            let of_reason = |line: &&str| line.contains("session closed") && line.contains(reason);
            log.lines().find(of_reason).map(str::to_owned)
        })
    };
    node.play(
        "imap",
        "implicit",
        &(login.clone() + "C: b LOGOUT\nS: * BYE…\nS: b OK…\nEND"),
    )?;
    let line = closed(&node, "reason=eof")?;
    // "b LOGOUT" and its end: the login itself is not part of the bridge.
    for field in [
        "destination=legacy",
        "bytes_to_backend=10 ",
        "bytes_to_client=",
        "secs=",
    ] {
        assert!(line.contains(field), "{line}");
    }
    node.play("imap", "implicit", &(login.clone() + "END"))?;
    closed(&node, "reason=idle")?;
    let mut alice = node.play("imap", "implicit", &login)?;
    assert!(node.process.stop(SOON)?.success());
    alice.play(node.client(), "END")?;
    closed(&node, "reason=shutdown")?;
    Ok(())
}

/// The line that is said each minute begins with the start.
#[test]
fn the_figures_of_a_node_are_in_its_log() -> Result<()> {
    let place = Place::new()?;
    let node = Lone::start(&place, &Ca::new(place.path())?, Setup::default())?;
    let line = eventually("the figures", SOON, || {
        let log = node.process.output();
        log.lines()
            .find(|line| line.contains("msg=figures"))
            .map(str::to_owned)
    })?;
    assert!(line.contains("level=info"), "{line}");
    for field in [" active_connections=", " waiting="] {
        let value = line.split(field).nth(1).and_then(|rest| rest.split(' ').next());
        assert!(
            value.is_some_and(|value| value.parse::<u64>().is_ok()),
            "{field}: {line}"
        );
    }
    Ok(())
}

#[test]
fn a_check_says_all_that_is_wrong_and_binds_nothing() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    // The node runs: a check of the same file that bound something would fail.
    let node = Lone::start(&place, &ca, Setup::default())?;
    let check = |file: &std::path::Path| {
        Command::new(program()?)
            .arg("--offline")
            .arg("--check")
            .arg(file)
            .output()
            .map_err(anyhow::Error::from)
    };
    let good = check(&node.config)?;
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let wrong = place.path().join("wrong.toml");
    let text = std::fs::read_to_string(&node.config)?
        .replace(
            "default_destination = \"legacy\"",
            "default_destination = \"lagacy\"",
        )
        .replace("hostname = ", "hostnam = ")
        .replace(
            "log_level = \"debug\"",
            "log_level = \"debug\"\nbackend_timeout = \"10\"",
        )
        .replace("port = 9, tls = \"plain\"", "port = 0, tls = \"none\"");
    std::fs::write(&wrong, text)?;
    let bad = check(&wrong)?;
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert_eq!(bad.status.code(), Some(1), "{said}");
    for needed in [
        "wrong.toml:",
        "routing.default_destination",
        "lagacy",
        "legacy",
        "server.backend_timeout",
        "server.hostnam",
        "destination.legacy.protocol.imap.port",
        "destination.legacy.protocol.imap.tls",
        "destination.legacy.protocol.submission.tls",
    ] {
        assert!(said.contains(needed), "no {needed} in:\n{said}");
    }
    Ok(())
}
