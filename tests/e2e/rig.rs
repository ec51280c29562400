//! The rig itself, without any proxy: what the other tests rely on is shown to hold of the real servers.

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use mailswitch_tests::{
    ca::Ca,
    client::{Login, mbsync, swaks},
    dovecot::{Announce, Dovecot, Plaintext},
    load::Load,
    place::Place,
    postfix::Postfix,
    relay::{DelayRelay, Mode},
    when::{Moment, eventually, wait_until},
};
use serde_json::json;

const ALICE: &str = "alice@example.org";
const SOON: Duration = Duration::from_secs(20);

#[test]
fn an_imap_login_is_in_dovecots_log_with_the_clients_address_and_its_end() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Refused,
        &[ALICE],
    )?;
    for (tls, server, host) in [("starttls", dovecot.imap, 101), ("implicit", dovecot.imaps, 102)] {
        let before = Moment::now();
        let client = place.address(host);
        Login::imap(server, ALICE)
            .tls(tls, ca.pem())
            .from(client)
            .succeed()?;
        let session = eventually("the session is in the log", SOON, || {
            dovecot
                .sessions_of(ALICE)
                .into_iter()
                .find(|session| session.rip == client && session.ended.is_some())
        })?;
        assert_eq!(session.lip, place.server());
        assert!(
            session.began >= before && session.ended > Some(session.began),
            "{session:?}"
        );
    }
    let refused = Login::imap(dovecot.imap, ALICE).run()?;
    assert!(
        !refused.ok && refused.error.contains("PRIVACYREQUIRED"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_trusted_imap_id_sets_the_clients_address() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::Id, Plaintext::Allowed, &[ALICE])?;
    let id = json!({"x-originating-ip": "127.99.1.2", "x-originating-port": "4000", "x-connected-ip": "127.99.1.3",
                    "x-connected-port": "143", "x-proxy-ttl": "6", "x-session-id": "abc-1"});
    Login::imap(dovecot.imap, ALICE).with("id", id).succeed()?;
    let session = eventually("the session is in the log", SOON, || {
        dovecot.sessions_of(ALICE).pop()
    })?;
    assert_eq!(session.rip, "127.99.1.2".parse::<IpAddr>()?);
    assert_eq!(session.lip, "127.99.1.3".parse::<IpAddr>()?);
    assert_eq!(session.session, "abc-1");
    Ok(())
}

#[test]
fn a_proxy_header_sets_the_clients_address_for_imap_and_submission() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(&place, &ca, "new", Announce::Proxy, Plaintext::Refused, &[ALICE])?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Refused, "example.org")?;
    let header = json!(["127.99.1.2", 4000, "127.99.1.3", 993]);
    let told: IpAddr = "127.99.1.2".parse()?;
    Login::imap(dovecot.imaps, ALICE)
        .tls("implicit", ca.pem())
        .with("proxy_header", header.clone())
        .succeed()?;
    let session = eventually("the session is in the log", SOON, || {
        dovecot.sessions_of(ALICE).pop()
    })?;
    assert_eq!(session.rip, told);
    Login::submission(postfix.submission, ALICE)
        .tls("starttls", ca.pem())
        .with("proxy_header", header)
        .sending("<proxied@example.org>")
        .succeed()?;
    let accepted = eventually("the message is in the log", SOON, || postfix.accepted().pop())?;
    assert_eq!((accepted.client, accepted.user.as_str()), (told, ALICE));
    wait_until("it is delivered", SOON, || {
        dovecot
            .message_ids(ALICE)
            .is_ok_and(|ids| ids == ["<proxied@example.org>"])
    })
}

