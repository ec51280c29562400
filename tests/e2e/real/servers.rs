//! The servers themselves, without a node: what the other tests rely on is shown to hold.

use std::net::IpAddr;

use anyhow::Result;
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    cyrus::Cyrus,
    dovecot::{Announce, Dovecot, Plaintext},
    place::Place,
    postfix::Postfix,
    raw::{Raw, Role},
    when::eventually,
};
use serde_json::json;

use super::{ALICE, SOON};

#[test]
fn a_pop3_and_a_managesieve_login_are_in_dovecots_log_with_their_ends() -> Result<()> {
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
    for (number, (protocol, tls, login)) in [
        ("pop3", "starttls", Login::pop3(dovecot.pop3, ALICE)),
        ("pop3", "implicit", Login::pop3(dovecot.pop3s, ALICE)),
        ("managesieve", "starttls", Login::sieve(dovecot.sieve, ALICE)),
        ("managesieve", "implicit", Login::sieve(dovecot.sieves, ALICE)),
    ]
    .into_iter()
    .enumerate()
    {
        let client = place.address(101 + u8::try_from(number)?);
        login.tls(tls, ca.pem()).from(client).succeed()?;
        let session = eventually("the session and its end are in the log", SOON, || {
            dovecot
                .sessions_of(ALICE)
                .into_iter()
                .find(|session| session.rip == client && session.ended.is_some())
        })?;
        assert_eq!(session.protocol, protocol);
    }
    Ok(())
}

#[test]
fn a_proxy_header_sets_the_clients_address_for_pop3_managesieve_and_port_25() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(&place, &ca, "new", Announce::Proxy, Plaintext::Refused, &[ALICE])?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Refused, "example.org")?;
    let told: IpAddr = "127.99.1.2".parse()?;
    for login in [
        Login::pop3(dovecot.pop3s, ALICE).tls("implicit", ca.pem()),
        Login::sieve(dovecot.sieve, ALICE).tls("starttls", ca.pem()),
    ] {
        login
            .with("proxy_header", json!(["127.99.1.2", 4000, "127.99.1.3", 995]))
            .succeed()?;
    }
    eventually("both are in the log", SOON, || {
        let sessions = dovecot.sessions_of(ALICE);
        (sessions.len() == 2 && sessions.iter().all(|session| session.rip == told)).then_some(())
    })?;
    let mut raw = Raw::connect(postfix.smtp)?;
    raw.send("PROXY TCP4 127.99.1.2 127.99.1.3 4000 25\r\n")?;
    raw.play(
        Role::Client(ca.pem()),
        &format!(
            "S: 220 …\nC: HELO mx.test\nS: 250 …\nC: MAIL FROM:<x@x.test>\nS: 250 …\nC: RCPT TO:<{ALICE}>\nS: 250 …\n\
             C: DATA\nS: 354 …\nC: Message-ID: <25@x.test>\nC: \nC: .\nS: 250 …\nC: QUIT\nS: 221 …\nEND"
        ),
    )?;
    assert_eq!(postfix.relayed_from(), [told]);
    eventually("Postfix has delivered it over LMTP", SOON, || {
        (dovecot.message_ids(ALICE).ok()? == ["<25@x.test>"]).then_some(())
    })
}

#[test]
fn cyrus_serves_imap_pop3_managesieve_lmtp_and_jmap() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let cyrus = Cyrus::start(&place, &ca, "cyrus", &[ALICE])?;
    cyrus.deliver(ALICE, "Message-ID: <1@x.test>\r\nFrom: x@x.test\r\n\r\nx\r\n")?;
    let client = place.address(102);
    let imap = Login::imap(cyrus.imaps, ALICE)
        .tls("implicit", ca.pem())
        .from(client)
        .stay()?;
    let connected = cyrus.connected()?;
    assert!(
        connected
            .iter()
            .any(|who| who.service == "imaps" && who.client == client && who.user == ALICE),
        "{connected:?}"
    );
    let outcome = imap.leave()?;
    assert!(outcome.ok && outcome.messages == 1, "{outcome:?}");
    let pop3 = Login::pop3(cyrus.pop3, ALICE).tls("starttls", ca.pem());
    assert_eq!(pop3.succeed()?.messages, 1);
    Login::sieve(cyrus.sieve, ALICE)
        .tls("starttls", ca.pem())
        .succeed()?;
    let curl = std::process::Command::new("curl")
        .args([
            "-sS",
            "--fail",
            "--location",
            "--user",
            &format!("{ALICE}:secret"),
        ])
        .arg("--cacert")
        .arg(ca.pem())
        .arg(format!("https://{}/.well-known/jmap", cyrus.https))
        .output()?;
    let said = String::from_utf8_lossy(&curl.stdout);
    assert!(
        said.contains("urn:ietf:params:jmap:mail") && said.contains(ALICE),
        "{said}{}",
        String::from_utf8_lossy(&curl.stderr)
    );
    Ok(())
}
