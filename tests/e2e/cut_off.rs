//! Without a control plane: a node serves from what is on its disk (promise N5, N6).

use std::time::Duration;

use anyhow::Result;
use mailswitch_tests::{
    client::Login,
    fleet::{Fleet, Plan, at},
    when::wait_until,
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_node_started_without_a_control_plane_serves_from_its_disk() -> Result<()> {
    let mut fleet = Fleet::start(&Plan::default())?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    let postgres = fleet.control_plane.postgres()?;
    fleet.control_plane.kill()?;
    nix::sys::signal::kill(postgres, nix::sys::signal::Signal::SIGKILL)?;
    fleet.nodes[1].process.kill_dash_nine()?;
    fleet.nodes[1].restart(&fleet.ca)?;
    for node in &fleet.nodes {
        for (user, home) in [("alice", "new"), ("bob", "legacy")] {
            let before = fleet.dovecot(home).sessions_of(&at(user)).len();
            Login::imap(node.imaps, &at(user))
                .tls("implicit", fleet.ca.pem())
                .succeed()?;
            wait_until("the login is in the log", SOON, || {
                fleet.dovecot(home).sessions_of(&at(user)).len() == before + 1
            })?;
        }
    }
    // What is lost is found again.
    fleet.control_plane.run()?;
    fleet.wait_in_sync()?;
    fleet.cutover("alice", "new", "legacy")?.expect(0)?;
    Ok(())
}

#[test]
fn a_node_without_a_state_file_serves_nobody_until_it_has_synced() -> Result<()> {
    let mut fleet = Fleet::start(&Plan::default())?;
    let login = Login::imap(fleet.node(1).imaps, &at("alice")).tls("implicit", fleet.ca.pem());
    login.succeed()?;
    fleet.control_plane.kill()?;
    fleet.nodes[1].process.kill_dash_nine()?;
    std::fs::remove_dir_all(fleet.nodes[1].directory.join("state"))?;
    fleet.nodes[1].restart(&fleet.ca)?;
    let refused = login.clone().with("timeout", 60).run()?;
    assert!(
        !refused.ok && !refused.error.contains("AUTHENTICATIONFAILED"),
        "{refused:?}"
    );
    assert_eq!(fleet.legacy.sessions_of(&at("alice")).len(), 1);
    fleet.control_plane.run()?;
    fleet.wait_in_sync()?;
    login.succeed()?;
    Ok(())
}

#[test]
fn a_node_with_a_spoilt_state_file_serves_nobody_and_keeps_the_file() -> Result<()> {
    let mut fleet = Fleet::start(&Plan::default())?;
    let state = fleet.node(1).directory.join("state");
    fleet.control_plane.kill()?;
    fleet.nodes[1].process.kill_dash_nine()?;
    let biggest = std::fs::read_dir(&state)?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .max_by_key(|entry| entry.metadata().map_or(0, |metadata| metadata.len()));
    let biggest = biggest.expect("a state file").path();
    let mut bytes = std::fs::read(&biggest)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&biggest, &bytes)?;
    let before = std::fs::read_dir(&state)?.count();
    fleet.nodes[1].restart(&fleet.ca)?;
    let login = Login::imap(fleet.node(1).imaps, &at("alice")).tls("implicit", fleet.ca.pem());
    let refused = login.run()?;
    assert!(!refused.ok, "{refused:?}");
    // The spoilt file was set aside, not overwritten.
    let kept = std::fs::read_dir(&state)?
        .flatten()
        .any(|entry| std::fs::read(entry.path()).is_ok_and(|now| now == bytes));
    assert!(
        kept,
        "{before} files before, now {:?}",
        std::fs::read_dir(&state)?.collect::<Vec<_>>()
    );
    fleet.control_plane.run()?;
    fleet.wait_in_sync()?;
    login.succeed()?;
    Ok(())
}
