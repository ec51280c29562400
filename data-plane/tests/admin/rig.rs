//! A node with `[admin]`, an IMAP listener and two backends that a test plays (`old`, the default, and `new`); and whoever
//! asks the API.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::NodeConfig;
use mailswitch_config::node::Environment;
use mailswitch_data_plane::node::{Running, start};
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const SOON: Duration = Duration::from_secs(10);
pub(crate) const TOKEN: &str = "a-token-that-is-just-long-enough";

/// How a test's node differs from the usual one. TOML.
#[derive(Default, Clone)]
pub(crate) struct Differences<'a> {
    /// More of `[server]`.
    pub(crate) server: &'a str,
    /// More of `[admin]`.
    pub(crate) admin: &'a str,
    /// More of the listener.
    pub(crate) listener: &'a str,
    /// `mapping.source`, if it is not the file.
    pub(crate) source: &'a str,
    /// More of `[mapping]`.
    pub(crate) mapping: &'a str,
    /// More tables.
    pub(crate) tables: &'a str,
    /// Lines of the mapping file.
    pub(crate) moved: &'a str,
}

pub(crate) struct World {
    pub(crate) running: Option<Running>,
    pub(crate) api: Api,
    pub(crate) imap: SocketAddr,
    pub(crate) old: Backend,
    pub(crate) new: Backend,
    pub(crate) files: TempDir,
}

pub(crate) async fn world(differences: Differences<'_>) -> World {
    let (old, new) = (Backend::new().await, Backend::new().await);
    let files = tempfile::tempdir().expect("a directory");
    std::fs::write(files.path().join("moved.tsv"), differences.moved).expect("written");
    let trust = certificate(&files, "first");
    let path = files.path().join("node.toml");
    std::fs::write(&path, toml(&files, &old, &new, &differences)).expect("written");
    let checked =
        NodeConfig::load(&path, &Environment::default()).unwrap_or_else(|findings| panic!("{findings}"));
    let running = start(checked.config, 4096, None).await.expect("a node");
    let api = Api {
        address: running.admin_address().expect("the API's address"),
        trust,
    };
    World {
        api,
        imap: running.addresses()[0],
        running: Some(running),
        old,
        new,
        files,
    }
}

/// A certificate and its key in the world's directory, and whoever trusts it.
pub(crate) fn certificate(files: &TempDir, name: &str) -> TlsConnector {
    let made = rcgen::generate_simple_self_signed(vec!["node.test".to_owned()]).expect("a certificate");
    let path = |kind: &str| files.path().join(format!("{name}.{kind}"));
    std::fs::write(path("crt"), made.cert.pem()).expect("written");
    std::fs::write(path("key"), made.signing_key.serialize_pem()).expect("written");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// The file of a world.
pub(crate) fn toml(files: &TempDir, old: &Backend, new: &Backend, differences: &Differences<'_>) -> String {
    let Differences {
        server,
        admin,
        listener,
        source,
        mapping,
        tables,
        ..
    } = differences;
    let here = files.path().display();
    let source = match source.is_empty() {
        true => "file",
        false => source,
    };
    let bind = |key: &str, text: &str| match text.contains(&format!("{key} =")) {
        true => "",
        false => "bind = \"127.0.0.1:0\"",
    };
    let token = match admin.contains("token") {
        true => String::new(),
        false => format!("bearer_token = \"{TOKEN}\""),
    };
    let listener_bind = match listener.contains("bind =") {
        true => "",
        false => "bind = [\"127.0.0.1:0\"]",
    };
    let tls = match listener.contains("tls =") {
        true => "",
        false => "tls = \"plain\"",
    };
    let destination = |backend: &Backend| {
        format!(
            "host = \"127.0.0.1\"\nallow_plaintext_auth = true\n\
             protocol.imap = {{ port = {}, tls = \"plain\", forwarding = \"none\" }}",
            backend.address.port()
        )
    };
    let certificate = match tables.contains("[tls.") {
        true => String::new(),
        false => format!(
            "[tls.certificate.public]\ncert = \"{here}/first.crt\"\nkey = \"{here}/first.key\"\ndefault = true\n"
        ),
    };
    format!(
        r#"
[server]
hostname = "proxy.test"
{server}
{certificate}
[routing]
default_destination = "old"
[mapping]
source = "{source}"
normalize = "lowercase"
{mapping}
[mapping.file]
path = "{here}/moved.tsv"
[capabilities.imap]
allow_plain_auth_without_tls = true
[destination.old]
{old}
[destination.new]
{new}
[listener.imap]
protocol = "imap"
{listener_bind}
{tls}
{listener}
[admin]
{admin_bind}
{token}
{admin}
{tables}
"#,
        old = destination(old),
        new = destination(new),
        admin_bind = bind("bind", admin),
    )
}

impl World {
    pub(crate) fn moved(&self) -> PathBuf {
        self.files.path().join("moved.tsv")
    }

    /// A client that was greeted.
    pub(crate) async fn client(&self) -> Talk {
        let mut client = Talk::new(TcpStream::connect(self.imap).await.expect("a connection"));
        client.expect("* OK").await;
        client
    }

    /// A client that is signed in at this backend, and the backend's side.
    pub(crate) async fn session(&self, login: &str, at: &Backend) -> (Talk, Talk) {
        let mut client = self.client().await;
        client.say(&format!("a LOGIN {login} secret\r\n")).await;
        let mut backend = at.greeted().await;
        backend.expect("a AUTHENTICATE PLAIN").await;
        backend.say("a OK in\r\n").await;
        client.expect("a OK").await;
        (client, backend)
    }
}

/// The API, as a client sees it.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) trust: TlsConnector,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A field of the head; more than one is none.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self
            .head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim());
        let field = found.next();
        assert_eq!(found.next(), None, "{name} twice: {}", self.head);
        field
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.field("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// It is one short line of text.
    pub(crate) fn expect(&self, status: u16, line: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, line), "{}", self.head);
        let kind = self.field("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/plain"), "{kind}");
    }
}

