//! Hold, kick and drain reach every kind of session with a login: IMAP, POP3, ManageSieve, submission. What is passed
//! through has none, and goes on.

use std::{net::IpAddr, process::Stdio};

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    client::{Login, Running},
    fleet::{Fleet, Node, Plan, at, rows},
    raw::{Raw, Role},
    when::{eventually, wait_until},
};

use super::SOON;

/// A login of each kind to a node, by protocol.
fn logins(fleet: &Fleet, node: &Node, user: &str, client: IpAddr) -> [(&'static str, Login); 4] {
    let (ca, user) = (fleet.ca.pem(), at(user));
    [
        ("imap", Login::imap(node.imaps, &user).tls("implicit", ca)),
        ("pop3", Login::pop3(node.pop3, &user).tls("starttls", ca)),
        ("managesieve", Login::sieve(node.sieve, &user).tls("starttls", ca)),
        (
            "submission",
            Login::submission(node.submissions, &user)
                .tls("implicit", ca)
                .sending(&format!("<{}@kinds.test>", node.name)),
        ),
    ]
    .map(|(protocol, login)| (protocol, login.from(client)))
}

/// The sessions of an account that the nodes list, in a state ("waiting", "bridged"), by protocol.
fn listed(fleet: &Fleet, user: &str, state: &str) -> Result<Vec<String>> {
    let list = fleet
        .ctl(&["session", "list", "--identifier", &at(user), "--output", "json"])?
        .expect(0)?
        .json()?;
    let mut protocols: Vec<String> = rows(&list, "sessions")
        .iter()
        .filter(|session| session["state"] == state)
        .map(|session| session["protocol"].as_str().unwrap_or_default().to_owned())
        .collect();
    protocols.sort();
    Ok(protocols)
}

#[test]
fn a_cutover_ends_open_sessions_of_every_kind_and_parked_logins_of_every_kind_land_on_the_target()
-> Result<()> {
    let fleet = Fleet::start(&Plan {
        cutover: "hold_login_timeout = \"60s\"\nmax_hold = \"60s\"\ndrain_timeout = \"10s\"\n",
        ..Plan::default()
    })?;
    let mut open: Vec<Running> = Vec::new();
    for node in &fleet.nodes {
        for (protocol, login) in logins(&fleet, node, "alice", fleet.place.address(120)) {
            open.push(login.stay().context(protocol)?);
        }
    }
    assert_eq!(listed(&fleet, "alice", "bridged")?.len(), open.len());

    // Copied under the hold, until we say so.
    let (began, go) = (
        fleet.place.path().join("copy-began"),
        fleet.place.path().join("copy-on"),
    );
    let copy = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.05; done; {}",
        began.display(),
        go.display(),
        fleet.copy_command("alice", "legacy", "new")
    );
    let cutover = fleet
        .ctl_command(&[
            "cutover",
            &at("alice"),
            "--from",
            "legacy",
            "--to",
            "new",
            "--copy",
            &copy,
            "--reason",
            "test",
        ])
        .stdin(Stdio::null())
        .spawn()?;
    for session in &mut open {
        ensure!(!session.end()?.ok, "it was not ended but left");
    }
    wait_until("the copy runs", SOON, || began.exists())?;
    wait_until("Dovecot has seen their ends", SOON, || {
        let sessions = fleet.legacy.sessions_of(&at("alice"));
        sessions.len() == 6 && sessions.iter().all(|session| session.ended.is_some())
    })?;

    let client = fleet.place.address(121);
    let mut parked = Vec::new();
    for node in &fleet.nodes {
        for (protocol, login) in logins(&fleet, node, "alice", client) {
            parked.push((protocol, login.start()?));
        }
    }
    let all: Vec<&str> = ["imap", "managesieve", "pop3", "submission"]
        .into_iter()
        .flat_map(|protocol| [protocol, protocol])
        .collect();
    eventually("a login of each kind waits on each node", SOON, || {
        (listed(&fleet, "alice", "waiting").ok()? == all).then_some(())
    })?;
    assert!(fleet.new.sessions_of(&at("alice")).is_empty(), "nobody is let in");
    std::fs::write(&go, "")?;
    let ended = cutover.wait_with_output()?;
    ensure!(ended.status.success(), "{ended:?}");
    for (protocol, mut login) in parked {
        login.wait_in().context(protocol)?;
        let outcome = login.leave()?;
        ensure!(outcome.ok, "{protocol}: {outcome:?}");
    }

    assert_eq!(
        fleet.legacy.sessions_of(&at("alice")).len(),
        6,
        "nobody came back"
    );
    assert!(
        fleet.legacy_smtp.accepted().is_empty(),
        "no message went to the source"
    );
    let mut there: Vec<_> = fleet
        .new
        .sessions_of(&at("alice"))
        .into_iter()
        .map(|session| (session.protocol, session.rip))
        .collect();
    there.sort();
    let expected: Vec<_> = ["imap", "managesieve", "pop3"]
        .into_iter()
        .flat_map(|protocol| [(protocol.to_owned(), client), (protocol.to_owned(), client)])
        .collect();
    assert_eq!(there, expected);
    let sent = fleet.new_smtp.accepted();
    assert!(
        sent.len() == 2 && sent.iter().all(|mail| mail.client == client),
        "{sent:?}"
    );
    Ok(())
}

