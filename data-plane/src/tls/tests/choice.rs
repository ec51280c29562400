//! Which certificate a name gets, and what is said of files that hold none.

use super::*;

#[tokio::test]
async fn the_certificate_is_chosen_by_name_then_parent_then_default() {
    let files = Files::new();
    let (exact, exact_print) = files.certificate("exact", &["mail.example.org"]);
    let (parent, parent_print) = files.certificate("parent", &["*.example.org"]);
    let (mut default, default_print) = files.certificate("default", &["other.test"]);
    default.default = true;
    let server = server(&[exact, parent, default]);
    assert!(shows(&server, "MAIL.example.org", exact_print).await);
    assert!(shows(&server, "imap.example.org", parent_print).await);
    assert!(
        shows(&server, "a.b.example.org", default_print).await,
        "one label only"
    );
    assert!(shows(&server, "unknown.test", default_print).await);
    assert!(!shows(&server, "mail.example.org", default_print).await);
}

#[tokio::test]
async fn a_domains_own_certificate_serves_its_hosts_and_a_wildcard_never_stands_in_for_the_domain() {
    let files = Files::new();
    let (domain, domain_print) = files.certificate("domain", &["example.org"]);
    let (wildcard, wildcard_print) = files.certificate("wildcard", &["*.example.org"]);
    let (mut other, other_print) = files.certificate("other", &["other.test"]);
    other.default = true;
    let without = server(&[domain.clone(), other.clone()]);
    assert!(shows(&without, "imap.example.org", domain_print).await);
    for certificates in [
        [domain.clone(), wildcard.clone(), other.clone()],
        [wildcard.clone(), domain, other.clone()],
    ] {
        let both = server(&certificates);
        assert!(shows(&both, "example.org", domain_print).await);
        assert!(shows(&both, "imap.example.org", wildcard_print).await);
    }
    let only_wildcard = server(&[wildcard, other]);
    assert!(shows(&only_wildcard, "example.org", other_print).await);
}

#[tokio::test]
async fn configured_subjects_replace_the_names_of_the_leaf_and_the_only_certificate_serves_every_name() {
    let files = Files::new();
    let (mut a, a_print) = files.certificate("a", &["a.test"]);
    let (b, b_print) = files.certificate("b", &["b.test"]);
    a.subjects = vec!["Mail.Test".to_owned()];
    let two = server(&[a, b.clone()]);
    assert!(shows(&two, "mail.test", a_print).await);
    assert!(
        !shows(&two, "a.test", a_print).await,
        "a self-signed one is shown"
    );
    assert!(two.may_show_self_signed());
    let one = server(&[b]);
    assert!(shows(&one, "anything.test", b_print).await);
    assert!(!one.may_show_self_signed());
}

#[tokio::test]
async fn a_subject_of_a_star_is_the_default_and_a_leaf_without_dns_names_has_its_common_name() {
    let files = Files::new();
    let (old, old_print) = files.certificate("old.test", &[]);
    let (mut star, star_print) = files.certificate("star", &["star.test"]);
    star.subjects = vec!["*".to_owned()];
    let server = server(&[old, star]);
    assert!(shows(&server, "old.test", old_print).await);
    assert!(shows(&server, "unknown.test", star_print).await);
}

#[tokio::test]
async fn a_client_that_asks_for_no_name_is_shown_the_default() {
    let files = Files::new();
    let (other, _) = files.certificate("other", &["other.test"]);
    let (mut default, print) = files.certificate("default", &["mail.test"]);
    default.default = true;
    let config = foreign(
        rustls::crypto::aws_lc_rs::default_provider(),
        &[&rustls::version::TLS13],
    );
    let no_name = ServerName::try_from("192.0.2.1").expect("an address");
    let stream = foreign_handshake(config, no_name, &server(&[other, default])).await;
    let stream = stream.expect("a handshake");
    let shown = stream.get_ref().1.peer_certificates().expect("a certificate");
    assert_eq!(<[u8; 32]>::from(Sha256::digest(&shown[0])), print);
}

#[tokio::test]
async fn without_any_certificate_a_self_signed_one_is_shown_and_nobody_believes_it() {
    let server = server(&[]);
    assert!(server.may_show_self_signed());
    assert!(
        handshake(&client("localhost", Verification::None), &server)
            .await
            .is_ok()
    );
    assert!(
        handshake(&client("localhost", Verification::Platform), &server)
            .await
            .is_err()
    );
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let files = Files::new();
    let (a, _) = files.certificate("a", &["a.test"]);
    let (b, _) = files.certificate("b", &["b.test"]);
    let broken = |certificate: Certificate| {
        let error = ServerTls::new(&settings(&[certificate], TlsProtocols::default()));
        error.expect_err("it cannot be used").to_string()
    };
    let missing = Certificate {
        cert: PathBuf::from("/nowhere/chain.pem"),
        ..a.clone()
    };
    assert!(broken(missing).contains("/nowhere/chain.pem"));
    let no_key = Certificate {
        key: a.cert.clone(),
        ..a.clone()
    };
    assert!(broken(no_key).contains("a.pem"));
    let no_certificate = Certificate {
        cert: a.key.clone(),
        ..a.clone()
    };
    assert!(broken(no_certificate).contains("a.key"));
    let others_key = Certificate { key: b.key, ..a };
    let said = broken(others_key);
    assert!(said.contains("b.key") && said.contains("a.pem"), "{said}");
}