impl Api {
    pub(crate) async fn connect_from(&self, source: Ipv4Addr) -> TlsStream<TcpStream> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(SocketAddr::new(IpAddr::V4(source), 0))
            .expect("an address");
        let tcp = socket.connect(self.address).await.expect("a connection");
        let name = ServerName::try_from("node.test").expect("a name");
        self.trust.connect(name, tcp).await.expect("TLS")
    }

    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_from(Ipv4Addr::LOCALHOST).await
    }

    /// These bytes, and everything that comes back until the end.
    pub(crate) async fn raw_from(&self, source: Ipv4Addr, request: &[u8]) -> Answer {
        let mut stream = self.connect_from(source).await;
        stream.write_all(request).await.expect("written");
        read(&mut stream).await
    }

    pub(crate) async fn raw(&self, request: &[u8]) -> Answer {
        self.raw_from(Ipv4Addr::LOCALHOST, request).await
    }

    pub(crate) async fn ask_from(&self, source: Ipv4Addr, token: &str, method: &str, target: &str) -> Answer {
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: node.test\r\nAuthorization: Bearer {token}\r\n\r\n");
        self.raw_from(source, request.as_bytes()).await
    }

    pub(crate) async fn ask(&self, method: &str, target: &str) -> Answer {
        self.ask_from(Ipv4Addr::LOCALHOST, TOKEN, method, target).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target).await
    }

    pub(crate) async fn post(&self, target: &str) -> Answer {
        self.ask("POST", target).await
    }

    pub(crate) async fn put(&self, target: &str) -> Answer {
        self.ask("PUT", target).await
    }
}

/// An answer and the end of its connection.
pub(crate) async fn read(stream: &mut TlsStream<TcpStream>) -> Answer {
    let mut bytes = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut bytes))
        .await
        .expect("an answer in time");
    let text = String::from_utf8(bytes).expect("text");
    read.unwrap_or_else(|error| panic!("{error}: {text}"));
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: {head}")),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Tries until it is so.
pub(crate) async fn eventually<T>(what: &str, mut ready: impl AsyncFnMut() -> Option<T>) -> T {
    let tries = async {
        loop {
            if let Some(value) = ready().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, tries)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}

/// One end of a line-based conversation.
pub(crate) struct Talk(pub(crate) BufReader<TcpStream>);

impl Talk {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    pub(crate) async fn say(&mut self, words: &str) {
        let said = self.0.get_mut().write_all(words.as_bytes()).await;
        said.expect("written");
    }

    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(SOON, self.0.read_line(&mut line)).await;
        read.expect("a line in time").expect("a line");
        line
    }

    /// The next line begins so.
    pub(crate) async fn expect(&mut self, beginning: &str) -> String {
        let line = self.line().await;
        assert!(line.starts_with(beginning), "{line:?} instead of {beginning:?}");
        line
    }

    /// The other side is gone, in whatever way; what it still said.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = timeout(SOON, self.0.read_to_end(&mut rest))
            .await
            .expect("an end in time");
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// A backend that the test plays.
pub(crate) struct Backend {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Backend {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("its address");
        Self { listener, address }
    }

    /// The next connection, not greeted.
    pub(crate) async fn silent(&self) -> Talk {
        let accepted = timeout(SOON, self.listener.accept()).await;
        let accepted = accepted.expect("a connection in time");
        Talk::new(accepted.expect("a connection").0)
    }

    /// The next connection, greeted as IMAP with everything that is needed before a login.
    pub(crate) async fn greeted(&self) -> Talk {
        let mut talk = self.silent().await;
        talk.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
            .await;
        talk
    }
}
