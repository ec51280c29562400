//! What real programs make of their account's move: nothing, when the copy keeps the UIDs; more mail, when not.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use mailswitch_tests::{
    ca::Ca,
    client::mbsync,
    dovecot::{Announce, Dovecot, Plaintext},
    fleet::{Fleet, Plan, at},
    lone::{Lone, Setup, destination},
    place::Place,
    programs::{Account, Fetch, fetchmail, msmtp},
    when::{eventually, wait_until},
};

use super::{ALICE, SOON};

/// How often a message is in what fetchmail took.
fn fetched(directory: &Path, id: &str) -> usize {
    std::fs::read_to_string(directory.join("fetched"))
        .map_or(0, |text| text.matches(&format!("Message-ID: {id}")).count())
}

#[test]
fn mbsync_fetchmail_and_msmtp_follow_an_account_and_fetch_nothing_twice() -> Result<()> {
    let fleet = Fleet::start(&Plan::default())?;
    let user = at("alice");
    let account = |server, tls| Account {
        server,
        tls,
        ca: fleet.ca.pem(),
        user: &user,
        password: "secret",
    };
    let (synced, taken) = (fleet.place.folder("mbsync")?, fleet.place.folder("fetchmail")?);
    // Each time at another node: a client that connects again may find any.
    for (round, (home, node)) in [("legacy", 0), ("new", 1)].into_iter().enumerate() {
        if home == "new" {
            fleet.cutover("alice", "legacy", "new")?.expect(0)?;
        }
        let node = fleet.node(node);
        let id = format!("<{home}@example.org>");
        let client = fleet.place.address(130);
        msmtp(account(node.submissions, "implicit"), client, "plain", &id)?.succeed()?;
        let sent = fleet.postfix(home).accepted();
        ensure!(sent.len() == 1 && sent[0].client == client, "{sent:?}");
        eventually("it is delivered", SOON, || {
            let there = fleet.dovecot(home).message_ids(&user).ok()?;
            (there.len() == round + 1).then_some(())
        })?;
        let count = mbsync(&synced, node.imaps, "implicit", fleet.ca.pem(), &user)?;
        assert_eq!(count, round + 1, "mbsync at {home}");
        // It knows a message by its UIDL and the server's name.
        let pop3 = account(fleet.node(1).pop3s, "implicit");
        fetchmail(&taken, "pop3", pop3, Fetch::New)?.succeed()?;
        assert_eq!(fetched(&taken, "<legacy@example.org>"), 1, "fetchmail at {home}");
        assert_eq!(fetched(&taken, "<new@example.org>"), round, "fetchmail at {home}");
    }
    Ok(())
}

#[test]
fn after_a_copy_with_new_uids_mbsync_recognises_its_mail_and_fetchmail_fetches_again() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let message = "Message-ID: <1@x.test>\nFrom: x@x.test\n\nx\n";
    let start = |name| Dovecot::start(&place, &ca, name, Announce::Proxy, Plaintext::Refused, &[ALICE]);
    let (legacy, new) = (start("legacy")?, start("new")?);
    legacy.deliver(ALICE, message)?;
    let validity = |dovecot: &Dovecot| {
        dovecot.doveadm(&[
            "-f",
            "flow",
            "mailbox",
            "status",
            "-u",
            ALICE,
            "uidvalidity",
            "INBOX",
        ])
    };
    // It is the second of the mailbox's making.
    let before = validity(&legacy)?;
    wait_until("a UIDVALIDITY of its own", Duration::from_secs(10), || {
        let _ = std::fs::remove_dir_all(new.directory.join("mail").join(ALICE));
        new.deliver(ALICE, message).is_ok() && validity(&new).is_ok_and(|after| after != before)
    })?;
    let tables = destination(&legacy, None, "implicit", "") + &destination(&new, None, "implicit", "");
    let (synced, taken) = (place.folder("mbsync")?, place.folder("fetchmail")?);
    for (times, moved) in [(1, ""), (2, "alice@example.org new\n")] {
        let setup = Setup {
            listeners: &[("imap", "implicit"), ("pop3", "implicit")],
            tables: &tables,
            moved,
            ..Setup::default()
        };
        let node = Lone::start(&place, &ca, setup)?;
        // It knows the messages by their Message-IDs then.
        let imap = node.at("imap", "implicit")?;
        let count = mbsync(&synced, imap, "implicit", ca.pem(), ALICE)?;
        assert_eq!(count, 1, "{moved}");
        let account = Account {
            server: node.at("pop3", "implicit")?,
            tls: "implicit",
            ca: ca.pem(),
            user: ALICE,
            password: "secret",
        };
        fetchmail(&taken, "pop3", account, Fetch::New)?.succeed()?;
        assert_eq!(fetched(&taken, "<1@x.test>"), times, "{moved}");
    }
    Ok(())
}
