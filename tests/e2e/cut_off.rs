//! Without a control plane: a node serves from what is on its disk (promise N5, N6).

use std::{collections::HashMap, net::SocketAddr, process::Command, time::Duration};

use anyhow::Result;
use mailswitch_tests::{
    client::Login,
    fleet::{Fleet, Plan, at, program},
    load::Load,
    when::wait_until,
};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::cutover::every_message_is_there_once;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_node_started_without_a_control_plane_serves_from_its_disk() -> Result<()> {
    let mut fleet = Fleet::start(&Plan::default())?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    let postgres = fleet.control_plane.postgres()?;
    fleet.control_plane.kill()?;
    kill(postgres, Signal::SIGKILL)?;
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

/// Many leases long, and longer than whatever a node waits for on its stream.
const DEAD_FOR: Duration = Duration::from_secs(20);

#[test]
fn while_control_plane_and_database_are_dead_everybody_who_is_not_armed_logs_in_reads_and_sends_through_restarts_too()
-> Result<()> {
    let mut fleet = Fleet::start(&Plan {
        cutover: "lease = \"1s\"\nhold_login_timeout = \"3s\"\nmax_hold = \"20s\"\ndrain_timeout = \"10s\"\n",
        ..Plan::default()
    })?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    fleet
        .ctl(&["account", "arm", "carol", "--reason", "a batch"])?
        .expect(0)?;
    let postgres = fleet.control_plane.postgres()?;
    fleet.control_plane.kill()?;
    kill(postgres, Signal::SIGKILL)?;

    let home = HashMap::from([("alice", "new"), ("bob", "legacy")]);
    let accounts = [at("alice"), at("bob")];
    let accounts = accounts.each_ref().map(String::as_str);
    let (imap, submission) = fleet.endpoints();
    let at_work = |fleet: &Fleet, time: Duration| -> Result<()> {
        let load = Load::start(&fleet.place, &fleet.ca, &accounts, &imap, &submission)?;
        std::thread::sleep(time);
        let seen = load.stop()?;
        assert!(seen.logins > 20, "{} logins", seen.logins);
        assert_eq!((seen.failures.as_slice(), seen.cut), (&[][..], 0));
        every_message_is_there_once(fleet, &seen, &home)
    };
    at_work(&fleet, DEAD_FOR)?;
    // One that dies, and one that is stopped.
    fleet.nodes[0].process.kill_dash_nine()?;
    fleet.nodes[0].restart(&fleet.ca)?;
    fleet.nodes[1].process.stop(SOON)?;
    fleet.nodes[1].restart(&fleet.ca)?;
    at_work(&fleet, DEAD_FOR / 3)?;
    // Who is armed waits for a lease, before and after a restart, and hears nothing that a client takes for a wrong password.
    for node in &fleet.nodes {
        let login = Login::imap(node.imaps, &at("carol")).tls("implicit", fleet.ca.pem());
        let refused = login.with("timeout", 60).run()?;
        assert!(
            !refused.ok && !refused.error.contains("AUTHENTICATIONFAILED"),
            "{refused:?}"
        );
    }
    assert!(fleet.legacy.sessions_of(&at("carol")).is_empty());

    fleet.control_plane.run()?;
    fleet.wait_in_sync()?;
    Login::imap(fleet.node(0).imaps, &at("carol"))
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    fleet.cutover("bob", "legacy", "new")?.expect(0)?;
    fleet.cutover("carol", "legacy", "new")?.expect(0)?;
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

/// `mailswitchctl --node-api` of a node of this fleet: exit code, and all that was said.
fn asked(fleet: &Fleet, admin: SocketAddr, arguments: &[&str]) -> Result<(i32, String)> {
    let output = Command::new(program("mailswitchctl")?)
        .args(["--node-api", &format!("https://{admin}"), "--node-ca"])
        .arg(fleet.ca.pem())
        .args(arguments)
        .env("MAILSWITCH_TOKEN", TOKEN)
        .env("HOME", fleet.place.path())
        .output()?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code().unwrap_or(-1), said))
}

const TOKEN: &str = "a-token-of-32-bytes-for-the-tests";

#[test]
fn a_nodes_own_api_says_how_old_its_sync_is_and_changes_no_mapping() -> Result<()> {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    let admin = fleet.place.port(fleet.node(0).address())?;
    let table = format!("\n[admin]\nbind = \"{admin}\"\nbearer_token = \"{TOKEN}\"\n");
    let config = std::fs::read_to_string(&fleet.node(0).config)? + &table;
    std::fs::write(&fleet.node(0).config, config)?;
    let restart = |fleet: &mut Fleet| -> Result<()> {
        fleet.nodes[0].process.kill_dash_nine()?;
        fleet.nodes[0].restart(&fleet.ca)
    };
    restart(&mut fleet)?;
    fleet.wait_in_sync()?;
    let says = |fleet: &Fleet, arguments: &[&str], code: i32, words: &[&str]| -> Result<()> {
        let (exit, said) = asked(fleet, admin, arguments)?;
        assert_eq!(exit, code, "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        Ok(())
    };
    let alice = at("alice");
    says(
        &fleet,
        &["status"],
        0,
        &["health       ok", ", in sync with its control plane", "legacy"],
    )?;
    says(
        &fleet,
        &["resolve", &alice],
        0,
        &["legacy", "revision ", ", in sync with its control plane"],
    )?;
    // Whoever moves accounts here is sent to the fleet, and nobody is held or kicked for it.
    let open = Login::imap(fleet.node(0).imaps, &alice)
        .tls("implicit", fleet.ca.pem())
        .stay()?;
    says(
        &fleet,
        &["mapping", "set", &alice, "new"],
        3,
        &["this node belongs to a fleet", "mailswitchctl cutover"],
    )?;
    let cutover = ["cutover", &alice, "--from", "legacy", "--to", "new", "--single"];
    says(&fleet, &cutover, 3, &["belongs to a fleet; nothing was changed"])?;
    assert!(open.leave()?.ok);
    let name = fleet.node(0).name.clone();
    fleet
        .ctl(&["node", "drain", &name, "--reason", "test"])?
        .expect(0)?;
    wait_until("it says that it is drained", SOON, || {
        asked(&fleet, admin, &["status"]).is_ok_and(|(_, said)| said.contains("health       draining"))
    })?;
    fleet
        .ctl(&["node", "resume", &name, "--reason", "test"])?
        .expect(0)?;

    // Cut off, it grows.
    fleet.control_plane.kill()?;
    let age = |fleet: &Fleet| -> Result<Value> {
        let (_, said) = asked(fleet, admin, &["status", "--output", "json"])?;
        let stats: Value = serde_json::from_str(&said)?;
        Ok(stats["sync_age_secs"].clone())
    };
    wait_until("it has been cut off for a moment", SOON, || {
        age(&fleet).is_ok_and(|age| age.as_u64() >= Some(2))
    })?;
    says(
        &fleet,
        &["resolve", &alice],
        0,
        &["legacy", "cut off from its control plane for "],
    )?;
    // From its disk it does not know for how long.
    restart(&mut fleet)?;
    says(
        &fleet,
        &["status"],
        0,
        &["cut off from its control plane since it was started"],
    )?;
    assert_eq!(age(&fleet)?, Value::Null);
    fleet.control_plane.run()?;
    fleet.wait_in_sync()?;
    assert_eq!(age(&fleet)?, 0);
    Ok(())
}
