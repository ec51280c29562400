//! TLS between our own two roles, over real sockets: which certificate a name gets, and which one is believed.

use std::path::PathBuf;

use mailswitch_config::table::destination::{ClientCertificate, Destination, Host, Verification};
use mailswitch_config::table::tls::{Certificate, Tls, TlsProtocols, TlsVersion};
use mailswitch_dialogue::Input;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls_pki_types::ServerName;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// A self-signed certificate for these names, and its fingerprint.
    fn certificate(&self, file: &str, names: &[&str]) -> (Certificate, [u8; 32]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, file);
        let key = KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        let path = |end: &str| self.0.path().join(format!("{file}.{end}"));
        std::fs::write(path("pem"), made.pem()).expect("written");
        std::fs::write(path("key"), key.serialize_pem()).expect("written");
        let certificate = Certificate {
            name: file.into(),
            cert: path("pem"),
            key: path("key"),
            subjects: Vec::new(),
            default: false,
        };
        (certificate, Sha256::digest(made.der()).into())
    }
}

fn server(certificates: &[Certificate]) -> ServerTls {
    ServerTls::new(&Tls {
        certificates: certificates.to_vec(),
        protocols: TlsProtocols::default(),
    })
    .expect("a server")
}

fn client(name: &str, verification: Verification) -> ClientTls {
    let destination = Destination {
        name: "new".into(),
        host: Host::Name(name.to_owned()),
        tls_server_name: Some(ServerName::try_from(name.to_owned()).expect("a name")),
        verification,
        client_certificate: None,
        source_ips: Vec::new(),
        forwarded: false,
        hide_auth_errors: false,
        allow_plaintext_auth: false,
        endpoints: Default::default(),
    };
    ClientTls::new(&destination, &mut PlatformTrust::default()).expect("a client")
}

async fn pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("its address");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (
        Stream::plain(ours.expect("a connection")),
        Stream::plain(theirs.expect("a connection").0),
    )
}

async fn handshake(client: &ClientTls, server: &ServerTls) -> Result<(Stream, Stream), UpgradeError> {
    let boundary = || Input::new().tls_boundary().expect("nothing was received");
    let (ours, theirs) = pair().await;
    let (ours, theirs) = tokio::join!(
        client.upgrade(ours, boundary()),
        server.upgrade(theirs, boundary())
    );
    Ok((ours?.0, theirs?.0))
}

/// A connection between our two roles, encrypted.
pub(crate) async fn encrypted() -> (Stream, Stream) {
    let pair = handshake(&client("localhost", Verification::None), &server(&[])).await;
    pair.expect("a handshake")
}

/// True when the server shows this very certificate to a client that asks for `name`.
async fn shows(server: &ServerTls, name: &str, fingerprint: [u8; 32]) -> bool {
    let pinned = client(name, Verification::Pinned(fingerprint.into()));
    handshake(&pinned, server).await.is_ok()
}

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
async fn configured_subjects_replace_the_names_of_the_leaf_and_the_only_certificate_serves_every_name() {
    let files = Files::new();
    let (mut a, a_print) = files.certificate("a", &["a.test"]);
    let (b, b_print) = files.certificate("b", &["b.test"]);
    a.subjects = vec!["mail.test".to_owned()];
    let two = server(&[a, b.clone()]);
    assert!(shows(&two, "mail.test", a_print).await);
    assert!(
        !shows(&two, "a.test", a_print).await,
        "a self-signed one is shown"
    );
    let one = server(&[b]);
    assert!(shows(&one, "anything.test", b_print).await);
}

