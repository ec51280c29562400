//! A node that is cut off stops by itself what the fleet may have to move without it, and nothing else: when its control plane is dead, and
//! when it hangs itself (promise L1, N5). What the fleet does meanwhile is in `armed`.

use std::time::Duration;

use anyhow::{Result, ensure};
use mailswitch_tests::{
    client::Login,
    fleet::{Fleet, Plan, at},
    when::wait_until,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SOON: Duration = Duration::from_secs(30);

fn fleet() -> Result<Fleet> {
    Fleet::start(&Plan {
        cutover: "lease = \"2s\"\nhold_login_timeout = \"3s\"\n",
        ..Plan::default()
    })
}

fn login(fleet: &Fleet, user: &str) -> Login {
    Login::imap(fleet.node(1).imaps, &at(user))
        .tls("implicit", fleet.ca.pem())
        .with("timeout", 60)
}

/// It waited, and heard the temporary failure: nothing reached the backend.
fn waits_in_vain(fleet: &Fleet, user: &str) -> Result<()> {
    let before = fleet.legacy.sessions_of(&at(user)).len();
    let refused = login(fleet, user).run()?;
    ensure!(
        !refused.ok && !refused.error.contains("AUTHENTICATIONFAILED"),
        "{refused:?}"
    );
    ensure!(
        fleet.legacy.sessions_of(&at(user)).len() == before,
        "it got through"
    );
    Ok(())
}

/// By the backend's own log.
fn has_open(fleet: &Fleet, user: &str) -> bool {
    let sessions = fleet.legacy.sessions_of(&at(user));
    sessions.iter().any(|session| session.ended.is_none())
}

#[test]
fn a_node_that_is_cut_off_ends_the_sessions_of_armed_accounts_and_serves_everybody_else() -> Result<()> {
    let mut fleet = fleet()?;
    let _alice = login(&fleet, "alice").stay()?;
    let _bob = login(&fleet, "bob").stay()?;
    let alice = at("alice");
    arm_alice(&fleet)?;
    // Longer than a lease: it is renewed, and arming ended nothing.
    std::thread::sleep(Duration::from_secs(3));
    ensure!(has_open(&fleet, "alice"), "arming ended a session");
    login(&fleet, "alice").succeed()?;

    fleet.control_plane.kill()?;
    wait_until("her session has ended on the backend", SOON, || {
        !has_open(&fleet, "alice")
    })?;
    ensure!(has_open(&fleet, "bob"), "a session of another account ended");
    waits_in_vain(&fleet, "alice")?;
    login(&fleet, "bob").succeed()?;
    // A restart without a control plane serves the same.
    fleet.nodes[1].process.kill_dash_nine()?;
    fleet.nodes[1].restart(&fleet.ca)?;
    waits_in_vain(&fleet, "alice")?;
    login(&fleet, "bob").succeed()?;
    // With one it has a lease again.
    fleet.control_plane.run()?;
    fleet.wait_in_sync()?;
    login(&fleet, "alice").succeed()?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    login(&fleet, "alice").succeed()?;
    wait_until("she is on the new server", SOON, || {
        !fleet.new.sessions_of(&alice).is_empty()
    })
}

/// Armed, and the node has a lease for it: seen on the session that is open there.
fn arm_alice(fleet: &Fleet) -> Result<()> {
    let alice = at("alice");
    fleet
        .ctl(&["account", "arm", &alice, "--reason", "batch 7"])?
        .expect(0)?;
    wait_until("the node has a lease for her", SOON, || {
        let listed = fleet.ctl(&["session", "list", "--identifier", &alice]);
        listed.is_ok_and(|listed| listed.stdout.contains("bridged, lease live"))
    })
}

/// Nothing of the process runs: no timer rings, and what clients say waits in its sockets.
fn stop_the_node(fleet: &Fleet, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(fleet.node(1).process.pid()), signal)?;
    Ok(())
}

#[test]
fn an_armed_account_moves_past_a_node_that_hangs_which_then_moves_no_byte_more() -> Result<()> {
    let fleet = fleet()?;
    let mut alice = login(&fleet, "alice").stay()?;
    arm_alice(&fleet)?;
    stop_the_node(&fleet, Signal::SIGSTOP)?;
    // Proven by a lease that is over, not by the node.
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    // Nobody has armed him there: what the node may still do is not known, and so nothing moves.
    let bob = fleet.cutover("bob", "legacy", "new")?;
    ensure!(bob.code != 0, "{bob:?}");
    stop_the_node(&fleet, Signal::SIGCONT)?;
    wait_until("her session has ended on the old server", SOON, || {
        !has_open(&fleet, "alice")
    })?;
    let end = alice.end();
    ensure!(
        end.as_ref().map_or(true, |outcome| !outcome.ok),
        "it went on: {end:?}"
    );
    login(&fleet, "alice").succeed()?;
    wait_until("she is on the new server", SOON, || {
        !fleet.new.sessions_of(&at("alice")).is_empty()
    })?;
    ensure!(fleet.legacy.sessions_of(&at("alice")).len() == 1);
    fleet.cutover("bob", "legacy", "new")?.expect(0).map(drop)
}
