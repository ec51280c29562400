//! One cell: an account whose clients are at work is cut over, the fault comes at the step, goes again, and everything must
//! have come to a good end.

use std::{net::IpAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use mailswitch_tests::{
    process::Process,
    when::{Moment, wait_until},
};
use nix::sys::signal::Signal;

use crate::{
    cell::{At, Cell, Chance, Fault, Victim, Way},
    moment::Moment as Coming,
    verdict,
    visits::Clients,
    world::World,
};

/// Longer than a lease and its margin.
const FAULT: Duration = Duration::from_millis(2_500);
/// How often a cell is tried whose cutover does not come to the step: when both nodes are quiet at once, nothing drains.
pub(crate) const TRIES: usize = 3;

/// How a cell ended without anything broken.
pub(crate) enum Trial {
    /// The promise was kept; what happened, in a line.
    Kept(String),
    /// No cutover came to the step.
    NeverThere,
}

pub(crate) fn run(world: &mut World, cell: Cell, seed: u64) -> Result<Trial> {
    let mut chance = Chance(seed);
    for _ in 0..TRIES {
        if let Some(said) = attempt(world, cell, &mut chance)? {
            return Ok(Trial::Kept(said));
        }
    }
    Ok(Trial::NeverThere)
}

/// What the trial has to judge.
pub(crate) struct Happened {
    pub(crate) account: String,
    /// The exit code; none: it was killed.
    pub(crate) code: Option<i32>,
    /// What `mailswitchctl` said.
    pub(crate) said: String,
    /// When `mailswitchctl` ended.
    pub(crate) returned: Moment,
}

fn attempt(world: &mut World, cell: Cell, chance: &mut Chance) -> Result<Option<String>> {
    let account = world.next_account();
    let clients = Clients::start(world, &account, cell.protocol)?;
    let nodes: Vec<IpAddr> = world.nodes.iter().map(|node| node.imap.ip()).collect();
    wait_until("the clients are at work", Duration::from_secs(30), || {
        clients.were_let_in(&nodes, Moment(0))
    })?;

    // Inside the transaction that records the step, or when it has just been committed.
    let wait = Duration::from_millis([0, 0, 150, 400][chance.below(4)]);
    let coming = world
        .moments
        .expect(&world.postgres, &account, cell.at.name(), wait)?;
    let log = world.place.path().join(format!("cutover-{account}.log"));
    let mut ctl = start_cutover(world, cell, &account, &log)?;
    if !comes(&coming, &mut ctl) {
        world.wait_ended(&account)?;
        return Ok(None);
    }
    let troubled = Moment::now();
    begin(world, cell.fault, &mut ctl)?;
    std::thread::sleep(FAULT);
    end(world, cell.fault, &ctl).context("after the fault")?;
    let healed = Moment::now();

    let status = match cell.fault {
        Fault::Kill(Victim::Ctl) => None,
        _ => ctl.wait_end(Duration::from_secs(60))?.code(),
    };
    let happened = Happened {
        account: account.clone(),
        code: status,
        said: std::fs::read_to_string(&log)?,
        returned: Moment::now(),
    };
    let operation = world.wait_ended(&account)?;
    world.wait_in_sync()?;
    wait_until(
        "its clients are let in again at each node",
        Duration::from_secs(40),
        || clients.were_let_in(&nodes, healed),
    )
    .with_context(|| format!("{:?}", clients.events().iter().rev().take(4).collect::<Vec<_>>()))?;
    let seen = clients.stop()?;
    verdict::judge(world, cell, &happened, operation.as_ref(), &seen)
        .with_context(|| format!("{account}, trouble at {troubled:?}, {}", happened.said.trim()))
        .map(Some)
}

/// `mailswitchctl cutover`, by the operator, with a copy and a verify command.
fn start_cutover(world: &World, cell: Cell, account: &str, log: &Path) -> Result<Process> {
    let (from, to) = (&world.legacy, &world.new);
    let copy = format!(
        "{}; {}",
        from.postfix.settle_command(),
        from.dovecot.copy_command(account, &to.dovecot)
    );
    let verify = if cell.at == At::Releasing { "false" } else { "true" };
    let command = world.control_plane.ctl_command(&[
        "cutover", account, "--from", "legacy", "--to", "new", "--copy", &copy, "--verify", verify,
        "--reason", "test",
    ]);
    world
        .net
        .on("operator", || Process::start("mailswitchctl", command, log))
}

/// Whether the cutover comes to the step before it ends.
fn comes(coming: &Coming, ctl: &mut Process) -> bool {
    let mut ended = false;
    let _ = wait_until("the step", Duration::from_secs(30), || {
        ended = ctl.still_runs().is_err();
        coming.has_come() || ended
    });
    coming.has_come() && !ended
}

fn begin(world: &mut World, fault: Fault, ctl: &mut Process) -> Result<()> {
    match fault {
        Fault::Kill(Victim::Node) => world.nodes[0].process.kill_dash_nine(),
        Fault::Kill(Victim::ControlPlane) => world.control_plane.kill(),
        Fault::Kill(Victim::Postgres) => world.postgres.kill(),
        Fault::Kill(Victim::Ctl) => ctl.kill_dash_nine(),
        Fault::Stop(victim) => signal(world, victim, ctl, Signal::SIGSTOP),
        Fault::Link(way, trouble) => {
            let (a, b) = hosts(way);
            world.net.trouble(a, b, trouble)
        }
    }
}

fn end(world: &mut World, fault: Fault, ctl: &Process) -> Result<()> {
    match fault {
        Fault::Kill(Victim::Node) => world.restart_node(),
        Fault::Kill(Victim::ControlPlane) => world.restart_control_plane(),
        Fault::Kill(Victim::Postgres) => world.restart_postgres(),
        Fault::Kill(Victim::Ctl) => Ok(()),
        Fault::Stop(victim) => signal(world, victim, ctl, Signal::SIGCONT),
        Fault::Link(..) => world.net.heal(),
    }
}

fn signal(world: &mut World, victim: Victim, ctl: &Process, signal: Signal) -> Result<()> {
    match victim {
        Victim::Node => world.nodes[0].process.signal(signal),
        Victim::ControlPlane => {
            let process = world.control_plane.process.as_ref().context("it runs")?;
            process.signal(signal)
        }
        Victim::Postgres => world.postgres.signal(signal),
        Victim::Ctl => ctl.signal_all(signal),
    }
}

/// The first node's link, where a node is meant: the other one is whole.
const fn hosts(way: Way) -> (&'static str, &'static str) {
    match way {
        Way::NodeAndControlPlane => ("node-1", "control"),
        Way::ControlPlaneAndPostgres => ("control", "postgres"),
        Way::CtlAndControlPlane => ("operator", "control"),
        Way::NodeAndSource => ("node-1", "source"),
        Way::NodeAndTarget => ("node-1", "target"),
    }
}

/// So that a cut in words names nothing that is not there.
#[test]
fn every_way_leads_between_two_hosts() {
    for way in [
        Way::NodeAndControlPlane,
        Way::ControlPlaneAndPostgres,
        Way::CtlAndControlPlane,
        Way::NodeAndSource,
        Way::NodeAndTarget,
    ] {
        let (a, b) = hosts(way);
        assert!(crate::world::HOSTS.contains(&a) && crate::world::HOSTS.contains(&b));
    }
}
