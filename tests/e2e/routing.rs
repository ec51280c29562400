//! Sessions through the nodes of a fleet: which backend, from which address, with which clients.

use std::time::Duration;

use anyhow::Result;
use mailswitch_tests::{
    client::{Login, mbsync, swaks},
    fleet::{Fleet, Plan, at},
    when::{eventually, wait_until},
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn both_backends_log_the_clients_own_address_over_imap_and_submission() -> Result<()> {
    let fleet = Fleet::start(&Plan::default())?;
    fleet
        .ctl(&[
            "cutover", "bob", "--from", "legacy", "--to", "new", "--reason", "test",
        ])?
        .expect(0)?;
    for (user, home, host) in [("alice", "legacy", 101), ("bob", "new", 102)] {
        let client = fleet.place.address(host);
        for node in &fleet.nodes {
            let login = |login: Login, tls: &str| login.tls(tls, fleet.ca.pem()).from(client);
            // Both forms of the login are one account.
            login(Login::imap(node.imaps, &at(user)), "implicit").succeed()?;
            login(
                Login::imap(node.imap, &at(user)).with("sasl", "plain"),
                "starttls",
            )
            .succeed()?;
            let id = format!("<{user}-{}@example.org>", node.name);
            login(Login::submission(node.submission, &at(user)), "starttls")
                .sending(&id)
                .succeed()?;
        }
        let sessions = eventually("all logins are in the log", SOON, || {
            let sessions = fleet.dovecot(home).sessions_of(&at(user));
            (sessions.len() == 2 * fleet.nodes.len()).then_some(sessions)
        })?;
        for session in sessions {
            assert_eq!(session.rip, client, "{session:?}");
            assert!(
                fleet.nodes.iter().any(|node| node.address() == session.lip),
                "{session:?}"
            );
        }
        let accepted = eventually("all messages are in the log", SOON, || {
            let accepted = fleet.postfix(home).accepted();
            let of_user: Vec<_> = accepted
                .into_iter()
                .filter(|message| message.user == at(user))
                .collect();
            (of_user.len() == fleet.nodes.len()).then_some(of_user)
        })?;
        assert!(
            accepted.iter().all(|message| message.client == client),
            "{accepted:?}"
        );
    }
    assert!(fleet.new.sessions_of(&at("alice")).is_empty());
    assert!(fleet.legacy.sessions_of(&at("bob")).is_empty());
    Ok(())
}

#[test]
fn the_short_form_of_a_login_goes_where_the_account_is() -> Result<()> {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    let resolved = fleet
        .ctl(&["resolve", "alice", "--all-nodes", "--output", "json"])?
        .expect(0)?;
    assert!(resolved.stdout.contains("legacy"), "{resolved:?}");
    fleet
        .ctl(&[
            "cutover", "alice", "--from", "legacy", "--to", "new", "--reason", "test",
        ])?
        .expect(0)?;
    let resolved = fleet
        .ctl(&["resolve", "ALICE", "--all-nodes", "--output", "json"])?
        .expect(0)?;
    assert!(
        resolved.stdout.contains("new") && !resolved.stdout.contains("legacy"),
        "{resolved:?}"
    );
    Ok(())
}

#[test]
fn a_wrong_password_is_the_backends_refusal_and_no_login() -> Result<()> {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    let wrong = Login::imap(fleet.node(0).imaps, &at("alice")).tls("implicit", fleet.ca.pem());
    let outcome = wrong.with("password", "wrong").run()?;
    assert!(
        !outcome.ok && outcome.error.contains("AUTHENTICATIONFAILED"),
        "{outcome:?}"
    );
    assert!(fleet.legacy.sessions().is_empty());
    Ok(())
}

#[test]
fn mbsync_and_swaks_work_through_a_node() -> Result<()> {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    let node = fleet.node(0);
    let client = fleet.place.address(105);
    for (mechanism, id) in [("PLAIN", "<one@example.org>"), ("LOGIN", "<two@example.org>")] {
        swaks(node.submission, client, &at("alice"), mechanism, id)?;
    }
    wait_until("they are delivered", SOON, || {
        fleet
            .legacy
            .message_ids(&at("alice"))
            .is_ok_and(|ids| ids.len() == 2)
    })?;
    for (tls, server) in [("implicit", node.imaps), ("starttls", node.imap)] {
        let folder = fleet.place.folder(&format!("fetched-{tls}"))?;
        assert_eq!(mbsync(&folder, server, tls, fleet.ca.pem(), &at("alice"))?, 2);
    }
    Ok(())
}
