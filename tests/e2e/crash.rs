//! `kill -9` of each program at each step of a cutover: it ends as done or released, says which, and never lies;
//! everyone else goes on reading and sending.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    client::Login,
    fleet::{Fleet, Plan, at},
    load::Load,
    when::{eventually, wait_until},
};
use nix::sys::signal::{Signal, kill};

const SOON: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Node,
    ControlPlane,
    Postgres,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// A node is frozen, so that its answer is outstanding.
    Draining,
    Copying,
    Verifying,
    /// So many milliseconds after the command was started.
    After(u64),
}

#[test]
fn a_node_that_is_killed_at_any_step_ends_the_cutover_one_way_or_the_other() -> Result<()> {
    at_every_step(Victim::Node)
}

#[test]
fn a_control_plane_that_is_killed_at_any_step_ends_the_cutover_one_way_or_the_other() -> Result<()> {
    at_every_step(Victim::ControlPlane)
}

#[test]
fn a_postgresql_that_is_killed_at_any_step_ends_the_cutover_one_way_or_the_other() -> Result<()> {
    at_every_step(Victim::Postgres)
}

fn at_every_step(victim: Victim) -> Result<()> {
    let mut fleet = Fleet::start(&Plan {
        users: &["alice", "bob"],
        cutover: "hold_login_timeout = \"30s\"\nmax_hold = \"8s\"\ndrain_timeout = \"4s\"\n",
        ..Plan::default()
    })?;
    let moments = [
        When::Draining,
        When::Copying,
        When::Verifying,
        When::After(15),
        When::After(40),
        When::After(80),
        When::After(150),
    ];
    // Bob is not concerned, and works through the node that nobody kills.
    let node = fleet.node(0);
    let load = Load::start(
        &fleet.place,
        &fleet.ca,
        &[&at("bob")],
        &[(node.imaps, "implicit")],
        &[(node.submission, "starttls")],
    )?;
    for (number, when) in moments.into_iter().enumerate() {
        let result = one_crash(&mut fleet, victim, when, number);
        result.with_context(|| format!("{victim:?} killed {when:?}; {}", fleet.node(0).log()))?;
    }
    let seen = load.stop()?;
    ensure!(seen.failures.is_empty(), "bob was refused: {:?}", seen.failures);
    ensure!(seen.logins > 20, "bob did not work: {seen:?}");
    Ok(())
}

fn one_crash(fleet: &mut Fleet, victim: Victim, when: When, number: usize) -> Result<()> {
    let home = home_of_alice(fleet)?;
    let recorded = fleet.ended_operations()?.len();
    let away = if home == "legacy" { "new" } else { "legacy" };
    let began = fleet.place.path().join(format!("hook-began-{number}"));
    let hook = format!("touch {}; sleep 1", began.display());
    let account = at("alice");
    let mut arguments = vec![
        "cutover", &account, "--from", &home, "--to", away, "--reason", "test",
    ];
    match when {
        When::Copying => arguments.extend(["--copy", &hook]),
        When::Verifying => arguments.extend(["--verify", &hook]),
        When::Draining | When::After(_) => {}
    }
    if when == When::Draining {
        fleet.node(1).process.signal(Signal::SIGSTOP)?;
    }
    let command = fleet
        .ctl_command(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    wait_for_step(fleet, when, &began)?;
    strike(fleet, victim)?;
    if when == When::Draining && victim != Victim::Node {
        fleet.node(1).process.signal(Signal::SIGCONT)?;
    }
    let output = command.wait_with_output()?;
    let code = output.status.code().unwrap_or(-1);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );

    fleet.wait_in_sync()?;
    fleet.wait_no_operation(SOON)?;
    let now = home_of_alice(fleet)?;
    // What the command said is what is so.
    match code {
        0 => ensure!(now == away, "said done, and is still on {now}: {said}"),
        3 | 4 | 7 => ensure!(now == home, "said released, and is on {now}: {said}"),
        5 | 6 => {}
        _ => anyhow::bail!("exit {code}: {said}"),
    }
    println!("{victim:?} killed {when:?}: exit {code}, alice went from {home} to {now}");
    // So is what is recorded, also when the command could not know.
    if fleet.ended_operations()?.len() > recorded {
        let outcome = fleet.outcome("alice")?;
        let expected = if outcome == "done" { away } else { home.as_str() };
        ensure!(now == expected, "recorded as {outcome}, and is on {now}");
    } else {
        ensure!(now == home, "nothing is recorded, and it is on {now}");
    }
    // And it can sign in there, at every node.
    for node in &fleet.nodes {
        Login::imap(node.imaps, &account)
            .tls("implicit", fleet.ca.pem())
            .succeed()
            .with_context(|| said.clone())?;
        wait_until("the login is where the account is", SOON, || {
            fleet
                .dovecot(&now)
                .sessions_of(&account)
                .last()
                .is_some_and(|last| last.lip == node.address())
        })?;
    }
    Ok(())
}

fn wait_for_step(fleet: &Fleet, when: When, began: &Path) -> Result<()> {
    match when {
        When::After(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
        When::Copying | When::Verifying => wait_until("the hook runs", SOON, || began.exists())?,
        When::Draining => wait_until("the account is held", SOON, || {
            let status = fleet.status().unwrap_or_default();
            let operations = mailswitch_tests::fleet::rows(&status, "operations");
            operations.iter().any(|operation| !operation["held_at"].is_null())
        })?,
    }
    Ok(())
}

fn strike(fleet: &mut Fleet, victim: Victim) -> Result<()> {
    match victim {
        Victim::Node => {
            fleet.nodes[1].process.kill_dash_nine()?;
            fleet.nodes[1].restart(&fleet.ca)?;
        }
        Victim::ControlPlane => {
            fleet.control_plane.kill()?;
            fleet.control_plane.run()?;
        }
        Victim::Postgres => kill(fleet.control_plane.postgres()?, Signal::SIGKILL)?,
    }
    Ok(())
}

/// Where the control plane and every node say that alice is; they must agree.
fn home_of_alice(fleet: &Fleet) -> Result<String> {
    eventually("all agree where alice is", SOON, || {
        let resolved = fleet
            .ctl(&["resolve", "alice", "--all-nodes", "--output", "json"])
            .ok()?;
        let text = resolved.json().ok()?.to_string();
        let (legacy, new) = (text.contains("\"legacy\""), text.contains("\"new\""));
        match (legacy, new) {
            (true, false) => Some("legacy".to_owned()),
            (false, true) => Some("new".to_owned()),
            _ => None,
        }
    })
}
