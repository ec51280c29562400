//! A backup is restored under a running fleet (promise D3): nothing that routes is written before every node has said where
//! it stands, nodes that know more keep what they have, and sessions and logins go on.

use std::time::Duration;

use anyhow::{Result, ensure};
use mailswitch_tests::{
    client::Login,
    fleet::{Fleet, Plan, at, nodes_of},
    when::wait_until,
};

use crate::sight::get;

const SOON: Duration = Duration::from_secs(30);

fn lands_on_new(fleet: &Fleet, node: usize) -> Result<()> {
    let before = fleet.new.sessions_of(&at("alice")).len();
    Login::imap(fleet.node(node).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    wait_until("the login is in the log", SOON, || {
        fleet.new.sessions_of(&at("alice")).len() > before
    })
}

#[test]
fn restore_replace_under_a_running_fleet_names_who_is_ahead_and_everybody_goes_on() -> Result<()> {
    let mut fleet = Fleet::start(&Plan::default())?;
    let file = |name: &str| fleet.place.path().join(name).display().to_string();
    let (early, late) = (file("early.backup"), file("late.backup"));
    fleet.ctl(&["backup", &early])?.expect(0)?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    fleet.wait_in_sync()?;
    fleet.ctl(&["backup", &late])?.expect(0)?;
    let _stays = Login::imap(fleet.node(1).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .stay()?;

    let restore = |file: &str| fleet.ctl(&["restore", file, "--replace", "--reason", "test"]);
    let said = restore(&early)?.expect(0)?;
    ensure!(format!("{said:?}").contains("node-1, node-2"), "{said:?}");
    // Both are ahead of it: they serve what they know.
    let diverged = |fleet: &Fleet| {
        let status = fleet.status().unwrap_or_default();
        let nodes = nodes_of(&status);
        nodes.iter().filter(|node| node["diverged"] == true).count()
    };
    wait_until("both nodes have said so", SOON, || diverged(&fleet) == 2)?;
    for node in 0..2 {
        lands_on_new(&fleet, node)?;
    }
    ensure!(
        fleet
            .new
            .sessions_of(&at("alice"))
            .iter()
            .any(|session| session.ended.is_none()),
        "the session that was there goes on"
    );
    let said = fleet.cutover("bob", "legacy", "new")?.expect(3)?;
    ensure!(
        said.stderr.contains("node-1") && said.stderr.contains("node-2"),
        "{said:?}"
    );
    let ready = get(fleet.control_plane.metrics, "/readyz")?;
    ensure!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    ensure!(
        ready.contains("ready, but") && ready.contains("node-1"),
        "{ready}"
    );

    // A node that restarts meanwhile serves what it has, and the control plane forgets nothing when it does.
    fleet.nodes[1].process.kill_dash_nine()?;
    fleet.nodes[1].restart(&fleet.ca)?;
    lands_on_new(&fleet, 1)?;
    fleet.control_plane.kill()?;
    fleet.control_plane.run()?;
    fleet.cutover("bob", "legacy", "new")?.expect(3)?;

    // The database is brought back to where it was.
    fleet
        .ctl(&["restore", &late, "--replace", "--reason", "test"])?
        .expect(0)?;
    fleet.wait_in_sync()?;
    lands_on_new(&fleet, 0)?;
    fleet.cutover("bob", "legacy", "new")?.expect(0)?;
    Ok(())
}