#[tokio::test]
async fn without_any_certificate_a_self_signed_one_is_shown_and_nobody_believes_it() {
    let server = server(&[]);
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

#[tokio::test]
async fn a_pin_refuses_every_other_leaf_and_a_new_certificate_is_shown_without_a_restart() {
    let files = Files::new();
    let (old, old_print) = files.certificate("old", &["mail.test"]);
    let (new, new_print) = files.certificate("new", &["mail.test"]);
    let server = server(&[old]);
    assert!(shows(&server, "mail.test", old_print).await);
    assert!(!shows(&server, "mail.test", new_print).await);
    server
        .replace(&Tls {
            certificates: vec![new],
            protocols: TlsProtocols::default(),
        })
        .expect("replaced");
    assert!(shows(&server, "mail.test", new_print).await);
}

#[tokio::test]
async fn versions_and_suites_are_as_configured() {
    let files = Files::new();
    let (certificate, print) = files.certificate("a", &["a.test"]);
    let tls = |protocols| Tls {
        certificates: vec![certificate.clone()],
        protocols,
    };
    let only_13 = ServerTls::new(&tls(TlsProtocols {
        min_version: TlsVersion::Tls13,
        disable_cipher_suites: vec![
            "tls_aes_256_gcm_sha384".to_owned(),
            "TLS13_AES_128_GCM_SHA256".to_owned(),
        ],
        ..TlsProtocols::default()
    }))
    .expect("a server");
    let (ours, _theirs) = handshake(&client("a.test", Verification::Pinned(print.into())), &only_13)
        .await
        .expect("a handshake");
    let session = ours.session().expect("it is encrypted");
    assert_eq!(session.version, "1.3");
    assert_eq!(session.cipher, "TLS_CHACHA20_POLY1305_SHA256");
    let nothing = ServerTls::new(&tls(TlsProtocols {
        min_version: TlsVersion::Tls13,
        disable_cipher_suites: [
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_128_GCM_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..TlsProtocols::default()
    }));
    assert!(matches!(nothing, Err(InvalidServerTls::NoCipherSuite)));
}

#[tokio::test]
async fn bytes_pass_and_an_end_without_close_notify_is_an_end() {
    let files = Files::new();
    let (certificate, print) = files.certificate("a", &["a.test"]);
    let client = client("a.test", Verification::Pinned(print.into()));
    let (mut ours, mut theirs) = handshake(&client, &server(&[certificate]))
        .await
        .expect("a handshake");
    ours.write_all(b"hello").await.expect("written");
    ours.flush().await.expect("flushed");
    let mut read = [0; 5];
    theirs.read_exact(&mut read).await.expect("bytes");
    assert_eq!(&read, b"hello");
    // The socket goes without a word of TLS.
    socket2::SockRef::from(ours.tcp())
        .shutdown(std::net::Shutdown::Write)
        .expect("closed");
    assert_eq!(theirs.read(&mut read).await.expect("an end"), 0);
}

#[tokio::test]
async fn the_second_connection_takes_the_first_ones_session_up() {
    let files = Files::new();
    let (certificate, print) = files.certificate("a", &["a.test"]);
    let (client, server) = (
        client("a.test", Verification::Pinned(print.into())),
        server(&[certificate]),
    );
    for expected in [Handshake::Full, Handshake::Resumed] {
        let (mut ours, mut theirs) = handshake(&client, &server).await.expect("a handshake");
        // The ticket comes with the first bytes.
        theirs.write_all(b"* OK").await.expect("written");
        theirs.flush().await.expect("flushed");
        ours.read_exact(&mut [0; 4]).await.expect("bytes");
        assert_eq!(ours.session().expect("it is encrypted").handshake, expected);
    }
}

#[tokio::test]
async fn both_sides_agree_on_the_newest_http_that_both_speak_and_mail_has_no_say_in_it() {
    let (client, server) = (client("localhost", Verification::None), server(&[]));
    let boundary = || Input::new().tls_boundary().expect("nothing was received");
    for (offer, agreed) in [
        (HttpVersions::Http1, HttpVersion::Http1),
        (HttpVersions::Http2, HttpVersion::Http2),
    ] {
        let (ours, theirs) = pair().await;
        let (ours, theirs) = tokio::join!(
            client.upgrade_http(ours, boundary(), offer),
            server.upgrade_http(theirs, boundary())
        );
        assert_eq!(ours.expect("a handshake").0.http_version(), agreed);
        assert_eq!(theirs.expect("a handshake").0.http_version(), agreed);
    }
    let (ours, theirs) = pair().await;
    let (ours, theirs) = tokio::join!(
        client.upgrade_http(ours, boundary(), HttpVersions::Http2),
        server.upgrade(theirs, boundary())
    );
    assert!(ours.is_ok() && theirs.is_ok());
}

#[tokio::test]
async fn a_connection_is_upgraded_once() {
    let files = Files::new();
    let (certificate, print) = files.certificate("a", &["a.test"]);
    let client = client("a.test", Verification::Pinned(print.into()));
    let (ours, _theirs) = handshake(&client, &server(&[certificate]))
        .await
        .expect("a handshake");
    let boundary = Input::new().tls_boundary().expect("nothing was received");
    let again = client.upgrade(ours, boundary).await;
    assert!(matches!(again, Err(UpgradeError::AlreadyEncrypted)));
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let files = Files::new();
    let (a, _) = files.certificate("a", &["a.test"]);
    let (b, _) = files.certificate("b", &["b.test"]);
    let broken = |certificate: Certificate| {
        let error = ServerTls::new(&Tls {
            certificates: vec![certificate],
            protocols: TlsProtocols::default(),
        });
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
    let others_key = Certificate { key: b.key, ..a };
    let said = broken(others_key);
    assert!(said.contains("b.key") && said.contains("a.pem"), "{said}");
}

#[tokio::test]
async fn a_client_certificate_that_cannot_be_read_is_an_error_at_once() {
    let destination = Destination {
        name: "new".into(),
        host: Host::Name("a.test".to_owned()),
        tls_server_name: Some(ServerName::try_from("a.test").expect("a name")),
        verification: Verification::None,
        client_certificate: Some(ClientCertificate {
            cert: PathBuf::from("/nowhere/client.pem"),
            key: PathBuf::from("/nowhere/client.key"),
        }),
        source_ips: Vec::new(),
        forwarded: false,
        hide_auth_errors: false,
        allow_plaintext_auth: false,
        endpoints: Default::default(),
    };
    let error = ClientTls::new(&destination, &mut PlatformTrust::default()).expect_err("no such file");
    assert!(crate::error_chain(&error).contains("/nowhere/client.pem"));
}
