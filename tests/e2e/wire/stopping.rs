//! SIGTERM or SIGINT: who has not signed in is told and closed at once, the rest has the grace, a second signal ends it now
//! (behaviour §11).

use std::time::{Duration, Instant};

use anyhow::Result;
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    place::Place,
    raw::Raw,
    when::eventually,
};
use nix::sys::signal::Signal;

use super::lone::{ALICE, Lone, SOON, Setup, destination};

const PATIENT: &str = "log_level = \"debug\"\nshutdown_grace = \"60s\"\n";

#[test]
fn who_has_not_signed_in_is_told_and_closed_at_once_and_the_node_ends() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let behind = place.port(place.address(2))?;
    let tables = format!(
        "{}[listener.behind]\nprotocol = \"imap\"\nbind = [\"{behind}\"]\ntls = \"plain\"\n\
         proxy_protocol = \"required\"\nproxy_trusted = [\"127.0.0.0/8\"]\npreauth_timeout = \"50s\"\n",
        super::lone::DEAD
    );
    let setup = Setup {
        server: PATIENT,
        tables: &tables,
        ..Setup::default()
    };
    let mut node = Lone::start(&place, &ca, setup)?;
    let mut waiting = Vec::new();
    for tls in ["implicit", "starttls", "plain"] {
        waiting.push((node.play("imap", tls, "S: * OK …")?, "S: * BYE…\nEND"));
        waiting.push((node.play("submission", tls, "S: 220 …")?, "S: 421 …\nEND"));
    }
    // Nobody of these can be told anything yet.
    waiting.push((Raw::connect(node.at("imap", "implicit"))?, "END"));
    waiting.push((Raw::connect(behind)?, "END"));
    let began = Instant::now();
    let status = node.process.stop(SOON)?;
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    for (mut raw, farewell) in waiting {
        raw.play(node.client(), farewell)?;
    }
    Ok(())
}

#[test]
fn those_who_are_left_when_the_grace_is_over_are_reported_by_number() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let legacy = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Allowed,
        &[ALICE],
    )?;
    let tables = destination("legacy", &legacy, None, "implicit", "forwarding = \"none\"\n");
    let setup = Setup {
        server: "shutdown_grace = \"1s\"\n",
        tables: &tables,
        ..Setup::default()
    };
    let mut node = Lone::start(&place, &ca, setup)?;
    let login = format!("S: * OK …\nC: a LOGIN {ALICE} secret\nS: a OK…");
    let mut left = [
        node.play("imap", "implicit", &login)?,
        node.play(
            "imap",
            "starttls",
            &format!(
                "S: * OK …\nC: s STARTTLS\nS: s OK…\nTLS\n{}",
                &login["S: * OK …\n".len()..]
            ),
        )?,
    ];
    assert!(node.process.stop(SOON)?.success());
    for raw in &mut left {
        raw.play(node.client(), "END")?;
    }
    let log = node.process.output();
    let said = log.lines().find(|line| line.contains("the grace is over"));
    assert!(
        said.is_some_and(|line| line.contains("level=warn") && line.contains("connections=2")),
        "{log}"
    );
    Ok(())
}

#[test]
fn the_signed_in_go_on_during_the_grace_nobody_new_gets_in_and_a_second_signal_ends_it_now() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let legacy = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Allowed,
        &[ALICE],
    )?;
    let tables = destination("legacy", &legacy, None, "implicit", "forwarding = \"none\"\n");
    let setup = Setup {
        server: PATIENT,
        tables: &tables,
        ..Setup::default()
    };
    let mut node = Lone::start(&place, &ca, setup)?;
    let login = format!("S: * OK …\nC: a LOGIN {ALICE} secret\nS: a OK…");
    let mut alice = node.play("imap", "implicit", &login)?;
    node.process.signal(Signal::SIGINT)?;
    eventually("nobody new gets in", SOON, || {
        Raw::connect(node.at("imap", "plain")).is_err().then_some(())
    })?;
    alice.play(node.client(), "C: b NOOP\nS: b OK…")?;
    node.process.still_runs()?;
    let began = Instant::now();
    let status = node.process.stop(SOON)?;
    assert!(
        began.elapsed() < Duration::from_secs(15) && status.code().is_some(),
        "{status}"
    );
    alice.play(node.client(), "END")?;
    Ok(())
}
