//! Mail programs that people use, each against a node with real servers behind it.

use anyhow::{Context, Result};
use mailswitch_tests::{
    ca::Ca,
    client::{mbsync, swaks},
    dovecot::{Announce, Dovecot, Plaintext},
    lone::{Lone, Setup, destination},
    place::Place,
    postfix::Postfix,
    programs::{Account, Fetch, fetchmail, msmtp, sieve_connect},
    when::eventually,
};

use super::{ALICE, EVERY_LISTENER, SOON};

#[test]
fn mbsync_fetchmail_msmtp_swaks_and_sieve_connect_work_and_are_seen_as_themselves() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::Id, Plaintext::Refused, &[ALICE])?;
    let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Refused, "example.org")?;
    // Some of them cannot be told where to connect from: the node can.
    let node_itself = place.address(88);
    let extra = format!("forwarding = \"xclient\"\nsource_ips = [\"{node_itself}\"]\n");
    let setup = Setup {
        listeners: EVERY_LISTENER,
        tables: &destination(&dovecot, Some(&postfix), "starttls", &extra),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let account = |protocol: &str, tls: &'static str| -> Result<Account<'_>> {
        Ok(Account {
            server: node.at(protocol, tls)?,
            tls,
            ca: ca.pem(),
            user: ALICE,
            password: "secret",
        })
    };

    let mut sent = Vec::new();
    for (number, tls) in ["starttls", "implicit"].into_iter().enumerate() {
        for mechanism in ["plain", "login"] {
            let id = format!("<msmtp-{tls}-{mechanism}@example.org>");
            let source = place.address(110 + u8::try_from(number)?);
            msmtp(account("submission", tls)?, source, mechanism, &id)?.succeed()?;
            assert_eq!(postfix.accepted().last().context("a message")?.client, source);
            sent.push(id);
        }
    }
    let (source, id) = (place.address(115), "<swaks@example.org>".to_owned());
    swaks(node.at("submission", "starttls")?, source, ALICE, "LOGIN", &id)?;
    assert_eq!(postfix.accepted().last().context("a message")?.client, source);
    sent.push(id);
    sent.sort();
    eventually("all is delivered", SOON, || {
        let mut there = dovecot.message_ids(ALICE).ok()?;
        there.sort();
        (there == sent).then_some(())
    })?;

    for tls in ["starttls", "implicit"] {
        let directory = place.folder(&format!("mbsync-{tls}"))?;
        let fetched = mbsync(&directory, node.at("imap", tls)?, tls, ca.pem(), ALICE)?;
        assert_eq!(fetched, sent.len(), "mbsync over {tls}");
        for protocol in ["imap", "pop3"] {
            let directory = place.folder(&format!("fetchmail-{protocol}-{tls}"))?;
            fetchmail(&directory, protocol, account(protocol, tls)?, Fetch::All)?.succeed()?;
            let fetched = std::fs::read_to_string(directory.join("fetched"))?;
            for id in &sent {
                assert!(fetched.contains(id), "{protocol} over {tls}: {id} in {fetched}");
            }
        }
    }

    let script = place.path().join("script.sieve");
    std::fs::write(&script, "require \"fileinto\";\nfileinto \"x\";\n")?;
    let script = script.display().to_string();
    let sieve = account("managesieve", "starttls")?;
    sieve_connect(
        sieve,
        &["--upload", "--localsieve", &script, "--remotesieve", "rules"],
    )?
    .succeed()?;
    sieve_connect(sieve, &["--activate", "--remotesieve", "rules"])?.succeed()?;
    let listed = sieve_connect(sieve, &["--list"])?.succeed()?;
    assert!(listed.contains("\"rules\" ACTIVE"), "{listed}");

    let sessions = dovecot.sessions();
    for protocol in ["imap", "pop3", "managesieve"] {
        assert!(sessions.iter().any(|session| session.protocol == protocol));
    }
    let as_the_node: Vec<_> = sessions
        .iter()
        .filter(|session| session.rip == node_itself)
        .collect();
    assert!(as_the_node.is_empty(), "{as_the_node:?}");
    Ok(())
}

#[test]
fn fetchmail_takes_a_dead_backend_over_pop3_for_busy_and_not_for_a_wrong_password() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dead = place.port(place.server())?;
    let table = format!(
        "[destination.legacy]\nhost = \"{}\"\nforwarding = \"none\"\nallow_plaintext_auth = true\n\
         [destination.legacy.protocol]\npop3 = {{ port = {}, tls = \"plain\" }}\n",
        dead.ip(),
        dead.port(),
    );
    let setup = Setup {
        listeners: &[("pop3", "implicit")],
        tables: &table,
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let account = Account {
        server: node.at("pop3", "implicit")?,
        tls: "implicit",
        ca: ca.pem(),
        user: ALICE,
        password: "secret",
    };
    let ran = fetchmail(&place.folder("fetchmail")?, "pop3", account, Fetch::All)?;
    // 3 would be an authentication failure: it writes to the user then, and gives up in the end.
    assert_eq!(ran.code, 9, "{}", ran.said);
    assert!(ran.said.contains("[SYS/TEMP]"), "{}", ran.said);
    Ok(())
}
