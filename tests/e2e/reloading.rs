//! SIGHUP to the real program: what follows, what waits for a restart and is named, and that a bad file disturbs nobody.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    dovecot::{Announce, Dovecot, Plaintext},
    lone::{Lone, Setup, destination},
    place::Place,
    when::{eventually, wait_until},
};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(20);
const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";

struct Scene {
    node: Lone,
    imaps: SocketAddr,
    legacy: Dovecot,
    new: Dovecot,
    ca: Ca,
    place: Place,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        let start = |name| {
            Dovecot::start(
                &place,
                &ca,
                name,
                Announce::None,
                Plaintext::Refused,
                &[ALICE, BOB],
            )
        };
        let (legacy, new) = (start("legacy")?, start("new")?);
        let tables: String = [&legacy, &new]
            .map(|dovecot| destination(dovecot, None, "implicit", "forwarding = \"none\"\n"))
            .concat();
        let setup = Setup {
            listeners: &[("imap", "implicit")],
            tables: &tables,
            ..Setup::default()
        };
        let node = Lone::start(&place, &ca, setup)?;
        Ok(Self {
            imaps: node.at("imap", "implicit")?,
            node,
            legacy,
            new,
            ca,
            place,
        })
    }

    fn login(&self, user: &str) -> Login {
        Login::imap(self.imaps, user).tls("implicit", self.ca.pem())
    }

    /// Changes the file and says so. What the log says since then, once it has one of these words.
    fn hangs_up(&self, changes: &[(&str, &str)], until: &str) -> Result<String> {
        let mut text = std::fs::read_to_string(&self.node.config)?;
        for (from, to) in changes {
            anyhow::ensure!(text.contains(from), "{from}: {text}");
            text = text.replace(from, to);
        }
        std::fs::write(&self.node.config, text)?;
        let before = self.node.log().len();
        self.node.process.signal(Signal::SIGHUP)?;
        eventually(until, SOON, || {
            let log = self.node.log();
            let since = log.get(before..)?;
            since.contains(until).then(|| since.to_owned())
        })
    }

    fn moved(&self, lines: &str) -> Result<()> {
        let path = self.node.config.with_file_name("moved.tsv");
        Ok(std::fs::write(path, lines)?)
    }
}

const RELOADED: &str = "the configuration was reloaded";
const REFUSED: &str = "the configuration was not reloaded";

/// `restart_required="a b"` of a log line.
fn waiting(log: &str) -> Vec<&str> {
    let words = log.split("restart_required=").nth(1).unwrap_or_default();
    match words.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default().split(' ').collect(),
        None => words.split_whitespace().take(1).collect(),
    }
}

#[test]
fn a_hangup_takes_what_can_follow_and_the_log_names_exactly_the_keys_that_wait_for_a_restart() -> Result<()> {
    let scene = Scene::new()?;
    let open = scene.login(ALICE).stay()?;
    let (more, page) = (
        scene.place.port(scene.place.address(2))?,
        scene.place.port(scene.place.address(2))?,
    );
    let bind = format!("bind = [\"{}\"", scene.imaps);
    let listened = format!("{bind}, \"{more}\"");
    let metrics = format!("[metrics]\nbind = \"{page}\"\n[destination.new]\n");
    let log = scene.hangs_up(
        &[
            (
                "default_destination = \"legacy\"",
                "default_destination = \"new\"",
            ),
            ("[server]\n", "[server]\nthreads = 2\nbackend_timeout = \"9s\"\n"),
            (&bind, &listened),
            (
                "normalize = \"lowercase\"",
                "normalize = \"lowercase\"\npositive_ttl = \"1s\"",
            ),
            ("[destination.new]\n", &metrics),
        ],
        RELOADED,
    )?;
    let mut keys = waiting(&log);
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "listener.imap-implicit.bind",
            "mapping.positive_ttl",
            "metrics",
            "server.threads"
        ],
        "{log}"
    );
    // The next login goes where the file says now; nobody listens where it says so since.
    scene.login(BOB).succeed()?;
    assert_eq!(
        (
            scene.legacy.sessions_of(BOB).len(),
            scene.new.sessions_of(BOB).len()
        ),
        (0, 1)
    );
    assert!(std::net::TcpStream::connect(more).is_err());
    assert!(open.leave()?.ok, "who was signed in stays");

    let log = scene.hangs_up(
        &[
            ("threads = 2\n", ""),
            (&listened, &bind),
            ("\npositive_ttl = \"1s\"", ""),
            (&metrics, "[destination.new]\n"),
        ],
        RELOADED,
    )?;
    assert!(!log.contains("restart_required"), "nothing waits any more: {log}");
    Ok(())
}

