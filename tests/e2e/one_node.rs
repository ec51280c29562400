//! `mailswitchctl --node-api`: a node that runs alone, asked and told over its own management API, with real servers behind it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result};
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    dovecot::{Announce, Dovecot, Plaintext},
    fleet::program,
    lone::{Lone, Setup, destination},
    place::Place,
    when::{Moment, eventually},
};
use serde_json::Value;

const ALICE: &str = "alice@example.org";
const TOKEN: &str = "a-token-of-32-bytes-for-the-tests";
const SOON: Duration = Duration::from_secs(30);

/// Nobody who signs in over IMAP can be mapped there.
const POP3_ONLY: &str = "[destination.pop3-only]\nhost = \"127.0.0.1\"\nallow_plaintext_auth = true\n\
     protocol.pop3 = { port = 110, tls = \"plain\" }\n";

struct Scene {
    place: Place,
    ca: Ca,
    legacy: Dovecot,
    new: Dovecot,
    node: Lone,
    admin: SocketAddr,
    token: PathBuf,
}

impl Scene {
    fn new(moved: &str) -> Result<Self> {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        let start = |name| Dovecot::start(&place, &ca, name, Announce::None, Plaintext::Refused, &[ALICE]);
        let (legacy, new) = (start("legacy")?, start("new")?);
        let admin = place.port(place.address(2))?;
        let token = place.path().join("token");
        std::fs::write(&token, format!("{TOKEN}\n"))?;
        let tables = format!(
            "{}{}{POP3_ONLY}[admin]\nbind = \"{admin}\"\nbearer_token_file = \"{}\"\n",
            destination(&legacy, None, "implicit", "forwarding = \"none\"\n"),
            destination(&new, None, "implicit", "forwarding = \"none\"\n"),
            token.display()
        );
        let setup = Setup {
            listeners: &[("imap", "implicit")],
            tables: &tables,
            moved,
            ..Setup::default()
        };
        let node = Lone::start(&place, &ca, setup)?;
        Ok(Self {
            place,
            ca,
            legacy,
            new,
            node,
            admin,
            token,
        })
    }

    fn ctl(&self, arguments: &[&str]) -> Result<Output> {
        self.ctl_with(&["--node-ca", &self.ca.pem().display().to_string()], arguments)
    }

    fn ctl_with(&self, more: &[&str], arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(program("mailswitchctl")?)
            .args(["--node-api", &format!("https://{}", self.admin)])
            .args(["--token-file", &self.token.display().to_string()])
            .args(more)
            .args(arguments)
            .env("HOME", self.place.path())
            .output()?)
    }

    fn sign_in(&self, login: &str) -> Result<Login> {
        Ok(Login::imap(self.node.at("imap", "implicit")?, login).tls("implicit", self.ca.pem()))
    }
}

#[track_caller]
fn says(output: &Output, code: i32, word: &str) {
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(word), "{word}: {said}");
}

#[test]
fn a_node_alone_is_looked_at_and_its_sessions_are_kicked_and_its_logins_delayed() -> Result<()> {
    let scene = Scene::new("")?;
    let open = scene.sign_in(ALICE)?.stay()?;

    let status = scene.ctl(&["status", "--output", "json"])?;
    says(&status, 0, "\"health\": \"ok\"");
    let status: Value = serde_json::from_slice(&status.stdout)?;
    assert_eq!(status["active_connections"], 1);
    assert_eq!(status["destinations"][0]["destination"], "legacy");
    says(&scene.ctl(&["check"])?, 0, "as it should be");

    // Only looked at, it stays.
    says(
        &scene.ctl(&["session", "kick", ALICE, "--dry-run"])?,
        0,
        "nothing was done",
    );
    says(&scene.ctl(&["session", "kick", ALICE])?, 0, "kicked 1");
    eventually("her session ended", SOON, || {
        scene
            .legacy
            .sessions_of(ALICE)
            .pop()
            .filter(|session| session.ended.is_some())
    })?;
    drop(open);
    says(
        &scene.ctl(&["session", "kick", "nobody@example.org"])?,
        0,
        "kicked 0",
    );

    // A login that is delayed waits until it is let go.
    says(&scene.ctl(&["session", "delay", ALICE, "60"])?, 0, "ok");
    let mut waiting = scene.sign_in(ALICE)?.start()?;
    eventually("it is connected", SOON, || {
        let status = scene.ctl(&["status", "--output", "json"]).ok()?;
        let status: Value = serde_json::from_slice(&status.stdout).ok()?;
        (status["active_connections"] == 1).then_some(())
    })?;
    let let_go = Moment::now();
    says(&scene.ctl(&["session", "delay", ALICE, "0"])?, 0, "ok");
    waiting.wait_in()?;
    let session = eventually("it is in", SOON, || {
        scene.legacy.sessions_of(ALICE).into_iter().nth(1)
    })?;
    assert!(session.began > let_go, "{session:?}");
    assert!(waiting.leave()?.ok);

    says(&scene.ctl(&["destination", "reset", "legacy"])?, 0, "ok");
    says(&scene.ctl(&["destination", "reset", "nowhere"])?, 3, "nowhere");
    Ok(())
}

