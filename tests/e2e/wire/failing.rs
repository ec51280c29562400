//! A backend that fails: retries within one budget, and the breaker that marks a destination down (behaviour §4, §7.2).

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use mailswitch_tests::{ca::Ca, place::Place, raw::Raw, scripted::Scripted, when::eventually};

use super::{
    lone::{DEAD, Lone, SOON, Setup},
    scripts::{CAPABLE, IMAP_UNAVAILABLE, authenticate, destination, user},
};

#[test]
fn an_early_end_is_tried_again_within_one_budget_and_a_refusal_is_not() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let works = CAPABLE.to_owned() + &authenticate(0) + "S: a OK in\nEND";
    // Closes twice before it greets; refuses; never greets.
    let closes = Scripted::start(&place, &issued, move |number| {
        if number < 2 { String::new() } else { works.clone() }
    })?;
    let refuses = Scripted::start(&place, &issued, |_| "S: * BYE no\nEND".to_owned())?;
    let silent = Scripted::start(&place, &issued, |_| "END".to_owned())?;
    let backends = [&closes, &refuses, &silent];
    let (mut tables, mut moved) = (DEAD.to_owned(), String::new());
    for (number, backend) in backends.iter().enumerate() {
        tables += &destination(number, backend, &issued, "imap", "plain", "");
        writeln!(moved, "{} d{number}", user(number))?;
    }
    let setup = Setup {
        server: "log_level = \"debug\"\nbackend_timeout = \"2s\"\nbackend_connect_retries = 2\n",
        tables: &tables,
        moved: &moved,
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let login = |number| format!("S: * OK …\nC: a LOGIN {} pw\n", user(number));
    node.play("imap", "implicit", &(login(0) + "S: a OK in"))?;
    node.play("imap", "implicit", &(login(1) + IMAP_UNAVAILABLE))?;
    let began = Instant::now();
    node.play("imap", "implicit", &(login(2) + IMAP_UNAVAILABLE))?;
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(1900) && took < Duration::from_millis(5500),
        "{took:?}"
    );
    assert_eq!(backends.map(Scripted::accepted), [3, 1, 1]);
    Ok(())
}

#[test]
fn a_streak_of_failures_marks_a_destination_down_and_one_probe_finds_it_up_again() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let up = CAPABLE.to_owned() + &authenticate(0) + "S: a OK in\nEND";
    // Three failures open it, the first probe fails, the second finds it up.
    let backend = Scripted::start(&place, &issued, move |number| {
        if number < 4 {
            "S: * BYE no\nEND".to_owned()
        } else {
            up.clone()
        }
    })?;
    let tables = DEAD.to_owned() + &destination(0, &backend, &issued, "imap", "plain", "");
    let setup = Setup {
        server: "log_level = \"debug\"\nhost_down_threshold = 3\nhost_down_min_clients = 2\n\
                 host_down_cooldown = \"2s\"\nbackend_connect_retries = 0\n",
        tables: &tables,
        moved: "u0@x.example d0\n",
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let login = |client: u8, answer: &str| -> Result<()> {
        let mut raw = Raw::connect_from(place.address(client), node.at("imap", "implicit"))?;
        raw.tls(node.client())?;
        raw.play(
            node.client(),
            &format!("S: * OK …\nC: a LOGIN u0@x.example pw\n{answer}"),
        )
        .with_context(|| node.log_tail())
    };
    login(100, IMAP_UNAVAILABLE)?;
    login(100, IMAP_UNAVAILABLE)?;
    assert!(
        !node.process.output().contains("marked down"),
        "one client is not enough"
    );
    login(101, IMAP_UNAVAILABLE)?;
    eventually("it is marked down", SOON, || {
        node.process.output().contains("marked down").then_some(())
    })?;
    let opened = Instant::now();
    let mut rejected = 0;
    // At once, without a connection, until the cooldown ends.
    while backend.accepted() == 3 {
        login(102, IMAP_UNAVAILABLE)?;
        rejected += 1;
    }
    assert!(rejected > 1, "nothing was rejected");
    assert!(
        opened.elapsed() >= Duration::from_millis(1900),
        "{:?}",
        opened.elapsed()
    );
    // The probe has failed: down again for a whole cooldown, and then it is up.
    login(103, IMAP_UNAVAILABLE)?;
    assert_eq!(backend.accepted(), 4);
    eventually("a probe finds it up", SOON, || login(104, "S: a OK in").ok())?;
    assert_eq!(backend.accepted(), 5);
    assert!(node.process.output().contains("up again"));
    login(105, "S: a OK in")
}

