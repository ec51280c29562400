//! Whoever signs in as another: the session is routed by who signs in, and its mailbox is the other's (promise A2).

use std::time::Duration;

use anyhow::{Result, ensure};
use mailswitch_tests::{
    client::Login,
    dovecot::MASTER,
    fleet::{Fleet, Plan, at},
    when::eventually,
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_cutover_ends_a_session_that_a_master_user_has_in_the_accounts_mailbox() -> Result<()> {
    let fleet = Fleet::start(&Plan::default())?;
    let account = at("alice");
    let master = |node: usize, authzid: &str| {
        Login::imap(fleet.node(node).imaps, MASTER)
            .tls("implicit", fleet.ca.pem())
            .with("sasl", "plain")
            .with("authzid", authzid)
    };
    let mut in_her_mailbox = master(0, &account).stay()?;
    let in_bobs = master(1, &at("bob")).stay()?;
    eventually("her mailbox is open on legacy", SOON, || {
        let open = fleet.legacy.sessions_of(&account);
        (open.len() == 1 && open[0].ended.is_none()).then_some(())
    })?;

    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    eventually("it was ended", SOON, || {
        let sessions = fleet.legacy.sessions_of(&account);
        sessions
            .iter()
            .all(|session| session.ended.is_some())
            .then_some(())
    })?;
    let told = in_her_mailbox.end()?;
    ensure!(!told.ok, "the client was not cut off: {told:?}");
    // Nobody else's.
    let bobs = fleet.legacy.sessions_of(&at("bob"));
    assert!(bobs.len() == 1 && bobs[0].ended.is_none(), "{bobs:?}");
    assert!(in_bobs.leave()?.ok);
    Ok(())
}
