//! A node is cut off for good: accounts that were armed before go on moving, and it admits none of them; everybody else it
//! serves as before (promise L1 to L5). And a node that must not serve any more (promise N3).

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use mailswitch_tests::{
    client::Login,
    fleet::{Fleet, Plan, at, nodes_of},
    relay::{DelayRelay, Mode},
    when::wait_until,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

/// Short leases, and logins that do not wait for long on a node that nobody tells anything.
const PLAN: Plan<'static> = Plan {
    users: &["alice", "bob", "carol"],
    nodes: 3,
    otlp: None,
    database: None,
    cutover: "lease = \"1s\"\nhold_login_timeout = \"3s\"\nmax_hold = \"20s\"\ndrain_timeout = \"10s\"\n",
};

fn names(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn login(fleet: &Fleet, server: SocketAddr, user: &str) -> Login {
    Login::imap(server, &at(user)).tls("implicit", fleet.ca.pem())
}

/// The temporary failure: nothing that makes a client forget its password, and no session on either side.
fn is_refused(fleet: &Fleet, server: SocketAddr, user: &str) -> Result<()> {
    let sessions = || fleet.legacy.sessions_of(&at(user)).len() + fleet.new.sessions_of(&at(user)).len();
    let before = sessions();
    let refused = login(fleet, server, user).with("timeout", 60).run()?;
    ensure!(
        !refused.ok && !refused.error.contains("AUTHENTICATIONFAILED"),
        "{refused:?}"
    );
    ensure!(sessions() == before, "it got through");
    Ok(())
}

/// Puts a relay between the last node and the control plane.
fn behind_a_relay(fleet: &mut Fleet) -> Result<DelayRelay> {
    let relay = DelayRelay::start(&fleet.place, fleet.control_plane.address)?;
    let node = fleet.nodes.last_mut().context("a node")?;
    let config = std::fs::read_to_string(&node.config)?;
    let direct = fleet.control_plane.address.to_string();
    ensure!(config.contains(&direct), "{config}");
    std::fs::write(&node.config, config.replace(&direct, &relay.address.to_string()))?;
    node.process.kill_dash_nine()?;
    node.restart(&fleet.ca)?;
    fleet.wait_in_sync()?;
    Ok(relay)
}

#[test]
fn with_a_node_cut_off_for_good_armed_accounts_go_on_moving_and_it_admits_none_of_them() -> Result<()> {
    let mut fleet = Fleet::start(&PLAN)?;
    let relay = behind_a_relay(&mut fleet)?;
    let (near, cut) = (fleet.node(0).imaps, fleet.node(2).imaps);
    let armed = fleet.ctl(&[
        "account",
        "arm",
        "alice",
        &at("carol"),
        "--reason",
        "batch 7",
        "--output",
        "json",
    ])?;
    let armed = armed.expect(0)?.json()?;
    assert_eq!(
        (&armed["changed"], names(&armed["unacknowledged"]).len()),
        (&Value::from(2), 0)
    );
    let listed = fleet
        .ctl(&["account", "list", "--armed", "--output", "json"])?
        .expect(0)?
        .json()?;
    let listed: Vec<_> = names_of(&listed["accounts"]);
    assert_eq!(listed, [at("alice"), at("carol")]);
    assert_eq!(fleet.status()?["armed"], 2);

    let _alice = login(&fleet, cut, "alice").stay()?;
    let bob = login(&fleet, cut, "bob").stay()?;
    relay.set(Mode::Freeze);
    for user in ["alice", "carol"] {
        let moved = fleet.ctl(&[
            "cutover",
            &at(user),
            "--from",
            "legacy",
            "--to",
            "new",
            "--reason",
            "batch 7",
            "--output",
            "json",
        ])?;
        let moved = moved.expect(0)?.json()?;
        assert_eq!(names(&moved["lapsed"]), ["node-3"], "{moved:#}");
        // Whatever is reported as done is so in the backend's own log.
        wait_until("no session is left on the source", SOON, || {
            let sessions = fleet.legacy.sessions_of(&at(user));
            sessions.iter().all(|session| session.ended.is_some())
        })?;
        login(&fleet, near, user).succeed()?;
        assert!(
            !fleet.new.sessions_of(&at(user)).is_empty(),
            "it landed on the target"
        );
        is_refused(&fleet, cut, user)?;
    }
    // Everybody else: sessions live on, and logins go through.
    login(&fleet, cut, "bob").succeed()?;
    ensure!(
        fleet
            .legacy
            .sessions_of(&at("bob"))
            .iter()
            .any(|session| session.ended.is_none()),
        "its session is open"
    );
    ensure!(bob.leave()?.ok, "and answers");
    // What was not armed there cannot be moved past it, and the node is named.
    let released = fleet.ctl(&[
        "cutover",
        &at("bob"),
        "--from",
        "legacy",
        "--to",
        "new",
        "--max-hold",
        "3s",
        "--output",
        "json",
    ])?;
    let released = released.expect(7)?.json()?;
    assert_eq!(names(&released["missing"]), ["node-3"], "{released:#}");

    // It comes back, hears what happened, and sends them to the right side.
    relay.set(Mode::Pass);
    fleet.wait_in_sync()?;
    wait_until("it has a lease again", SOON, || {
        login(&fleet, cut, "alice").run().is_ok_and(|outcome| outcome.ok)
    })?;
    let there = fleet.legacy.sessions_of(&at("alice")).len();
    login(&fleet, cut, "alice").succeed()?;
    assert_eq!(fleet.legacy.sessions_of(&at("alice")).len(), there);
    fleet
        .ctl(&["account", "disarm", "alice", "carol", "--reason", "done"])?
        .expect(0)?;
    fleet.cutover("bob", "legacy", "new")?.expect(0)?;
    Ok(())
}

fn names_of(accounts: &Value) -> Vec<String> {
    let accounts = accounts.as_array().into_iter().flatten();
    accounts
        .map(|account| account["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_fenced_node_counts_until_somebody_answers_for_it_and_leaves_as_soon_as_it_hears() -> Result<()> {
    let mut fleet = Fleet::start(&Plan { nodes: 2, ..PLAN })?;
    let away = fleet.node(1).imaps;
    fleet.nodes[1].process.kill_dash_nine()?;
    wait_until("its stream is gone", Duration::from_secs(40), || {
        fleet
            .status()
            .is_ok_and(|status| nodes_of(&status).iter().any(|node| node["connected"] == false))
    })?;
    let said = fleet
        .ctl(&["node", "fence", "node-2", "--reason", "it burns"])?
        .expect(7)?;
    assert!(said.stderr.contains("has not heard it"), "{}", said.stderr);
    let cutover = |extra: &[&str]| {
        let bob = at("bob");
        let mut arguments = vec![
            "cutover", &bob, "--from", "legacy", "--to", "new", "--output", "json",
        ];
        arguments.extend(extra);
        fleet.ctl(&arguments)
    };
    let released = cutover(&["--max-hold", "2s"])?.expect(7)?.json()?;
    assert_eq!(names(&released["missing"]), ["node-2"]);
    let moved = cutover(&["--fenced-is-off", "--reason", "no power"])?
        .expect(0)?
        .json()?;
    assert_eq!(names(&moved["taken_as_off"]), ["node-2"]);
    let audit = fleet
        .ctl(&["audit", "--limit", "5", "--output", "json"])?
        .expect(0)?
        .stdout;
    assert!(audit.contains("off on the operator's word: node-2"), "{audit}");

    // It was not off for good. It is told, does as told, and says so.
    fleet.nodes[1].restart(&fleet.ca)?;
    wait_until("it has left", SOON, || {
        fleet.status().is_ok_and(|status| {
            let nodes = nodes_of(&status);
            let mut here = nodes.iter().filter(|node| node["name"] == "node-2");
            here.all(|node| node["left"] == true)
        })
    })?;
    is_refused(&fleet, away, "alice")?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    fleet.ctl(&["node", "resume", "node-2"])?.expect(3)?;
    fleet
        .ctl(&["node", "unfence", "node-2", "--reason", "repaired"])?
        .expect(0)?;
    fleet.wait_in_sync()?;
    login(&fleet, away, "alice").succeed()?;
    assert!(!fleet.new.sessions_of(&at("alice")).is_empty());
    Ok(())
}
