//! Certificates on both legs while the node runs: replaced on disk, broken on disk, and demanded by a backend.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context, ensure};
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    dovecot::{Announce, Plaintext},
    when::eventually,
};

use super::*;

/// The SHA-256 of the certificate that OpenSSL is shown.
fn shown(server: SocketAddr, name: &str) -> Result<String> {
    let script = format!(
        "openssl s_client -connect {server} -servername {name} </dev/null 2>/dev/null \
         | openssl x509 -noout -fingerprint -sha256"
    );
    let output = Command::new("sh").arg("-c").arg(script).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (_, fingerprint) = text.trim().split_once('=').context(text.clone())?;
    Ok(fingerprint.replace(':', "").to_lowercase())
}

/// A page of the node's own.
fn metrics(server: SocketAddr) -> Result<String> {
    let mut tcp = TcpStream::connect(server)?;
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    tcp.read_to_string(&mut page)?;
    Ok(page)
}

#[test]
fn a_certificate_that_is_renewed_on_disk_is_shown_to_the_next_client_and_a_broken_one_is_not() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let address = place.address(2);
    let [imap, page] = [place.port(address)?, place.port(address)?];
    let dovecot = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Allowed,
        &[ALICE],
    )?;
    // As tools lay certificates out: a link to the directory of the day.
    let live = place.path().join("live");
    let first = ca.issue(&place.folder("1")?, "node.test", address)?;
    std::os::unix::fs::symlink("1", &live)?;
    let tables = certificate_table(&live)
        + &format!("[metrics]\nbind = \"{page}\"\n")
        + &imap_of("legacy", &dovecot, "implicit", "");
    let path = file(&place, imap, "implicit", &tables)?;
    let mut command = command()?;
    command.arg(&path).env("SSL_CERT_FILE", ca.pem());
    let node = start(&place, command, imap)?;
    assert_eq!(shown(imap, "node.test")?, first.fingerprint);
    let session = Login::imap(imap, ALICE).tls("implicit", ca.pem()).stay()?;

    // Another target of the link, in one step.
    let second = ca.issue(&place.folder("2")?, "node.test", address)?;
    std::os::unix::fs::symlink("2", place.path().join("next"))?;
    std::fs::rename(place.path().join("next"), &live)?;
    eventually("the second is shown", SOON, || {
        (shown(imap, "node.test").ok()? == second.fingerprint).then_some(())
    })?;

    // A file that is no certificate, then one without its key.
    let third = ca.issue(&place.folder("3")?, "node.test", address)?;
    let said = "the certificate on disk cannot be used";
    let complaints = || node.output().matches(said).count();
    std::fs::write(place.path().join("2/cert.pem"), "renewing, please wait")?;
    eventually("it is said", SOON, || (complaints() == 1).then_some(()))?;
    std::fs::copy(&third.cert, place.path().join("2/cert.pem"))?;
    eventually("it is said", SOON, || (complaints() == 2).then_some(()))?;
    assert_eq!(shown(imap, "node.test")?, second.fingerprint);
    assert!(node.output().contains("2/key.pem") || node.output().contains("live/key.pem"));

    // Renamed over the old ones, one after the other.
    std::fs::rename(&third.key, place.path().join("2/key.pem"))?;
    eventually("the third is shown", SOON, || {
        (shown(imap, "node.test").ok()? == third.fingerprint).then_some(())
    })?;
    assert_eq!(complaints(), 2, "each was said once");
    let log = node.output();
    assert_eq!(
        log.matches("the certificate was replaced on disk").count(),
        2,
        "{log}"
    );
    let page = metrics(page)?;
    assert!(
        page.lines().any(|line| {
            line.starts_with("mail_tls_certificate_not_after_seconds{mail_certificate=\"public\"")
                && !line.ends_with(" 0")
        }),
        "{page}"
    );
    ensure!(session.leave()?.ok, "who was in stays in");
    Ok(())
}

/// Dovecot takes logins only over connections that showed a certificate of the authority.
fn demand_certificates(dovecot: &Dovecot, ca: &Ca) -> Result<()> {
    let config = dovecot.directory.join("dovecot.conf");
    let text = std::fs::read_to_string(&config)?;
    let demands = format!(
        "ssl_ca = <{}\nssl_verify_client_cert = yes\nauth_ssl_require_client_cert = yes\nssl_require_crl = no\n",
        ca.pem().display()
    );
    std::fs::write(&config, text + &demands)?;
    dovecot.doveadm(&["reload"])?;
    Ok(())
}

#[test]
fn a_backend_that_demands_a_certificate_is_shown_the_one_that_is_on_disk_now() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let address = place.address(2);
    let imap = place.port(address)?;
    let (bob, carol) = ("bob@example.org", "carol@example.org");
    let users = [ALICE, bob, carol];
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::None, Plaintext::Allowed, &users)?;
    demand_certificates(&dovecot, &ca)?;
    let public = place.folder("public")?;
    ca.issue(&public, "node.test", address)?;
    let ours = place.folder("ours")?;
    ca.issue(&ours, "proxy.test", address)?;
    let keys = format!(
        "tls_client_cert = \"{0}/cert.pem\"\ntls_client_key = \"{0}/key.pem\"\n",
        ours.display()
    );
    let tables = certificate_table(&public)
        + &imap_of("legacy", &dovecot, "implicit", &keys)
        + &imap_of("starttls", &dovecot, "starttls", &keys)
        + &imap_of("without", &dovecot, "implicit", "");
    let path = file(&place, imap, "implicit", &tables)?;
    std::fs::write(
        place.path().join("moved.tsv"),
        format!("{bob} starttls\n{carol} without\n"),
    )?;
    let mut command = command()?;
    command.arg(&path).env("SSL_CERT_FILE", ca.pem());
    let node = start(&place, command, imap)?;
    let gets_in =
        |user: &str| -> Result<bool> { Ok(Login::imap(imap, user).tls("implicit", ca.pem()).run()?.ok) };
    // The reload of Dovecot is not at once.
    eventually("who shows none is refused", SOON, || {
        gets_in(carol).is_ok_and(|ok| !ok).then_some(())
    })
    .with_context(|| dovecot.log())?;
    for _ in 0..3 {
        for user in [ALICE, bob] {
            ensure!(gets_in(user)?, "{user}: {}\n{}", node.output(), dovecot.log());
        }
    }

    // One of an authority that Dovecot does not know: also a session from before must not get in with it.
    let strangers = place.folder("strangers")?;
    let strange = Ca::new(&strangers)?.issue(&strangers, "proxy.test", address)?;
    let replace = |from: &Path, name: &str| -> Result<()> {
        std::fs::copy(from, ours.join("next"))?;
        Ok(std::fs::rename(ours.join("next"), ours.join(name))?)
    };
    let mine = place.folder("mine")?;
    for name in ["cert.pem", "key.pem"] {
        std::fs::copy(ours.join(name), mine.join(name))?;
    }
    replace(&strange.cert, "cert.pem")?;
    replace(&strange.key, "key.pem")?;
    for user in [ALICE, bob] {
        eventually("the stranger is refused", SOON, || {
            gets_in(user).is_ok_and(|ok| !ok).then_some(())
        })?;
    }
    replace(&mine.join("cert.pem"), "cert.pem")?;
    replace(&mine.join("key.pem"), "key.pem")?;
    for user in [ALICE, bob] {
        eventually("ours is shown again", SOON, || gets_in(user).ok()?.then_some(()))?;
    }
    Ok(())
}
