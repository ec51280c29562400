//! A node with one plain IMAP listener, a client, and a backend that a test plays.

use std::net::SocketAddr;
use std::time::Duration;

use mailswitch_config::NodeConfig;
use mailswitch_config::node::Environment;
use mailswitch_data_plane::node::{Running, start};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

pub(crate) const SOON: Duration = Duration::from_secs(10);

/// How a test's node differs from the usual one. TOML.
#[derive(Default)]
pub(crate) struct Differences<'a> {
    /// More of `[server]`.
    pub(crate) server: &'a str,
    /// More of the listener; the usual one is plain.
    pub(crate) listener: &'a str,
    /// More of the destination.
    pub(crate) destination: &'a str,
    /// The leg's TLS; empty: plain.
    pub(crate) leg: &'a str,
    /// How many descriptors the node believes it has; 0: enough.
    pub(crate) descriptors: u64,
}

pub(crate) struct Node {
    pub(crate) running: Option<Running>,
    pub(crate) address: SocketAddr,
    _files: TempDir,
}

/// A node whose default destination is at `backend`.
pub(crate) async fn node(backend: SocketAddr, differences: Differences<'_>) -> Node {
    let files = tempfile::tempdir().expect("a directory");
    let moved = files.path().join("moved.tsv");
    std::fs::write(&moved, "").expect("written");
    let Differences {
        server,
        listener,
        destination,
        leg,
        descriptors,
    } = differences;
    let descriptors = if descriptors == 0 { 4096 } else { descriptors };
    let leg = if leg.is_empty() { "plain" } else { leg };
    let mode = if listener.contains("tls =") {
        ""
    } else {
        "tls = \"plain\""
    };
    let bind = if listener.contains("bind =") {
        ""
    } else {
        "bind = [\"127.0.0.1:0\"]"
    };
    let toml = format!(
        r#"
[server]
hostname = "proxy.test"
{server}
[routing]
default_destination = "legacy"
[mapping]
source = "file"
[mapping.file]
path = "{moved}"
[capabilities.imap]
allow_plain_auth_without_tls = true
[destination.legacy]
host = "{host}"
tls_server_name = "legacy.test"
tls_allow_invalid_certs = true
allow_plaintext_auth = true
{destination}
[destination.legacy.protocol]
imap = {{ port = {port}, tls = "{leg}", forwarding = "none" }}
[listener.imap]
protocol = "imap"
{bind}
{mode}
{listener}
"#,
        moved = moved.display(),
        host = backend.ip(),
        port = backend.port(),
    );
    start_from(files, &toml, descriptors).await
}

/// A node of this file; its first address is the first listener's.
pub(crate) async fn start_from(files: TempDir, toml: &str, descriptors: u64) -> Node {
    let path = files.path().join("node.toml");
    std::fs::write(&path, toml).expect("written");
    let checked =
        NodeConfig::load(&path, &Environment::default()).unwrap_or_else(|findings| panic!("{findings}"));
    let running = start(checked.config, descriptors, None).await.expect("a node");
    let address = running.addresses()[0];
    Node {
        running: Some(running),
        address,
        _files: files,
    }
}

/// One end of a line-based conversation.
pub(crate) struct Talk(pub(crate) BufReader<TcpStream>);

impl Talk {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// A client that waits to be greeted.
    pub(crate) async fn to(node: &Node) -> Self {
        Self::new(TcpStream::connect(node.address).await.expect("a connection"))
    }

    /// A client, greeted.
    pub(crate) async fn client(node: &Node) -> Self {
        let mut client = Self::new(TcpStream::connect(node.address).await.expect("a connection"));
        client.expect("* OK").await;
        client
    }

    pub(crate) async fn say(&mut self, words: &str) {
        self.0
            .get_mut()
            .write_all(words.as_bytes())
            .await
            .expect("written");
    }

    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(SOON, self.0.read_line(&mut line))
            .await
            .expect("a line in time")
            .expect("a line");
        line
    }

    /// The next line begins so.
    pub(crate) async fn expect(&mut self, beginning: &str) -> String {
        let line = self.line().await;
        assert!(line.starts_with(beginning), "{line:?} instead of {beginning:?}");
        line
    }

    /// Nothing more comes.
    pub(crate) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let read = timeout(SOON, self.0.read_to_end(&mut rest))
            .await
            .expect("an end in time");
        assert!(
            read.is_ok() && rest.is_empty(),
            "{read:?} {}",
            rest.escape_ascii()
        );
    }

    /// The other side is gone, in whatever way.
    pub(crate) async fn expect_gone(&mut self) {
        let mut rest = Vec::new();
        let _ = timeout(SOON, self.0.read_to_end(&mut rest))
            .await
            .expect("an end in time");
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
        let accepted = timeout(SOON, self.listener.accept())
            .await
            .expect("a connection in time");
        Talk::new(accepted.expect("a connection").0)
    }

    /// The next connection, greeted as IMAP with everything that is needed before a login.
    pub(crate) async fn greeted(&self) -> Talk {
        let mut talk = self.silent().await;
        talk.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
            .await;
        talk
    }

    /// Nobody connects within a time that is long for this machine.
    pub(crate) async fn nobody_comes(&self, time: Duration) -> bool {
        timeout(time, self.listener.accept()).await.is_err()
    }
}

/// `\0alice\0secret`.
pub(crate) const ALICE: &str = "AGFsaWNlAHNlY3JldA==";
