//! Long silence: a session lives as long as either side says something within `bridge_idle`, and ends behind it.

use std::time::{Duration, Instant};

use anyhow::Result;
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    lone::{Lone, Setup, destination},
    place::Place,
    raw::{Raw, Role},
    when::{eventually, wait_until},
};

use super::{ALICE, SOON};

/// As `bridge_idle` is set here; in the field it is half an hour.
const BRIDGE_IDLE: Duration = Duration::from_secs(5);

#[test]
fn an_idle_outlives_the_idle_limit_while_mail_comes_and_ends_behind_it_in_silence() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::Id, Plaintext::Refused, &[ALICE])?;
    let setup = Setup {
        listeners: &[("imap", "implicit")],
        server: "bridge_idle = \"5s\"\n",
        tables: &destination(&dovecot, None, "implicit", "forwarding = \"xclient\"\n"),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let mut raw = Raw::connect(node.at("imap", "implicit")?)?;
    raw.tls(Role::Client(ca.pem()))?;
    let dialogue = format!(
        "S: * OK …\nC: a LOGIN {ALICE} secret\nS: a OK …\nC: b SELECT INBOX\nS: * FLAGS…\nS: * OK …\nS: * 0 EXISTS\n\
         S: * 0 RECENT\nS: * OK …\nS: * OK …\nS: b OK …\nC: c IDLE\nS: + idling"
    );
    raw.play(Role::Client(ca.pem()), &dialogue)?;
    // Twice as long as the limit, with a message now and then.
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < BRIDGE_IDLE * 2 {
        count += 1;
        dovecot.deliver(ALICE, &format!("Subject: {count}\n\nx\n"))?;
        raw.play(
            Role::Client(ca.pem()),
            &format!("S: * {count} EXISTS\nS: * {count} RECENT"),
        )?;
        std::thread::sleep(BRIDGE_IDLE / 8);
    }
    assert!(count > 4, "{count}");
    // Nothing more comes: the node ends it, on both sides.
    raw.play(Role::Client(ca.pem()), "END")?;
    eventually("Dovecot's session has ended", SOON, || {
        dovecot.sessions_of(ALICE).pop()?.ended
    })?;
    wait_until("the node says why", SOON, || node.log().contains("reason=idle"))
}
