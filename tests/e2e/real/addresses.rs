//! As whom Dovecot and Postfix see a client that comes through a node: as itself.

use anyhow::{Context, Result};
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    dovecot::{Announce, Dovecot, Plaintext},
    lone::{Lone, Setup, destination},
    place::Place,
    postfix::Postfix,
    when::eventually,
};

use super::{ALICE, EVERY_LISTENER, SOON};

#[test]
fn xclient_and_id_tell_dovecot_and_postfix_the_clients_address_over_every_protocol_and_leg() -> Result<()> {
    servers_see_the_client(Announce::Id, "xclient")
}

#[test]
fn a_proxy_header_tells_dovecot_and_postfix_the_clients_address_over_every_protocol_and_leg() -> Result<()> {
    servers_see_the_client(Announce::Proxy, "proxy")
}

fn servers_see_the_client(announce: Announce, forwarding: &str) -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(&place, &ca, "legacy", announce, Plaintext::Allowed, &[ALICE])?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Allowed, "example.org")?;
    let mut host = 100;
    for (backend_leg, client_leg) in [
        ("implicit", "starttls"),
        ("starttls", "implicit"),
        ("plain", "implicit"),
    ] {
        let extra = format!("forwarding = \"{forwarding}\"\n");
        let setup = Setup {
            listeners: EVERY_LISTENER,
            tables: &destination(&dovecot, Some(&postfix), backend_leg, &extra),
            ..Setup::default()
        };
        let node = Lone::start(&place, &ca, setup)?;
        for protocol in ["imap", "pop3", "managesieve"] {
            host += 1;
            let client = place.address(host);
            let server = node.at(protocol, client_leg)?;
            let login = match protocol {
                "imap" => Login::imap(server, ALICE),
                "pop3" => Login::pop3(server, ALICE),
                _ => Login::sieve(server, ALICE),
            };
            login
                .tls(client_leg, ca.pem())
                .from(client)
                .succeed()
                .with_context(|| format!("{protocol} over {client_leg} and {backend_leg}\n{}", node.log()))?;
            let session = eventually("the session and its end are in the log", SOON, || {
                dovecot
                    .sessions_of(ALICE)
                    .into_iter()
                    .find(|session| session.rip == client && session.ended.is_some())
            })
            .with_context(|| format!("{protocol} over {backend_leg}\n{}", dovecot.log()))?;
            assert_eq!(session.protocol, protocol);
            // Over XCLIENT Dovecot does not learn it.
            if announce == Announce::Proxy || protocol == "imap" {
                assert_eq!(session.lip, server.ip(), "where the client thinks it is");
            }
        }
        host += 1;
        let client = place.address(host);
        Login::submission(node.at("submission", client_leg)?, ALICE)
            .tls(client_leg, ca.pem())
            .from(client)
            .sending(&format!("<{host}@example.org>"))
            .succeed()?;
        eventually("Postfix has taken it from the client", SOON, || {
            postfix
                .accepted()
                .into_iter()
                .find(|mail| mail.client == client && mail.user == ALICE)
        })?;
    }
    // Nobody else has signed in: the node itself is nobody.
    let strangers: Vec<_> = dovecot
        .sessions()
        .into_iter()
        .filter(|session| !(101..=host).any(|host| session.rip == place.address(host)))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    Ok(())
}