#[test]
fn who_answers_and_who_asks_are_checked() -> Result<()> {
    let scene = Scene::new("")?;
    // Nobody vouches for its certificate.
    says(
        &scene.ctl_with(&[], &["status"])?,
        3,
        "--node-ca names who vouches",
    );
    let wrong = "ab".repeat(32);
    let refused = scene.ctl_with(&["--node-pin", &wrong], &["status"])?;
    says(&refused, 3, "its certificate is another one: sha256 ");
    // What it shows can be pinned.
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let shown = said.split("sha256 ").nth(1).context("the pin")?;
    let shown: String = shown.chars().take_while(char::is_ascii_hexdigit).collect();
    says(
        &scene.ctl_with(&["--node-pin", &shown], &["status"])?,
        0,
        "legacy",
    );
    says(
        &scene.ctl_with(&["--accept-any-certificate"], &["status"])?,
        0,
        "legacy",
    );

    std::fs::write(&scene.token, "another-token-of-at-least-32-bytes")?;
    let refused = scene.ctl(&["status"])?;
    says(&refused, 8, "the token is another one");
    assert!(!String::from_utf8_lossy(&refused.stderr).contains("another-token"));
    assert!(!scene.node.log().contains("another-token"));
    Ok(())
}

#[test]
fn a_mapping_is_set_and_an_account_is_cut_over_and_back_on_one_node() -> Result<()> {
    let scene = Scene::new("")?;
    says(&scene.ctl(&["mapping", "get", ALICE])?, 0, "legacy");
    // As in a fleet: the command makes sense, and there is no such destination. An identifier that cannot be one makes none.
    for more in [&["--dry-run"][..], &[]] {
        let set = [&["mapping", "set", ALICE, "nowhere"], more].concat();
        says(&scene.ctl(&set)?, 3, "take one of: legacy, new");
    }
    says(&scene.ctl(&["mapping", "set", "a b", "new"])?, 1, "identifier: ");
    says(&scene.ctl(&["mapping", "set", ALICE, "new"])?, 0, "ok");
    says(&scene.ctl(&["resolve", ALICE])?, 0, "new");
    scene.sign_in(ALICE)?.succeed()?;
    assert_eq!(
        (
            scene.legacy.sessions_of(ALICE).len(),
            scene.new.sessions_of(ALICE).len()
        ),
        (0, 1)
    );
    says(&scene.ctl(&["mapping", "unset", ALICE])?, 0, "");

    let open = scene.sign_in(ALICE)?.stay()?;
    let cutover = |from, to| scene.ctl(&["cutover", ALICE, "--from", from, "--to", to, "--single"]);
    says(&cutover("new", "legacy")?, 3, "");
    for (from, to) in [("legacy", "nowhere"), ("nowhere", "new")] {
        says(
            &cutover(from, to)?,
            3,
            "\"nowhere\" is no destination of https://",
        );
    }
    let disturbed = scene.legacy.sessions_of(ALICE);
    assert!(
        disturbed.iter().all(|session| session.ended.is_none()),
        "{disturbed:?}"
    );
    says(&cutover("legacy", "new")?, 0, "");
    let sessions = scene.legacy.sessions_of(ALICE);
    assert!(
        sessions.iter().all(|session| session.ended.is_some()),
        "{sessions:?}"
    );
    assert!(!open.leave()?.ok, "its session has ended");
    scene.sign_in(ALICE)?.succeed()?;
    assert_eq!(
        (
            scene.legacy.sessions_of(ALICE).len(),
            scene.new.sessions_of(ALICE).len()
        ),
        (1, 2)
    );
    says(&cutover("new", "legacy")?, 0, "");
    scene.sign_in(ALICE)?.succeed()?;
    assert_eq!(scene.legacy.sessions_of(ALICE).len(), 2);
    // Whatever changed something is one line of the log, without her address.
    says(&scene.ctl(&["destination", "reset", "new"])?, 0, "ok");
    let log = scene.node.log();
    for change in [
        "a mapping is written",
        "a mapping is removed",
        "sessions are kicked",
        "logins are delayed",
        "the breakers of a destination are reset",
    ] {
        let line = log
            .lines()
            .find(|line| line.contains(&format!("management API: {change}")));
        let line = line.with_context(|| format!("{change}: {log}"))?;
        assert!(line.contains("level=info") && !line.contains(ALICE), "{line}");
    }
    Ok(())
}

#[test]
fn a_cutover_of_one_node_that_is_refused_leaves_every_mapping_as_it_was() -> Result<()> {
    let scene = Scene::new("@example.org new\n")?;
    let cutover = |who, to, more: &[&str]| {
        let words = ["cutover", who, "--from", "new", "--to", to, "--single"];
        scene.ctl(&[&words[..], more].concat())
    };
    says(&cutover("@example.org", "legacy", &[])?, 3, "is a whole domain");
    // Refused by the node, behind the hold: there is nothing to put back, and no entry of her own comes of it.
    says(&cutover(ALICE, "pop3-only", &[])?, 4, "");
    let written = std::fs::read_to_string(scene.node.config.with_file_name("moved.tsv"))?;
    assert!(!written.contains(ALICE), "{written}");
    // Somebody else moves her while the copy runs.
    let copy = format!(
        "{} --node-api https://{} --token-file {} --node-ca {} mapping set {ALICE} legacy",
        program("mailswitchctl")?.display(),
        scene.admin,
        scene.token.display(),
        scene.ca.pem().display()
    );
    says(
        &cutover(ALICE, "legacy", &["--copy", &copy])?,
        4,
        "was moved to legacy meanwhile",
    );
    says(&scene.ctl(&["mapping", "get", ALICE])?, 0, "legacy");
    Ok(())
}