#[test]
fn a_bad_file_is_refused_with_everything_that_is_wrong_and_its_lines_and_sessions_and_logins_go_on()
-> Result<()> {
    let scene = Scene::new()?;
    let open = scene.login(ALICE).stay()?;
    let good = std::fs::read_to_string(&scene.node.config)?;
    let line = |text: &str, of: &str| {
        let number = text
            .lines()
            .position(|line| line.contains(of))
            .map(|line| line + 1);
        number
            .map(|number| format!("node.toml:{number}"))
            .context("a line")
    };
    let log = scene.hangs_up(
        &[
            (
                "default_destination = \"legacy\"",
                "default_destination = \"nowhere\"",
            ),
            ("shutdown_grace = \"2s\"", "shutdown_grace = \"2 weeks\""),
        ],
        REFUSED,
    )?;
    let bad = std::fs::read_to_string(&scene.node.config)?;
    for (of, key) in [
        ("default_destination", "routing.default_destination"),
        ("shutdown_grace", "server.shutdown_grace"),
    ] {
        let at = line(&bad, of)?;
        assert!(log.contains(&at) && log.contains(key), "{at} {key}: {log}");
    }
    scene.login(BOB).succeed()?;
    // Not TOML at all, and no file.
    std::fs::write(&scene.node.config, "[server\n")?;
    let log = scene.hangs_up(&[], REFUSED)?;
    assert!(log.contains("node.toml:1"), "{log}");
    std::fs::remove_file(&scene.node.config)?;
    let before = scene.node.log().matches(REFUSED).count();
    scene.node.process.signal(Signal::SIGHUP)?;
    wait_until("it is refused", SOON, || {
        scene.node.log().matches(REFUSED).count() > before
    })?;
    scene.login(BOB).succeed()?;
    assert_eq!(scene.legacy.sessions_of(BOB).len(), 2);
    assert!(open.leave()?.ok, "who was signed in stays");
    std::fs::write(&scene.node.config, good)?;
    scene.hangs_up(&[], RELOADED)?;
    Ok(())
}

#[test]
fn what_is_mapped_is_checked_with_the_file_and_a_mapping_that_leads_nowhere_refuses_it() -> Result<()> {
    let scene = Scene::new()?;
    scene.moved("# moved\nalice@example.org\tnew\n")?;
    scene.hangs_up(&[], RELOADED)?;
    scene.login(ALICE).succeed()?;
    // V17, V18: a destination that is not there, and one without the protocol that a listener serves.
    scene.moved("# moved\nalice@example.org\tnew\nbob@example.org\tgone\n")?;
    let log = scene.hangs_up(&[], REFUSED)?;
    assert!(log.contains("moved.tsv:3") && log.contains("gone"), "{log}");
    assert!(!log.contains(BOB), "no address: {log}");
    scene.moved("bob@example.org\tweb\n")?;
    let web = "[destination.web]\nhost = \"127.0.0.1\"\nallow_plaintext_auth = true\n\
               protocol.http = { port = 9, tls = \"plain\" }\n[destination.new]\n";
    let log = scene.hangs_up(&[("[destination.new]\n", web)], REFUSED)?;
    assert!(
        log.contains("moved.tsv:1") && log.contains("has no imap, which listener"),
        "{log}"
    );
    scene.login(ALICE).succeed()?;
    assert_eq!(scene.new.sessions_of(ALICE).len(), 2, "what was mapped goes on");
    Ok(())
}

#[test]
fn the_log_level_follows_and_warnings_of_the_file_are_logged() -> Result<()> {
    let scene = Scene::new()?;
    let debugged = |log: &str| log.contains("level=debug");
    scene.hangs_up(&[("log_level = \"debug\"", "log_level = \"info\"")], RELOADED)?;
    let before = scene.node.log().len();
    scene.login(ALICE).succeed()?;
    eventually("her session ended", SOON, || {
        scene.legacy.sessions_of(ALICE).pop()
    })?;
    assert!(
        !debugged(&scene.node.log()[before..]),
        "{}",
        &scene.node.log()[before..]
    );
    let log = scene.hangs_up(
        &[("log_level = \"info\"", "log_level = \"debug\"\nhostnam = \"x\"")],
        RELOADED,
    )?;
    assert!(
        log.contains("server.hostnam") && log.contains("hostname"),
        "{log}"
    );
    scene.login(ALICE).succeed()?;
    wait_until("it is logged in detail", SOON, || {
        scene.node.log().get(before..).is_some_and(debugged)
    })?;
    // Of a level that says nothing of what is done, what waits is still said.
    let log = scene.hangs_up(
        &[("log_level = \"debug\"", "log_level = \"warn\"\nthreads = 3")],
        "wait for a restart",
    )?;
    assert_eq!(waiting(&log), ["server.threads"], "{log}");
    Ok(())
}
