//! Either process dies or falls silent while two of one node run (decision 0027): cutovers go on after a moment at most, and
//! none is done that was not proven.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mailswitch_tests::{
    client::Login,
    fleet::{Fleet, Plan, at},
    when::wait_until,
};
use nix::sys::signal::Signal;

use super::under_load::{moves, processes, stay};

const SOON: Duration = Duration::from_secs(60);

const PLAN: Plan<'static> = Plan {
    users: &["alice", "bob"],
    nodes: 2,
    otlp: None,
    database: None,
    cutover: "hold_login_timeout = \"30s\"\nmax_hold = \"6s\"\ndrain_timeout = \"3s\"\n",
};

fn signal_control_plane(fleet: &Fleet, signal: Signal) -> Result<()> {
    let process = fleet.control_plane.process.as_ref();
    process.context("it runs")?.signal(signal)
}

fn one_process_counts(fleet: &Fleet) -> Result<()> {
    wait_until("one process of the node counts", SOON, || {
        processes(fleet).len() == 1
    })
}

#[test]
fn an_old_process_that_is_silent_is_waited_for_and_one_that_is_dead_is_not() -> Result<()> {
    let mut fleet = Fleet::start(&PLAN)?;
    let _alice = stay(&fleet, "alice")?;
    let mut old = fleet.nodes[0].upgrade(&fleet.ca, 2)?;
    wait_until("both processes count", SOON, || processes(&fleet).len() == 2)?;
    // It lives, has a session of hers, and says nothing: nobody speaks for it.
    old.signal(Signal::SIGSTOP)?;
    let account = at("alice");
    let said = fleet.ctl(&[
        "cutover", &account, "--from", "legacy", "--to", "new", "--reason", "test",
    ])?;
    ensure!([4, 7].contains(&said.code), "nothing was proven: {said:?}");
    ensure!(fleet.new.sessions_of(&account).is_empty());
    ensure!(processes(&fleet).len() == 2, "it counts");
    old.kill_dash_nine()?;
    one_process_counts(&fleet)?;
    moves(&fleet, "alice", "legacy", "new")?;
    Login::imap(fleet.node(0).imaps, &account)
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    ensure!(fleet.new.sessions_of(&account).len() == 1);
    Ok(())
}

#[test]
fn a_new_process_that_dies_is_started_again_and_the_old_one_answers_for_its_sessions_meanwhile() -> Result<()>
{
    let mut fleet = Fleet::start(&PLAN)?;
    let bob = stay(&fleet, "bob")?;
    let _alice = stay(&fleet, "alice")?;
    let mut old = fleet.nodes[0].upgrade(&fleet.ca, 2)?;
    fleet.nodes[0].process.kill_dash_nine()?;
    // As its supervisor does.
    fleet.nodes[0].restart(&fleet.ca)?;
    wait_until("both processes are in step", SOON, || {
        let all = processes(&fleet);
        all.len() == 2 && all.iter().all(|node| node["in_sync"] == true)
    })?;
    old.still_runs()?;
    moves(&fleet, "alice", "legacy", "new")?;
    ensure!(bob.leave()?.ok, "his session is where it was");
    assert_eq!(old.wait_end(SOON)?.code(), Some(0), "{}", old.output());
    one_process_counts(&fleet)?;
    moves(&fleet, "alice", "new", "legacy")
}

#[test]
fn a_new_process_that_dies_before_it_serves_leaves_everything_as_it_was() -> Result<()> {
    let mut fleet = Fleet::start(&PLAN)?;
    let bob = stay(&fleet, "bob")?;
    // It cannot sync, so it does not take the sockets.
    signal_control_plane(&fleet, Signal::SIGSTOP)?;
    let mut next = fleet.node(0).succeed(&fleet.ca, 2)?;
    wait_until("it has the state directory", SOON, || {
        fleet.node(0).log().contains("has the state directory")
    })?;
    Login::imap(fleet.node(0).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    next.kill_dash_nine()?;
    wait_until("the old process has it again", SOON, || {
        fleet.node(0).log().contains("the state directory is ours again")
    })?;
    signal_control_plane(&fleet, Signal::SIGCONT)?;
    fleet.wait_in_sync()?;
    one_process_counts(&fleet)?;
    moves(&fleet, "alice", "legacy", "new")?;
    ensure!(bob.leave()?.ok);
    // What it knows is on its disk: it starts without anybody.
    signal_control_plane(&fleet, Signal::SIGSTOP)?;
    fleet.nodes[0].process.kill_dash_nine()?;
    let restarted = fleet.nodes[0].restart(&fleet.ca);
    let served = restarted.and_then(|()| {
        Login::imap(fleet.node(0).imaps, &at("bob"))
            .tls("implicit", fleet.ca.pem())
            .succeed()
    });
    signal_control_plane(&fleet, Signal::SIGCONT)?;
    served.map(|_| ())
}
