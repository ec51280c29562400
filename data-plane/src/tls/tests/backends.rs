//! What we believe of backends, and what we show them.

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

/// A backend's side; what it knows of the client.
async fn meets(client: &ClientTls, config: ServerConfig) -> Result<Option<[u8; 32]>, UpgradeError> {
    let (ours, theirs) = sockets().await;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (ours, theirs) = tokio::join!(
        async {
            let (mut ours, _) = client.upgrade(Stream::plain(ours), boundary()).await?;
            // A refusal of the client's certificate comes behind the client's own last word.
            let read = ours.read_exact(&mut [0; 4]).await;
            read.map_err(UpgradeError::Handshake)
        },
        async {
            let mut theirs = acceptor.accept(theirs).await?;
            theirs.write_all(b"* OK").await?;
            theirs.flush().await?;
            Ok::<_, std::io::Error>(theirs)
        }
    );
    ours?;
    let theirs = theirs.map_err(UpgradeError::Handshake)?;
    let shown = theirs.get_ref().1.peer_certificates();
    Ok(shown
        .and_then(|chain| chain.first())
        .map(|leaf| Sha256::digest(leaf).into()))
}

fn chain(certificate: &Certificate) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_file(&certificate.cert).expect("a certificate")]
}

fn key(certificate: &Certificate) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(&certificate.key).expect("a key")
}

/// Takes only clients that show one of these certificates.
fn demanding(own: &Certificate, clients: &[&Certificate]) -> ServerConfig {
    let mut roots = rustls::RootCertStore::empty();
    for client in clients {
        roots.add(chain(client).remove(0)).expect("an authority");
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(chain(own), key(own))
        .expect("a certificate")
}

#[tokio::test]
async fn a_pin_refuses_every_other_leaf_whatever_its_name_and_date() {
    let files = Files::new();
    let mut params = CertificateParams::new(["elsewhere.test".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let (expired, print) = files.sign("expired", params);
    let server = server(&[expired]);
    assert!(shows(&server, "mail.test", print).await);
    assert!(!shows(&server, "mail.test", [0; 32]).await);
    assert!(
        handshake(&client("mail.test", Verification::Platform), &server)
            .await
            .is_err()
    );
}

/// A certificate is public: without its key it proves nothing.
#[tokio::test]
async fn whoever_copied_the_pinned_certificate_without_its_key_is_refused() {
    let files = Files::new();
    let (real, print) = files.certificate("real", &["mail.test"]);
    let (thief, _) = files.certificate("thief", &["mail.test"]);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let provider = default_provider();
        let stolen = CertifiedKey::new(
            chain(&real),
            provider
                .key_provider
                .load_private_key(key(&thief))
                .expect("a key"),
        );
        let config = || {
            ServerConfig::builder_with_provider(Arc::new(default_provider()))
                .with_protocol_versions(&[version])
                .expect("a version")
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(stolen.clone())))
        };
        let pinned = client("mail.test", Verification::Pinned(print.into()));
        assert!(meets(&pinned, config()).await.is_err());
        let lax = client("mail.test", Verification::None);
        assert!(meets(&lax, config()).await.is_ok(), "no verification at all");
    }
}

#[tokio::test]
async fn a_backend_that_demands_a_certificate_is_shown_the_destinations() {
    let files = Files::new();
    let (backend, _) = files.certificate("backend", &["mail.test"]);
    let (ours, print) = files.certificate("ours", &["proxy.test"]);
    let (other, _) = files.certificate("other", &["other.test"]);
    let mut with = destination("mail.test", Verification::None);
    assert!(meets(&leg(&with), demanding(&backend, &[&ours])).await.is_err());
    with.client_certificate = Some(ClientCertificate {
        cert: ours.cert.clone(),
        key: ours.key.clone(),
    });
    let seen = meets(&leg(&with), demanding(&backend, &[&ours])).await;
    assert_eq!(seen.expect("a handshake"), Some(print));
    assert!(meets(&leg(&with), demanding(&backend, &[&other])).await.is_err());
}

#[test]
fn a_client_certificate_that_cannot_be_used_is_an_error_at_once() {
    let files = Files::new();
    let (ours, _) = files.certificate("ours", &["proxy.test"]);
    let (other, _) = files.certificate("other", &["proxy.test"]);
    for (cert, key, named) in [
        (
            PathBuf::from("/nowhere/client.pem"),
            ours.key.clone(),
            "/nowhere/client.pem",
        ),
        (ours.cert, other.key, "other.key"),
    ] {
        let mut destination = destination("a.test", Verification::None);
        destination.client_certificate = Some(ClientCertificate { cert, key });
        let error = ClientTls::new(&destination, &mut PlatformTrust::default()).expect_err("unusable");
        let said = crate::error_chain(&error);
        assert!(said.contains(named), "{said}");
    }
}

#[tokio::test]
async fn a_backend_that_knows_tls_1_2_only_is_spoken_to() {
    let files = Files::new();
    let (backend, _) = files.certificate("backend", &["mail.test"]);
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain(&backend), key(&backend))
        .expect("a certificate");
    let lax = client("mail.test", Verification::None);
    assert!(meets(&lax, config).await.is_ok());
}
