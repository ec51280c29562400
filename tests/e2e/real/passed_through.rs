//! Mail that comes from other servers, passed through to Postfix and over LMTP to Dovecot.

use anyhow::Result;
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    lone::{Lone, Setup, destination},
    place::Place,
    postfix::Postfix,
    programs::swaks_relay,
    when::eventually,
};

use super::{ALICE, SOON};

const ROUTING: &str = "smtp_passthrough_destination = \"legacy\"\n";

#[test]
fn mail_is_passed_through_with_the_senders_own_starttls_and_address() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::Proxy,
        Plaintext::Refused,
        &[ALICE],
    )?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Refused, "example.org")?;
    let setup = Setup {
        listeners: &[("smtp", "plain"), ("smtp", "implicit"), ("lmtp", "plain")],
        routing: ROUTING,
        tables: &destination(&dovecot, Some(&postfix), "implicit", ""),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let sender = place.address(140);
    let smtp = node.at("smtp", "plain")?;
    for tls in ["plain", "starttls"] {
        let id = format!("<{tls}@elsewhere.test>");
        let said = swaks_relay(smtp, "ESMTP", tls, sender, ALICE, &id)?.succeed()?;
        // It is Postfix that is spoken to, also within TLS.
        assert!(said.contains("220 legacy.test ESMTP"), "{said}");
        if tls == "starttls" {
            assert!(said.contains("CN=legacy.test"), "{said}");
        }
    }
    assert_eq!(postfix.relayed_from(), [sender, sender]);
    let deliverer = place.address(141);
    let lmtp = node.at("lmtp", "plain")?;
    swaks_relay(lmtp, "LMTP", "plain", deliverer, ALICE, "<lmtp@elsewhere.test>")?.succeed()?;
    assert!(
        dovecot.log().contains(&format!("Connect from {deliverer}")),
        "{}",
        dovecot.log()
    );
    eventually("all three are there", SOON, || {
        let mut there = dovecot.message_ids(ALICE).ok()?;
        there.sort();
        let expected = [
            "<lmtp@elsewhere.test>",
            "<plain@elsewhere.test>",
            "<starttls@elsewhere.test>",
        ];
        (there == expected).then_some(())
    })
}

#[test]
fn mail_that_is_passed_through_where_no_header_is_wanted_comes_from_the_node() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::Id, Plaintext::Refused, &[ALICE])?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Refused, "example.org")?;
    let node_itself = place.address(88);
    let extra = format!("forwarding = \"xclient\"\nsource_ips = [\"{node_itself}\"]\n");
    let setup = Setup {
        listeners: &[("smtp", "plain")],
        routing: ROUTING,
        tables: &destination(&dovecot, Some(&postfix), "implicit", &extra),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let smtp = node.at("smtp", "plain")?;
    swaks_relay(
        smtp,
        "ESMTP",
        "starttls",
        place.address(140),
        ALICE,
        "<1@elsewhere.test>",
    )?
    .succeed()?;
    assert_eq!(postfix.relayed_from(), [node_itself]);
    Ok(())
}
