//! Cyrus IMAP behind a node. It knows neither XCLIENT nor a PROXY header: it sees the node, whatever it is told.

use anyhow::Result;
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    cyrus::Cyrus,
    lone::{Lone, Setup},
    place::Place,
};

use super::ALICE;

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