#[test]
fn a_refused_login_never_marks_a_destination_down_and_a_dead_host_is_down_for_all() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let refuses = Scripted::start(&place, &issued, |_| {
        CAPABLE.to_owned() + &authenticate(0) + "S: a NO [AUTHENTICATIONFAILED] no\nEND"
    })?;
    let tables = DEAD.to_owned() + &destination(0, &refuses, &issued, "imap", "plain", "");
    let setup = Setup {
        server: "log_level = \"debug\"\nhost_down_threshold = 2\nbackend_connect_retries = 0\n",
        tables: &tables,
        moved: "u0@x.example d0\n",
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let login = |client: u8, user: &str, answer: &str| -> Result<()> {
        let mut raw = Raw::connect_from(place.address(client), node.at("imap", "implicit"))?;
        raw.tls(node.client())?;
        raw.play(
            node.client(),
            &format!("S: * OK …\nC: a LOGIN {user} pw\n{answer}"),
        )
    };
    for client in 100..105 {
        login(
            client,
            "u0@x.example",
            "S: a NO [AUTHENTICATIONFAILED] no\nS: * BYE…\nEND",
        )?;
    }
    assert!(!node.process.output().contains("marked down"));
    // One client is enough where no connection comes about at all.
    for _ in 0..3 {
        login(100, "nobody@x.example", IMAP_UNAVAILABLE)?;
    }
    let log = node.process.output();
    assert_eq!(log.matches("destination marked down").count(), 1, "{log}");
    assert_eq!(log.matches("legacy is marked down").count(), 1, "{log}");
    Ok(())
}

#[test]
fn a_client_that_hangs_up_while_its_backend_is_slow_frees_the_backend_at_once() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let greets_not = Scripted::start(&place, &issued, |_| "END".to_owned())?;
    let answers_not = Scripted::start(&place, &issued, |_| CAPABLE.to_owned() + &authenticate(1) + "END")?;
    let backends = [&greets_not, &answers_not];
    let mut tables = DEAD.to_owned();
    for (number, backend) in backends.iter().enumerate() {
        tables += &destination(number, backend, &issued, "imap", "plain", "");
    }
    let setup = Setup {
        server: "log_level = \"debug\"\nbackend_timeout = \"60s\"\n",
        tables: &tables,
        moved: "u0@x.example d0\nu1@x.example d1\n",
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    for (number, backend) in backends.iter().enumerate() {
        let raw = node.play(
            "imap",
            "implicit",
            &format!("S: * OK …\nC: a LOGIN {} pw", user(number)),
        )?;
        eventually("the backend is reached", SOON, || {
            (backend.accepted() == 1).then_some(())
        })?;
        drop(raw);
        eventually("the backend is free", SOON, || backend.played().pop())?;
    }
    Ok(())
}

#[test]
fn while_a_probe_is_out_everybody_else_is_rejected_at_once() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    // One failure, and then a probe that hangs.
    let backend = Scripted::start(&place, &issued, |number| {
        if number == 0 {
            "S: * BYE no\nEND".to_owned()
        } else {
            "END".to_owned()
        }
    })?;
    let tables = DEAD.to_owned() + &destination(0, &backend, &issued, "imap", "plain", "");
    let setup = Setup {
        server: "log_level = \"debug\"\nhost_down_threshold = 1\nhost_down_min_clients = 0\nhost_down_cooldown = \"1s\"\n\
                 backend_timeout = \"60s\"\n",
        tables: &tables,
        moved: "u0@x.example d0\n",
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let login = "S: * OK …\nC: a LOGIN u0@x.example pw\n";
    node.play("imap", "implicit", &format!("{login}{IMAP_UNAVAILABLE}"))?;
    // Rejected logins are answered; a probe is not, but reaches the backend.
    let probe_number = |accepted| {
        eventually("a probe", SOON, || {
            let mut raw = node.play("imap", "implicit", login).ok()?;
            raw.patience(Duration::from_millis(20)).ok()?;
            while backend.accepted() < accepted {
                if raw.line().is_ok() {
                    return None;
                }
            }
            Some(raw)
        })
    };
    let probe = probe_number(2)?;
    for _ in 0..5 {
        node.play("imap", "implicit", &format!("{login}{IMAP_UNAVAILABLE}"))?;
    }
    assert_eq!(backend.accepted(), 2, "nobody else was let through");
    // It says nothing about the destination when its client leaves: the next login is the probe.
    drop(probe);
    probe_number(3)?;
    Ok(())
}
