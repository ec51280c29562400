//! Cutovers under load: nobody is refused, nothing is lost, and never two sides at once. The truth is in the
//! backends' logs.

use std::{collections::HashMap, time::Duration};

use anyhow::{Result, ensure};
use mailswitch_tests::{
    client::Login,
    fleet::{Fleet, Plan, at},
    load::{Load, Seen},
    relay::Mode,
    when::{Moment, eventually, wait_until},
};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(20);
/// A line is in a log a little after what it tells of: the log has a process of its own, on a busy machine.
const LOG_DELAY: Duration = Duration::from_millis(150);

/// A cutover that returned with success.
struct Done {
    user: &'static str,
    from: &'static str,
    to: &'static str,
    returned: Moment,
}

#[test]
fn two_hundred_cutovers_back_and_forth_refuse_no_login_and_lose_no_message() -> Result<()> {
    let count = std::env::var("MAILSWITCH_CUTOVERS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200);
    let users = ["alice", "bob", "carol", "dave"];
    let fleet = Fleet::start(&Plan {
        users: &users,
        ..Plan::default()
    })?;
    let accounts: Vec<String> = users.iter().map(|user| at(user)).collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let (imap, submission) = fleet.endpoints();
    let load = Load::start(&fleet.place, &fleet.ca, &accounts, &imap, &submission)?;
    wait_until("the clients are at work", SOON, || load.logins() > 50)?;

    let mut home: HashMap<&str, &'static str> = users.iter().map(|user| (*user, "legacy")).collect();
    let mut done = Vec::new();
    for number in 0..count {
        let user = users[number % users.len()];
        let from = home[user];
        let to = if from == "legacy" { "new" } else { "legacy" };
        fleet.cutover(user, from, to)?.expect(0)?;
        done.push(Done {
            user,
            from,
            to,
            returned: Moment::now(),
        });
        home.insert(user, to);
    }
    let seen = load.stop()?;

    println!(
        "{count} cutovers, {} logins, {} failed, {} sessions cut; a login took {:.3} s (p50), {:.3} s (max)",
        seen.logins,
        seen.failures.len(),
        seen.cut,
        seen.login_seconds_p50,
        seen.login_seconds_max,
    );
    assert_eq!(seen.failures, Vec::<serde_json::Value>::new());
    every_message_is_there_once(&fleet, &seen, &home)?;
    no_login_on_the_source_after_its_cutover(&fleet, &done)?;
    never_on_both_at_once(&fleet, &users)
}

pub(crate) fn every_message_is_there_once(
    fleet: &Fleet,
    seen: &Seen,
    home: &HashMap<&str, &'static str>,
) -> Result<()> {
    for (user, home) in home {
        let account = at(user);
        let settled = fleet.postfix(home);
        wait_until("all is delivered", SOON, || {
            settled.queued().is_ok_and(|queued| queued == 0)
        })?;
        let mut there: HashMap<String, usize> = HashMap::new();
        for id in fleet.dovecot(home).message_ids(&account)? {
            *there.entry(id).or_default() += 1;
        }
        let accepted = seen.accepted.get(&account).cloned().unwrap_or_default();
        ensure!(!accepted.is_empty(), "{user} sent nothing");
        let missing: Vec<_> = accepted.iter().filter(|id| !there.contains_key(*id)).collect();
        ensure!(missing.is_empty(), "{user}: lost {missing:?}");
        let doubled: Vec<_> = there.iter().filter(|(_, count)| **count > 1).collect();
        ensure!(doubled.is_empty(), "{user}: doubled {doubled:?}");
    }
    Ok(())
}

/// Between a cutover's return and the next cutover of the account nobody signs in at the source.
fn no_login_on_the_source_after_its_cutover(fleet: &Fleet, done: &[Done]) -> Result<()> {
    for (number, cutover) in done.iter().enumerate() {
        let next = done[number + 1..].iter().find(|later| later.user == cutover.user);
        // The next one takes it back: from its flip on, which is before its return, the source is right again. Its
        // command was started when the one before it in the list had returned.
        let until = next.map(|next| {
            let before = done.iter().rev().find(|other| other.returned < next.returned);
            before.map_or(next.returned, |before| before.returned)
        });
        let late: Vec<_> = fleet
            .dovecot(cutover.from)
            .sessions_of(&at(cutover.user))
            .into_iter()
            .filter(|login| login.began > cutover.returned.plus(LOG_DELAY))
            .filter(|login| until.is_none_or(|until| login.began < until))
            .collect();
        ensure!(
            late.is_empty(),
            "{} left {} for {}: {late:?}",
            cutover.user,
            cutover.from,
            cutover.to
        );
    }
    Ok(())
}

/// No session on one side begins before those on the other have ended.
fn never_on_both_at_once(fleet: &Fleet, users: &[&str]) -> Result<()> {
    for user in users {
        let account = at(user);
        wait_until("all sessions have ended", SOON, || {
            let open = |name: &str| {
                fleet
                    .dovecot(name)
                    .sessions_of(&account)
                    .iter()
                    .any(|s| s.ended.is_none())
            };
            !open("legacy") && !open("new")
        })?;
        let new = fleet.new.sessions_of(&account);
        for old in fleet.legacy.sessions_of(&account) {
            let old_end = old.ended.unwrap_or(Moment::now());
            for other in &new {
                let other_end = other.ended.unwrap_or(Moment::now());
                let together = old.began.plus(LOG_DELAY) < other_end && other.began.plus(LOG_DELAY) < old_end;
                ensure!(!together, "both at once: {old:?} and {other:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_login_in_the_middle_of_a_slow_backend_handshake_ends_on_the_right_side() -> Result<()> {
    let fleet = Fleet::start(&Plan::default())?;
    for (number, delay) in [700, 1200, 1800, 2500].into_iter().enumerate() {
        let user = ["alice", "bob", "carol"][number % 3];
        let (from, to) = if number < 3 {
            ("legacy", "new")
        } else {
            ("new", "legacy")
        };
        if from == "new" {
            // The relay stands before legacy only: the account goes back there first.
            fleet.cutover(user, from, to)?.expect(0)?;
        }
        let before = fleet.legacy.sessions_of(&at(user)).len();
        fleet.relay.set(Mode::Delay(Duration::from_millis(delay)));
        let client = fleet.place.address(110);
        let mut login = Login::imap(fleet.node(0).imaps, &at(user))
            .tls("implicit", fleet.ca.pem())
            .from(client)
            .start()?;
        wait_until("the handshake is under way", SOON, || fleet.relay.held_back() > 0)?;
        fleet.cutover(user, "legacy", "new")?.expect(0)?;
        fleet.relay.set(Mode::Pass);
        login.wait_in()?;
        let session = eventually("the login is in the log", SOON, || {
            fleet
                .new
                .sessions_of(&at(user))
                .into_iter()
                .find(|session| session.ended.is_none())
        })?;
        assert_eq!(session.rip, client);
        assert!(login.leave()?.ok);
        let on_legacy = fleet.legacy.sessions_of(&at(user));
        assert!(
            on_legacy[before..].iter().all(|session| session.ended.is_some()),
            "{on_legacy:?}"
        );
    }
    Ok(())
}

#[test]
fn an_open_session_is_ended_at_a_quiet_moment_and_the_next_one_is_on_the_target() -> Result<()> {
    let fleet = Fleet::start(&Plan::default())?;
    let login = Login::imap(fleet.node(1).imaps, &at("alice")).tls("implicit", fleet.ca.pem());
    let mut session = login.stay()?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    // The client was told to go; it had not asked for anything.
    assert!(!session.end()?.ok);
    let old = fleet.legacy.sessions_of(&at("alice"));
    assert!(old.len() == 1 && old[0].ended.is_some(), "{old:?}");
    login.succeed()?;
    assert_eq!(fleet.new.sessions_of(&at("alice")).len(), 1);
    Ok(())
}

#[test]
fn a_stopped_node_is_named_and_the_account_stays() -> Result<()> {
    let fleet = Fleet::start(&Plan {
        cutover: "max_hold = \"4s\"\ndrain_timeout = \"2s\"\n",
        ..Plan::default()
    })?;
    fleet.node(1).process.signal(Signal::SIGSTOP)?;
    let account = at("alice");
    let said = fleet.ctl(&[
        "cutover", &account, "--from", "legacy", "--to", "new", "--reason", "test", "-o", "json",
    ])?;
    assert_eq!(
        said.clone().expect(7)?.json()?["missing"],
        serde_json::json!(["node-2"]),
        "{said:?}"
    );
    Login::imap(fleet.node(0).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    assert_eq!(fleet.legacy.sessions_of(&at("alice")).len(), 1);
    fleet.node(1).process.signal(Signal::SIGCONT)?;
    fleet.wait_in_sync()?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    Ok(())
}

#[test]
fn a_node_that_is_gone_stands_in_the_way_until_it_is_forgotten() -> Result<()> {
    let mut fleet = Fleet::start(&Plan {
        cutover: "max_hold = \"4s\"\ndrain_timeout = \"2s\"\n",
        ..Plan::default()
    })?;
    fleet.nodes[1].process.kill_dash_nine()?;
    fleet.cutover("alice", "legacy", "new")?.expect(7)?;
    // The word that it is stopped has to be given.
    let refused = fleet.ctl(&["node", "forget", "node-2", "--reason", "test"])?;
    assert_ne!(refused.code, 0, "{refused:?}");
    fleet
        .ctl(&["node", "forget", "node-2", "--i-stopped-it", "--reason", "test"])?
        .expect(0)?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    // It comes back, is registered anew, and knows where alice is before it serves her.
    let ca = &fleet.ca;
    fleet.nodes[1].restart(ca)?;
    fleet.wait_in_sync()?;
    Login::imap(fleet.node(1).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    assert_eq!(fleet.new.sessions_of(&at("alice")).len(), 1);
    assert!(fleet.legacy.sessions_of(&at("alice")).is_empty());
    Ok(())
}

#[test]
fn a_rollback_with_new_mail_needs_to_be_told_what_to_do_with_it() -> Result<()> {
    let fleet = Fleet::start(&Plan::default())?;
    let send = |id: &str| {
        Login::submission(fleet.node(0).submission, &at("alice"))
            .tls("starttls", fleet.ca.pem())
            .sending(id)
            .succeed()
    };
    send("<before@example.org>")?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    send("<after@example.org>")?;
    let refused = fleet.ctl(&["rollback", &at("alice"), "--reason", "test"])?;
    assert_eq!(refused.code, 3, "{refused:?}");
    let copy = fleet.copy_command("alice", "new", "legacy");
    fleet
        .ctl(&["rollback", &at("alice"), "--copy", &copy, "--reason", "test"])?
        .expect(0)?;
    let mut ids = fleet.legacy.message_ids(&at("alice"))?;
    ids.sort();
    assert_eq!(ids, ["<after@example.org>", "<before@example.org>"]);
    Login::imap(fleet.node(0).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    assert_eq!(fleet.legacy.sessions_of(&at("alice")).len(), 1);
    Ok(())
}

#[test]
fn a_copy_that_fails_releases_the_account_to_the_source() -> Result<()> {
    let fleet = Fleet::start(&Plan::default())?;
    let base = [
        "cutover",
        "alice@example.org",
        "--from",
        "legacy",
        "--to",
        "new",
        "--reason",
        "test",
    ];
    for hook in ["--copy", "--verify"] {
        let said = fleet.ctl(&[&base[..], &[hook, "exit 3"]].concat())?.expect(4)?;
        assert!(
            format!("{}{}", said.stdout, said.stderr).contains('3'),
            "{said:?}"
        );
    }
    // Nothing was held for a hook that came before it.
    assert_ne!(
        fleet.ctl(&[&base[..], &["--precopy", "exit 3"]].concat())?.code,
        0
    );
    Login::imap(fleet.node(0).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    assert_eq!(fleet.legacy.sessions_of(&at("alice")).len(), 1);
    Ok(())
}

#[test]
fn a_stale_script_moves_nothing() -> Result<()> {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    // It is on legacy, and nobody@example.org is nobody's account.
    fleet
        .ctl(&[
            "cutover",
            &at("alice"),
            "--from",
            "new",
            "--to",
            "legacy",
            "--reason",
            "test",
        ])?
        .expect(3)?;
    fleet
        .ctl(&[
            "cutover",
            &at("nobody"),
            "--from",
            "legacy",
            "--to",
            "new",
            "--reason",
            "test",
        ])?
        .expect(3)?;
    Ok(())
}
