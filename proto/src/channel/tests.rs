//! Real TLS over the loopback: a server of the Fleet service that answers with who its client is.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::once;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::fleet::v1::fleet_client::FleetClient;
use crate::fleet::v1::fleet_server::{Fleet, FleetServer};
use crate::fleet::v1::{FleetMessage, NodeMessage, Welcome, fleet_message};

// ---- an authority ----------------------------------------------------------------------------------

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

/// From how many days before today, for how many days.
struct Validity(i64, i64);
const NOW: Validity = Validity(-1, 30);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.path().join(file)
    }

    fn issue(&self, stem: &str, sans: &[&str], validity: Validity) -> Files {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans.iter().map(|san| general_name(san)).collect();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let today = std::time::SystemTime::now();
        let days = |n: i64| chrono::TimeDelta::days(n).num_seconds();
        let date = |n: i64| {
            use chrono::Datelike as _;
            let at = chrono::DateTime::<chrono::Utc>::from(today) + chrono::TimeDelta::seconds(days(n));
            rcgen::date_time_ymd(at.year(), at.month() as u8, at.day() as u8)
        };
        params.not_before = date(validity.0);
        params.not_after = date(validity.1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files {
            ca: self.path("ca.pem"),
            cert: self.path(&format!("{stem}.pem")),
            key: self.path(&format!("{stem}.key")),
        };
        std::fs::write(&files.cert, cert.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn server(&self) -> Credentials {
        self.server_valid(NOW)
    }

    fn server_valid(&self, validity: Validity) -> Credentials {
        let sans = ["urn:mailswitch:control-plane:cp-1", "127.0.0.1", "localhost"];
        Credentials::load(self.issue("server", &sans, validity)).unwrap()
    }

    fn client(&self, urn: &str) -> Credentials {
        Credentials::load(self.issue("client", &[urn], NOW)).unwrap()
    }
}

fn general_name(san: &str) -> SanType {
    if san.starts_with("urn:") {
        SanType::URI(san.try_into().unwrap())
    } else if let Ok(ip) = san.parse() {
        SanType::IpAddress(ip)
    } else {
        SanType::DnsName(san.try_into().unwrap())
    }
}

// ---- a server --------------------------------------------------------------------------------------

/// Says who asked, in `Welcome.replica`.
struct WhoAmI;

#[tonic::async_trait]
impl Fleet for WhoAmI {
    type FeedStream = BoxStream<'static, Result<FleetMessage, Status>>;

    async fn feed(
        &self,
        request: Request<Streaming<NodeMessage>>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        let peer = peer_of(&request)?;
        let welcome = Welcome {
            replica: format!("{} {} {}", peer.role, peer.name, peer.address.ip()),
            ..Welcome::default()
        };
        let message = FleetMessage {
            message: Some(fleet_message::Message::Welcome(welcome)),
        };
        Ok(Response::new(once(Ok(message)).boxed()))
    }
}

struct Running {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    async fn start(credentials: Credentials) -> Self {
        Self::start_with_timeout(credentials, Duration::from_secs(10)).await
    }

    async fn start_with_timeout(credentials: Credentials, timeout: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = server::listen_with_timeout(listener, credentials, timeout);
        let task = tokio::spawn(async move {
            server_builder()
                .add_service(FleetServer::new(WhoAmI))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self { address, task }
    }

    fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    async fn ask(&self, credentials: &Credentials) -> Result<String, ConnectError> {
        let link = connect(&self.endpoint(), credentials).await?;
        ask(&link).await
    }
}

async fn ask(link: &Link) -> Result<String, ConnectError> {
    match FleetClient::new(link.channel()).feed(tokio_stream::empty()).await {
        Ok(answer) => match answer.into_inner().next().await.unwrap().unwrap().message {
            Some(fleet_message::Message::Welcome(welcome)) => Ok(welcome.replica),
            other => panic!("not a welcome: {other:?}"),
        },
        Err(status) => Err(link
            .explain(&status)
            .unwrap_or_else(|| panic!("not explained: {status:?}"))),
    }
}

fn failure(result: Result<String, ConnectError>) -> Failure {
    match result {
        Err(ConnectError::Failed { failure, .. }) => failure,
        other => panic!("not a failure to connect: {other:?}"),
    }
}

// ---- what holds ------------------------------------------------------------------------------------

#[tokio::test]
async fn every_role_is_read_from_the_certificate() {
    let authority = Authority::new();
    let server = Running::start(authority.server()).await;
    for role in Role::ALL {
        let client = authority.client(&format!("urn:mailswitch:{role}:fra-1"));
        assert_eq!(
            server.ask(&client).await.unwrap(),
            format!("{role} fra-1 127.0.0.1")
        );
    }
}

#[tokio::test]
async fn a_client_of_another_authority_is_told_so() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Running::start(ours.server()).await;
    let mut files = theirs.issue("client", &["urn:mailswitch:node:fra-1"], NOW);
    files.ca = ours.path("ca.pem");
    let client = Credentials::load(files).unwrap();
    assert_eq!(failure(server.ask(&client).await), Failure::ClientUntrusted);
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_spoken_to() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Running::start(theirs.server()).await;
    let client = ours.client("urn:mailswitch:node:fra-1");
    assert_eq!(failure(server.ask(&client).await), Failure::ServerUntrusted);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_told_what_is_missing() {
    let authority = Authority::new();
    let server = Running::start(authority.server()).await;
    let client = authority
        .client("urn:mailswitch:node:fra-1")
        .without_certificate();
    assert_eq!(failure(server.ask(&client).await), Failure::NoClientCertificate);
}

#[tokio::test]
async fn an_expired_client_is_told_so() {
    let authority = Authority::new();
    let server = Running::start(authority.server()).await;
    let files = authority.issue("client", &["urn:mailswitch:admin:root"], Validity(-30, -1));
    let client = Credentials::load(files).unwrap();
    assert_eq!(failure(server.ask(&client).await), Failure::ClientExpired);
}

#[tokio::test]
async fn an_expired_server_is_not_spoken_to() {
    let authority = Authority::new();
    let server = Running::start(authority.server_valid(Validity(-30, -1))).await;
    let client = authority.client("urn:mailswitch:node:fra-1");
    assert_eq!(failure(server.ask(&client).await), Failure::ServerExpired);
}

#[tokio::test]
async fn a_server_under_another_name_is_not_spoken_to() {
    let authority = Authority::new();
    let sans = ["urn:mailswitch:control-plane:cp-1", "cp1.example.org"];
    let server = Credentials::load(authority.issue("server", &sans, NOW)).unwrap();
    let server = Running::start(server).await;
    let found = failure(server.ask(&authority.client("urn:mailswitch:node:fra-1")).await);
    assert!(
        matches!(&found, Failure::ServerName(names) if names.contains("cp1.example.org")),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_node_cannot_play_the_control_plane() {
    let authority = Authority::new();
    let sans = ["urn:mailswitch:node:fra-1", "127.0.0.1"];
    let server = Credentials::load(authority.issue("server", &sans, NOW)).unwrap();
    let server = Running::start(server).await;
    let found = failure(server.ask(&authority.client("urn:mailswitch:node:fra-2")).await);
    assert_eq!(found, Failure::ServerNotControlPlane);
}

#[tokio::test]
async fn a_client_without_a_role_is_refused_in_the_handshake() {
    let authority = Authority::new();
    let server = Running::start(authority.server()).await;
    let client = authority
        .client("urn:mailswitch:node:fra-1")
        .presenting(authority.issue("stranger", &["urn:example:somebody"], NOW));
    assert_eq!(failure(server.ask(&client).await), Failure::ClientWithoutRole);
}

#[tokio::test]
async fn nobody_listening_is_told_as_that() {
    let authority = Authority::new();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", free.local_addr().unwrap());
    drop(free);
    let found = connect(&endpoint, &authority.client("urn:mailswitch:node:a")).await;
    assert_eq!(
        found.unwrap_err(),
        ConnectError::Failed {
            endpoint,
            failure: Failure::Refused
        }
    );
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_told_as_that() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"* OK IMAP4rev1 ready\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let found = connect(&endpoint, &authority.client("urn:mailswitch:node:a")).await;
    assert_eq!(
        found.unwrap_err(),
        ConnectError::Failed {
            endpoint,
            failure: Failure::NotTls
        }
    );
    server.await.unwrap();
}

#[tokio::test]
async fn an_endpoint_must_be_https_and_nothing_more() {
    let authority = Authority::new();
    let client = authority.client("urn:mailswitch:node:a");
    for wrong in [
        "http://127.0.0.1:1",
        "127.0.0.1:1",
        "https://127.0.0.1:1/x",
        "https://a b",
        "",
    ] {
        let found = connect(wrong, &client).await.unwrap_err();
        assert_eq!(found, ConnectError::Endpoint(wrong.to_owned()));
    }
}

#[tokio::test]
async fn new_files_are_used_without_a_restart_and_standing_connections_go_on() {
    let authority = Authority::new();
    let credentials = authority.server_valid(Validity(-30, -1));
    let server = Running::start(credentials.clone()).await;
    let client = authority.client("urn:mailswitch:node:fra-1");
    assert_eq!(failure(server.ask(&client).await), Failure::ServerExpired);
    assert_eq!(credentials.reload().unwrap(), Reload::Unchanged);

    authority.server();
    assert_eq!(credentials.reload().unwrap(), Reload::Changed);
    let link = connect(&server.endpoint(), &client).await.unwrap();
    ask(&link).await.unwrap();

    authority.server_valid(Validity(-30, -1));
    assert_eq!(credentials.reload().unwrap(), Reload::Changed);
    assert_eq!(ask(&link).await.unwrap(), "node fra-1 127.0.0.1");
    assert_eq!(failure(server.ask(&client).await), Failure::ServerExpired);
}

#[tokio::test]
async fn files_that_do_not_fit_together_change_nothing() {
    let authority = Authority::new();
    let credentials = authority.server();
    let server = Running::start(credentials.clone()).await;
    std::fs::write(
        &credentials.files().key,
        KeyPair::generate().unwrap().serialize_pem(),
    )
    .unwrap();
    let error = credentials.reload().unwrap_err();
    assert!(matches!(error, CredentialsError::Mismatch { .. }), "{error}");
    std::fs::remove_file(&credentials.files().cert).unwrap();
    let error = credentials.reload().unwrap_err().to_string();
    assert!(error.contains("server.pem"), "{error}");
    server
        .ask(&authority.client("urn:mailswitch:node:fra-1"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_silent_client_delays_nobody_and_is_dropped() {
    let authority = Authority::new();
    let server = Running::start_with_timeout(authority.server(), Duration::from_millis(300)).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    server
        .ask(&authority.client("urn:mailswitch:node:fra-1"))
        .await
        .unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut [0; 1])).await;
    assert_eq!(closed.expect("it was not dropped").unwrap_or(0), 0);
}

#[test]
fn names_that_could_not_be_file_names_are_refused() {
    let long = "x".repeat(65);
    for wrong in ["", ".", "-a", "a/b", "a b", "ä", "a:b", long.as_str()] {
        assert!(wrong.parse::<Name>().is_err(), "{wrong:?}");
    }
    for right in ["a", "fra-1", "cp1.example.org", "A_2"] {
        assert_eq!(right.parse::<Name>().unwrap().as_str(), right);
    }
}

#[test]
fn two_identities_in_one_certificate_stand_for_nobody() {
    let authority = Authority::new();
    let files = authority.issue("both", &["urn:mailswitch:node:a", "urn:mailswitch:admin:a"], NOW);
    let error = Credentials::load(files).unwrap_err();
    let ambiguous = matches!(&error, CredentialsError::Identity { source: NoIdentity::Ambiguous, path } if path.ends_with(Path::new("both.pem")));
    assert!(ambiguous, "{error}");
}
