//! TLS between our own two roles and against others', over real sockets.

mod agreed;
mod backends;
mod choice;
mod replaced;
mod resumed;

use std::path::PathBuf;
use std::sync::Arc;

use mailswitch_config::table::destination::{ClientCertificate, Destination, Host, Verification};
use mailswitch_config::table::tls::{Certificate, Tls, TlsProtocols};
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

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A self-signed certificate for these names in `FILE.pem` and `FILE.key`, and its fingerprint.
    fn certificate(&self, file: &str, names: &[&str]) -> (Certificate, [u8; 32]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, file);
        self.sign(file, params)
    }

    fn sign(&self, file: &str, params: CertificateParams) -> (Certificate, [u8; 32]) {
        let key = KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        let path = |end: &str| self.path(&format!("{file}.{end}"));
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

fn settings(certificates: &[Certificate], protocols: TlsProtocols) -> Tls {
    Tls {
        certificates: certificates.to_vec(),
        protocols,
    }
}

fn server(certificates: &[Certificate]) -> ServerTls {
    ServerTls::new(&settings(certificates, TlsProtocols::default())).expect("a server")
}

fn destination(name: &str, verification: Verification) -> Destination {
    Destination {
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
    }
}

fn leg(destination: &Destination) -> ClientTls {
    ClientTls::new(destination, &mut PlatformTrust::default()).expect("a client")
}

fn client(name: &str, verification: Verification) -> ClientTls {
    leg(&destination(name, verification))
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("its address");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (ours.expect("a connection"), theirs.expect("a connection").0)
}

fn boundary() -> mailswitch_dialogue::TlsBoundary {
    Input::new().tls_boundary().expect("nothing was received")
}

async fn handshake(client: &ClientTls, server: &ServerTls) -> Result<(Stream, Stream), UpgradeError> {
    let (ours, theirs) = sockets().await;
    let (ours, theirs) = tokio::join!(
        client.upgrade(Stream::plain(ours), boundary()),
        server.upgrade(Stream::plain(theirs), boundary())
    );
    Ok((ours?.0, theirs?.0))
}

/// What was agreed, after the first bytes of the server: TLS 1.3 sends its tickets with them.
async fn agreed(client: &ClientTls, server: &ServerTls) -> Result<Session, UpgradeError> {
    let (mut ours, mut theirs) = handshake(client, server).await?;
    theirs.write_all(b"* OK").await.expect("written");
    theirs.flush().await.expect("flushed");
    ours.read_exact(&mut [0; 4]).await.expect("bytes");
    Ok(ours.session().expect("it is encrypted"))
}

/// A client that is not ours: what the library can, and what the test says.
fn foreign(
    provider: rustls::crypto::CryptoProvider,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ClientConfig {
    let verifier = super::verify::anything(&provider);
    rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth()
}

type ForeignStream = tokio_rustls::client::TlsStream<TcpStream>;

async fn foreign_handshake(
    config: rustls::ClientConfig,
    name: ServerName<'static>,
    server: &ServerTls,
) -> std::io::Result<ForeignStream> {
    let (ours, theirs) = sockets().await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let (ours, _theirs) = tokio::join!(
        connector.connect(name, ours),
        server.upgrade(Stream::plain(theirs), boundary())
    );
    ours
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
async fn a_connection_is_upgraded_once() {
    let (ours, _theirs) = encrypted().await;
    let again = client("localhost", Verification::None)
        .upgrade(ours, boundary())
        .await;
    assert!(matches!(again, Err(UpgradeError::AlreadyEncrypted)));
}

#[tokio::test]
async fn everything_that_arrived_in_one_piece_is_read_without_waiting_for_more() {
    let (mut ours, mut theirs) = encrypted().await;
    // Large and small records, far more than one read of the library; then silence.
    let lengths = [1, 100_000, 3, 16_384, 16_385, 7, 40_000];
    let mut expected = Vec::new();
    for (number, length) in (0_u8..).zip(lengths) {
        let piece = vec![number; length];
        theirs.write_all(&piece).await.expect("written");
        expected.extend(piece);
    }
    theirs.flush().await.expect("flushed");
    let mut read = vec![0; expected.len()];
    let all = tokio::time::timeout(std::time::Duration::from_secs(10), ours.read_exact(&mut read));
    all.await.expect("nothing is left lying").expect("bytes");
    assert!(read == expected, "other bytes");
    drop(theirs);
    assert_eq!(ours.read(&mut [0; 1]).await.expect("an end"), 0);
}
