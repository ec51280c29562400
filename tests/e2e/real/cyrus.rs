//! Cyrus IMAP behind a node. It knows neither XCLIENT nor a PROXY header: it sees the node, whatever it is told.

use anyhow::Result;
use mailswitch_tests::{
    ca::Ca,
    client::{Login, mbsync},
    cyrus::Cyrus,
    lone::{Lone, Setup},
    place::Place,
    programs::{Account, Fetch, fetchmail, sieve_connect},
};

use super::{ALICE, EVERY_LISTENER};

#[test]
fn an_imap_client_reads_its_mail_on_cyrus_over_every_kind_of_leg() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let cyrus = Cyrus::start(&place, &ca, "cyrus", &[ALICE])?;
    let node_itself = place.address(88);
    for tls in ["implicit", "starttls", "plain"] {
        // It offers ID, and believes nothing of it.
        let table = format!(
            "[destination.legacy]\nhost = \"{}\"\ntls_server_name = \"cyrus.test\"\nforwarding = \"xclient\"\n\
             source_ips = [\"{node_itself}\"]\nallow_plaintext_auth = true\n[destination.legacy.protocol]\n\
             imap = {{ port = {}, tls = \"{tls}\" }}\n",
            cyrus.imap.ip(),
            if tls == "implicit" {
                cyrus.imaps.port()
            } else {
                cyrus.imap.port()
            },
        );
        let setup = Setup {
            listeners: &[("imap", "implicit"), ("imap", "starttls")],
            tables: &table,
            ..Setup::default()
        };
        let node = Lone::start(&place, &ca, setup)?;
        for (leg, sasl) in [("implicit", ""), ("implicit", "plain"), ("starttls", "login")] {
            let client = Login::imap(node.at("imap", leg)?, ALICE)
                .tls(leg, ca.pem())
                .with("sasl", sasl)
                .from(place.address(77))
                .stay()?;
            let seen = cyrus.connected()?;
            assert!(
                seen.iter()
                    .any(|who| who.user == ALICE && who.client == node_itself),
                "{tls} {leg} {sasl}: {seen:?}"
            );
            assert!(client.leave()?.ok);
        }
    }
    Ok(())
}

#[test]
fn pop3_and_managesieve_clients_and_programs_work_on_cyrus() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let cyrus = Cyrus::start(&place, &ca, "cyrus", &[ALICE])?;
    cyrus.deliver(ALICE, "Message-ID: <1@x.test>\r\nFrom: x@x.test\r\n\r\nx\r\n")?;
    let table = format!(
        "[destination.legacy]\nhost = \"{}\"\ntls_server_name = \"cyrus.test\"\nforwarding = \"xclient\"\n\
         allow_plaintext_auth = true\n[destination.legacy.protocol]\n\
         imap = {{ port = {}, tls = \"implicit\" }}\npop3 = {{ port = {}, tls = \"starttls\" }}\n\
         managesieve = {{ port = {}, tls = \"starttls\" }}\n",
        cyrus.imap.ip(),
        cyrus.imaps.port(),
        cyrus.pop3.port(),
        cyrus.sieve.port(),
    );
    let listeners = &EVERY_LISTENER[..6];
    let setup = Setup {
        listeners,
        tables: &table,
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    for tls in ["implicit", "starttls"] {
        let pop3 = Login::pop3(node.at("pop3", tls)?, ALICE).tls(tls, ca.pem());
        assert_eq!(pop3.succeed()?.messages, 1);
        Login::sieve(node.at("managesieve", tls)?, ALICE)
            .tls(tls, ca.pem())
            .succeed()?;
        let directory = place.folder(&format!("mbsync-{tls}"))?;
        assert_eq!(
            mbsync(&directory, node.at("imap", tls)?, tls, ca.pem(), ALICE)?,
            1
        );
        for protocol in ["imap", "pop3"] {
            let directory = place.folder(&format!("fetchmail-{protocol}-{tls}"))?;
            let account = Account {
                server: node.at(protocol, tls)?,
                tls,
                ca: ca.pem(),
                user: ALICE,
                password: "secret",
            };
            fetchmail(&directory, protocol, account, Fetch::All)?.succeed()?;
            let fetched = std::fs::read_to_string(directory.join("fetched"))?;
            assert!(fetched.contains("<1@x.test>"), "{protocol} over {tls}: {fetched}");
        }
    }
    let sieve = Account {
        server: node.at("managesieve", "starttls")?,
        tls: "starttls",
        ca: ca.pem(),
        user: ALICE,
        password: "secret",
    };
    let listed = sieve_connect(sieve, &["--list"])?.succeed()?;
    assert!(listed.contains("\"of the tests\" ACTIVE"), "{listed}");
    Ok(())
}
