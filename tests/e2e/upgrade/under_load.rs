//! A node of a fleet is upgraded in place, twice, while clients sign in, read and send, and accounts move (promise N1,
//! decision 0027): no login fails, and no session ends that did not have to.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mailswitch_tests::{
    client::{Login, Running},
    fleet::{Fleet, Plan, at, nodes_of},
    load::Load,
    when::wait_until,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// The processes of the first node that the control plane counts.
pub(super) fn processes(fleet: &Fleet) -> Vec<Value> {
    let status = fleet.status().unwrap_or_default();
    let mut nodes = nodes_of(&status);
    nodes.retain(|node| node["name"] == "node-1" && node["left"] == false);
    nodes
}

pub(super) fn stay(fleet: &Fleet, user: &str) -> Result<Running> {
    Login::imap(fleet.node(0).imaps, &at(user))
        .tls("implicit", fleet.ca.pem())
        .stay()
}

pub(super) fn moves(fleet: &Fleet, user: &str, from: &str, to: &str) -> Result<()> {
    let account = at(user);
    let said = fleet.ctl(&[
        "cutover", &account, "--from", from, "--to", to, "--reason", "test",
    ])?;
    said.expect(0)?;
    let left: Vec<_> = fleet
        .dovecot(from)
        .sessions_of(&account)
        .into_iter()
        .filter(|session| session.ended.is_none())
        .collect();
    ensure!(left.is_empty(), "said done, and open on {from}: {left:?}");
    Ok(())
}

#[test]
fn a_node_is_upgraded_twice_under_load_and_no_login_fails_and_no_session_ends_that_did_not_have_to()
-> Result<()> {
    let mut fleet = Fleet::start(&Plan {
        users: &["alice", "bob", "carol", "dave"],
        ..Plan::default()
    })?;
    let (imap, submission) = fleet.endpoints();
    let steady = Load::start(
        &fleet.place,
        &fleet.ca,
        &[&at("bob"), &at("carol")],
        &imap,
        &submission,
    )?;
    let moved = Load::start(&fleet.place, &fleet.ca, &[&at("alice")], &imap, &submission)?;
    wait_until("the clients are at work", SOON, || {
        steady.logins() > 20 && moved.logins() > 5
    })?;
    let first_bob = stay(&fleet, "bob")?;
    let mut dave = stay(&fleet, "dave")?;

    let mut first = fleet.nodes[0].upgrade(&fleet.ca, 2)?;
    wait_until("both processes count, and one of them retires", SOON, || {
        let all = processes(&fleet);
        all.len() == 2 && all.iter().filter(|node| node["retiring"] == true).count() == 1
    })?;
    let second_carol = stay(&fleet, "carol")?;
    moves(&fleet, "alice", "legacy", "new")?;
    // His session is on the process that retires: it ends there, and he comes back to the other side.
    first.still_runs()?;
    moves(&fleet, "dave", "legacy", "new")?;
    ensure!(!dave.end()?.ok || !fleet.legacy.sessions_of(&at("dave")).is_empty());
    let third_dave = stay(&fleet, "dave")?;
    ensure!(
        fleet.new.sessions_of(&at("dave")).len() == 1,
        "he landed on the other side"
    );

    let before = steady.logins();
    let mut second = fleet.nodes[0].upgrade(&fleet.ca, 3)?;
    wait_until("three processes of the node count", SOON, || {
        processes(&fleet).len() == 3
    })?;
    moves(&fleet, "alice", "new", "legacy")?;
    wait_until("the clients go on", SOON, || steady.logins() > before + 40)?;
    first.still_runs()?;
    second.still_runs()?;

    let (steady, moved) = (steady.stop()?, moved.stop()?);
    assert_eq!(steady.failures, Vec::<Value>::new());
    assert_eq!(moved.failures, Vec::<Value>::new());
    assert_eq!(steady.cut, 0, "no session of theirs had to end: {steady:?}");

    // Idle all the time, and still served by the process that they signed in to. With the last one it goes.
    ensure!(
        first_bob.leave()?.ok,
        "bob's session was open through both upgrades"
    );
    let ended = first.wait_end(SOON).context("the first process")?;
    assert_eq!(ended.code(), Some(0), "{}", first.output());
    ensure!(second_carol.leave()?.ok && third_dave.leave()?.ok);
    let ended = second.wait_end(SOON).context("the second process")?;
    assert_eq!(ended.code(), Some(0), "{}", second.output());
    wait_until("one process of the node counts", SOON, || {
        processes(&fleet).len() == 1
    })?;
    fleet.wait_in_sync()?;
    moves(&fleet, "alice", "legacy", "new")?;

    for (account, ids) in &steady.accepted {
        fleet.legacy_smtp.queued()?;
        wait_until("every message is delivered", SOON, || {
            let there = fleet.legacy.message_ids(account).unwrap_or_default();
            ids.iter().all(|id| there.contains(id))
        })?;
    }
    Ok(())
}
