//! A backend that does not end a session when it is asked to (promise Q2): nothing is proven, so nothing moves, and the
//! operator hears which backend and which session it was.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    client::Login,
    fleet::{Fleet, Plan, at},
    when::eventually,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SOON: Duration = Duration::from_secs(20);

/// The processes of a server that serve its clients, found by their parent.
fn workers(parent: i32) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // pid (name) state ppid …
        let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')) else {
            continue;
        };
        let ppid = rest
            .split_whitespace()
            .nth(1)
            .and_then(|ppid| ppid.parse::<i32>().ok());
        if ppid == Some(parent) && name.starts_with("imap") {
            found.push(pid);
        }
    }
    Ok(found)
}

#[test]
fn a_backend_that_does_not_end_a_session_keeps_its_account_and_is_named() -> Result<()> {
    let fleet = Fleet::start(&Plan::default())?;
    let login = Login::imap(fleet.node(0).imaps, &at("alice")).tls("implicit", fleet.ca.pem());
    let _session = login.stay()?;
    let frozen = workers(fleet.legacy.process().pid())?;
    ensure!(!frozen.is_empty(), "no process of Dovecot's serves the session");
    for pid in &frozen {
        kill(Pid::from_raw(*pid), Signal::SIGSTOP)?;
    }
    let account = at("alice");
    let said = fleet.ctl(&[
        "cutover", &account, "--from", "legacy", "--to", "new", "--reason", "test",
    ])?;
    for pid in &frozen {
        kill(Pid::from_raw(*pid), Signal::SIGCONT)?;
    }
    let said = said.expect(4).context("released, and said so")?;
    let told = format!("{said:?}");
    assert!(told.contains("legacy") && told.contains("node-1"), "{told}");
    // She is where she was, and can be moved once the server answers again.
    login.succeed()?;
    eventually("her login is on legacy", SOON, || {
        (fleet.legacy.sessions_of(&account).len() >= 2).then_some(())
    })?;
    assert!(fleet.new.sessions_of(&account).is_empty());
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    login.succeed()?;
    assert_eq!(fleet.new.sessions_of(&account).len(), 1);
    Ok(())
}