#[test]
fn a_trusted_xclient_sets_the_clients_address_of_a_submission() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::Id, Plaintext::Refused, &[ALICE])?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Refused, "example.org")?;
    Login::submission(postfix.submissions, ALICE)
        .tls("implicit", ca.pem())
        .with("xclient", json!({"ADDR": "127.99.1.2", "PORT": "4000"}))
        .sending("<xclient@example.org>")
        .succeed()?;
    let accepted = eventually("the message is in the log", SOON, || postfix.accepted().pop())?;
    assert_eq!(accepted.client, "127.99.1.2".parse::<IpAddr>()?);
    Ok(())
}

#[test]
fn mbsync_and_swaks_work_against_the_backends() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Allowed,
        &[ALICE],
    )?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Refused, "example.org")?;
    swaks(
        postfix.submission,
        place.address(105),
        ALICE,
        "PLAIN",
        "<swaks@example.org>",
    )?;
    wait_until("it is delivered", SOON, || {
        dovecot.message_ids(ALICE).is_ok_and(|ids| ids.len() == 1)
    })?;
    assert_eq!(
        mbsync(&place.folder("fetched")?, dovecot.imap, "plain", ca.pem(), ALICE)?,
        1
    );
    Ok(())
}

#[test]
fn the_copy_command_makes_the_target_mailbox_what_the_source_is() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let legacy = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Refused,
        &[ALICE],
    )?;
    let new = Dovecot::start(&place, &ca, "new", Announce::None, Plaintext::Allowed, &[ALICE])?;
    let postfix = Postfix::start(&place, &ca, &legacy, Plaintext::Refused, "example.org")?;
    let send = |id: &str| {
        Login::submission(postfix.submissions, ALICE)
            .tls("implicit", ca.pem())
            .sending(id)
            .succeed()
    };
    let copy = format!(
        "{}; {}",
        postfix.settle_command(),
        legacy.copy_command(ALICE, &new)
    );
    for round in 1..=2 {
        send(&format!("<{round}@example.org>"))?;
        let output = std::process::Command::new("sh").arg("-c").arg(&copy).output()?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(new.message_ids(ALICE)?, legacy.message_ids(ALICE)?);
        assert_eq!(new.message_ids(ALICE)?.len(), round);
    }
    // The servers' own indexes follow.
    assert_eq!(
        Login::imap(new.imaps, ALICE)
            .tls("implicit", ca.pem())
            .succeed()?
            .messages,
        2
    );
    Ok(())
}

#[test]
fn a_frozen_relay_holds_a_login_until_it_is_let_go() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Refused,
        &[ALICE],
    )?;
    let relay = DelayRelay::start(&place, dovecot.imaps)?;
    relay.set(Mode::Freeze);
    let mut client = Login::imap(relay.address, ALICE)
        .with("tls", "implicit")
        .start()?;
    wait_until("the relay holds the handshake", SOON, || relay.held_back() == 1)?;
    assert!(dovecot.sessions_of(ALICE).is_empty());
    relay.set(Mode::Pass);
    client.wait_in()?;
    assert!(client.leave()?.ok);
    Ok(())
}

#[test]
fn the_load_counts_what_the_backends_saw() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let bob = "bob@example.org";
    let dovecot = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Refused,
        &[ALICE, bob],
    )?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Refused, "example.org")?;
    let load = Load::start(
        &place,
        &ca,
        &[ALICE, bob],
        &[(dovecot.imaps, "implicit"), (dovecot.imap, "starttls")],
        &[(postfix.submission, "starttls")],
    )?;
    wait_until("there are logins", SOON, || load.logins() > 30)?;
    let seen = load.stop()?;
    assert_eq!(seen.failures, Vec::<serde_json::Value>::new());
    wait_until("all is delivered", SOON, || {
        postfix.queued().is_ok_and(|queued| queued == 0)
    })?;
    for account in [ALICE, bob] {
        let mut there = dovecot.message_ids(account)?;
        let mut sent = seen.accepted.get(account).cloned().unwrap_or_default();
        there.sort();
        sent.sort();
        assert!(!sent.is_empty());
        assert_eq!(there, sent);
    }
    Ok(())
}
