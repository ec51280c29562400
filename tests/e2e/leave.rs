//! A node leaves the fleet (promise N2): cutovers go on without it, and it serves nobody before it is registered anew.

use std::time::Duration;

use anyhow::{Result, ensure};
use mailswitch_tests::{
    client::Login,
    fleet::{Fleet, Plan, at, nodes_of},
    when::wait_until,
};

const SOON: Duration = Duration::from_secs(20);

/// The temporary failure: nothing that makes a client forget its password, and no session on the backend.
fn is_refused(fleet: &Fleet, login: &Login) -> Result<()> {
    let account = at("bob");
    let before = fleet.legacy.sessions_of(&account).len();
    let refused = login.clone().with("timeout", 60).run()?;
    ensure!(
        !refused.ok && !refused.error.contains("AUTHENTICATIONFAILED"),
        "{refused:?}"
    );
    ensure!(
        fleet.legacy.sessions_of(&account).len() == before,
        "it got through"
    );
    Ok(())
}

#[test]
fn a_node_that_leaves_is_missed_by_no_cutover_and_serves_nobody_until_it_is_back() -> Result<()> {
    let mut fleet = Fleet::start(&Plan::default())?;
    let bob = Login::imap(fleet.node(1).imaps, &at("bob")).tls("implicit", fleet.ca.pem());
    let _stays = Login::imap(fleet.node(1).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .stay()?;
    let name = fleet.node(1).name.clone();
    let leave = ["node", "drain", &name, "--leave", "--reason", "test"];
    fleet.ctl(&leave)?.expect(0)?;
    // Exit 0 is the proof: the backend's own log has the end of its session.
    wait_until("alice's session has ended", SOON, || {
        let sessions = fleet.legacy.sessions_of(&at("alice"));
        !sessions.is_empty() && sessions.iter().all(|session| session.ended.is_some())
    })?;
    let registered = |fleet: &Fleet| -> Result<Vec<String>> {
        let nodes = nodes_of(&fleet.status()?);
        let registered = nodes.iter().filter(|node| node["left"] == false);
        Ok(registered
            .map(|node| node["name"].as_str().unwrap_or_default().to_owned())
            .collect())
    };
    assert_eq!(registered(&fleet)?, ["node-1"]);
    is_refused(&fleet, &bob)?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;

    // Killed with the mark, and started with no control plane: nobody.
    fleet.nodes[1].process.kill_dash_nine()?;
    fleet.control_plane.kill()?;
    fleet.nodes[1].restart(&fleet.ca)?;
    is_refused(&fleet, &bob)?;
    // With one it is registered, serves, and counts.
    fleet.control_plane.run()?;
    fleet.wait_in_sync()?;
    bob.succeed()?;
    let mut both = registered(&fleet)?;
    both.sort();
    assert_eq!(both, ["node-1", "node-2"]);
    fleet.cutover("alice", "new", "legacy")?.expect(0)?;

    // It leaves again, and comes back without a restart.
    fleet.ctl(&leave)?.expect(0)?;
    is_refused(&fleet, &bob)?;
    // Between its goodbye and its next stream it cannot be told: the command waits for that.
    fleet
        .ctl(&["node", "resume", &name, "--reason", "test"])?
        .expect(0)?;
    fleet.wait_in_sync()?;
    bob.succeed()?;

    // Who is not connected cannot say goodbye.
    fleet.nodes[1].process.kill_dash_nine()?;
    wait_until("it is not connected", SOON, || {
        fleet.status().is_ok_and(|status| {
            nodes_of(&status)
                .iter()
                .any(|node| node["name"] == name.as_str() && node["connected"] == false)
        })
    })?;
    let said = fleet.ctl(&leave)?.expect(3)?;
    ensure!(format!("{said:?}").contains("node forget"), "{said:?}");
    Ok(())
}