#[test]
fn a_kick_and_a_drain_end_sessions_of_every_kind_and_leave_what_is_passed_through() -> Result<()> {
    let fleet = Fleet::start(&Plan::default())?;
    let node = fleet.node(0);
    let mut passed = Raw::connect(node.smtp)?;
    let role = Role::Client(fleet.ca.pem());
    passed.play(role, "S: 220 …\nC: EHLO mx.test")?;
    while passed.line()?.starts_with("250-") {}

    let client = fleet.place.address(120);
    let open = || -> Result<Vec<(&'static str, Running)>> {
        let all = logins(&fleet, node, "alice", client).map(|(protocol, login)| {
            let running = login.stay().context(protocol)?;
            Ok((protocol, running))
        });
        all.into_iter().collect()
    };
    for (reason, command) in [
        (
            "kick",
            vec!["session", "kick", "alice@example.org", "--reason", "test"],
        ),
        ("drain", vec!["node", "drain", &node.name, "--reason", "test"]),
    ] {
        let sessions = open()?;
        fleet.ctl(&command)?.expect(0)?;
        for (protocol, mut session) in sessions {
            ensure!(!session.end()?.ok, "{reason}: {protocol} was not ended but left");
        }
        wait_until("the node says why", SOON, || {
            let log = node.log();
            let count = |protocol: &str| {
                log.lines()
                    .filter(|line| line.contains(&format!("reason={reason}")))
                    .filter(|line| line.contains(&format!("protocol={protocol}")))
                    .count()
            };
            ["imap", "pop3", "managesieve", "submission"]
                .iter()
                .all(|protocol| count(protocol) == 1)
        })
        .with_context(|| node.log())?;
        wait_until("Dovecot has seen their ends", SOON, || {
            let sessions = fleet.legacy.sessions_of(&at("alice"));
            sessions.iter().all(|session| session.ended.is_some())
        })?;
    }
    // Drained, it lets nobody in, with a temporary failure in each protocol; the other node does.
    for (protocol, login) in logins(&fleet, node, "alice", client) {
        let refused = login.run()?;
        ensure!(!refused.ok, "{protocol}: {refused:?}");
        let code = match protocol {
            "imap" => "UNAVAILABLE",
            "pop3" => "SYS/TEMP",
            "managesieve" => "TRYLATER",
            // Told 421, Python tries the next mechanism on the connection that is gone.
            _ => "SMTPServerDisconnected",
        };
        ensure!(refused.error.contains(code), "{protocol}: {refused:?}");
    }
    for (protocol, login) in logins(&fleet, fleet.node(1), "alice", client) {
        login.succeed().context(protocol)?;
    }
    // No kick and no drain has ended what has no login.
    passed.play(role, "C: NOOP\nS: 250 …\nC: QUIT\nS: 221 …\nEND")
}
