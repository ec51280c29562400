//! A node with one HTTP listener, raw clients, and two backends that a test plays: `old`, the default, and `new`.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailswitch_config::NodeConfig;
use mailswitch_config::node::Environment;
use mailswitch_data_plane::node::{Running, start};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

pub(crate) const SOON: Duration = Duration::from_secs(10);

/// How a test's node differs from the usual one. TOML.
#[derive(Default)]
pub(crate) struct Differences<'a> {
    /// More of `[server]`.
    pub(crate) server: &'a str,
    /// More of the listener.
    pub(crate) listener: &'a str,
    /// `[http]` without its routes.
    pub(crate) http: &'a str,
    /// The routes; empty: everything by Authorization.
    pub(crate) routes: &'a str,
    /// Lines of the mapping file.
    pub(crate) moved: &'a str,
    /// More of both destinations.
    pub(crate) destination: &'a str,
    /// More of both legs.
    pub(crate) leg: &'a str,
}

pub(crate) struct Node {
    pub(crate) running: Option<Running>,
    pub(crate) address: SocketAddr,
    _files: TempDir,
}

/// A node, and its two backends.
pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) old: Backend,
    pub(crate) new: Backend,
}

pub(crate) const BY_AUTHORIZATION: &str =
    "[[http.route]]\nmatch = \"/**\"\nextract = { from = \"authorization\" }\n";

pub(crate) async fn world(differences: Differences<'_>) -> World {
    world_for(4096, differences).await
}

/// With this many descriptors to spend.
pub(crate) async fn world_for(descriptors: u64, differences: Differences<'_>) -> World {
    let (old, new) = (Backend::new().await, Backend::new().await);
    let files = tempfile::tempdir().expect("a directory");
    let moved = files.path().join("moved.tsv");
    std::fs::write(&moved, differences.moved).expect("written");
    let Differences {
        server,
        listener,
        http,
        routes,
        destination,
        leg,
        ..
    } = differences;
    let routes = if routes.is_empty() {
        BY_AUTHORIZATION
    } else {
        routes
    };
    let mode = if listener.contains("tls =") {
        ""
    } else {
        "tls = \"plain\""
    };
    let leg_of = |backend: &Backend| {
        let port = backend.address.port();
        let forwarding = if leg.contains("forwarding") {
            ""
        } else {
            ", forwarding = \"none\""
        };
        let mode = if leg.contains("tls =") {
            ""
        } else {
            ", tls = \"plain\""
        };
        format!("protocol.http = {{ port = {port}{mode}{forwarding}{leg} }}")
    };
    let toml = format!(
        r#"
[server]
hostname = "proxy.test"
{server}
[routing]
default_destination = "old"
[mapping]
source = "file"
[mapping.file]
path = "{moved}"
[destination.old]
host = "127.0.0.1"
allow_plaintext_auth = true
{destination}
{old}
[destination.new]
host = "127.0.0.1"
allow_plaintext_auth = true
{destination}
{new}
[http]
{http}
{routes}
[listener.web]
protocol = "http"
bind = ["127.0.0.1:0"]
{mode}
{listener}
"#,
        moved = moved.display(),
        old = leg_of(&old),
        new = leg_of(&new),
    );
    let path = files.path().join("node.toml");
    std::fs::write(&path, toml).expect("written");
    let checked =
        NodeConfig::load(&path, &Environment::default()).unwrap_or_else(|findings| panic!("{findings}"));
    let running = start(checked.config, descriptors, None).await.expect("a node");
    let address = running.addresses()[0];
    let node = Node {
        running: Some(running),
        address,
        _files: files,
    };
    World { node, old, new }
}

/// `Authorization: Basic` of somebody.
pub(crate) fn basic(login: &str) -> String {
    format!(
        "Authorization: Basic {}\r\n",
        STANDARD.encode(format!("{login}:secret"))
    )
}

/// One end of a connection, read as HTTP.
pub(crate) struct Talk {
    pub(crate) stream: TcpStream,
    pub(crate) read: Vec<u8>,
}

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Talk {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("a connection"))
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub(crate) async fn say(&mut self, words: impl AsRef<[u8]>) {
        self.stream.write_all(words.as_ref()).await.expect("written");
    }

    /// As `say`, to somebody who may be gone.
    pub(crate) async fn try_say(&mut self, words: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(words.as_ref()).await
    }

    /// As `more`, however long it takes.
    pub(crate) async fn more_whenever(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.read).await;
        read.ok().filter(|read| *read > 0).map(|_| ())
    }

    /// More bytes. None: the other side has ended.
    pub(crate) async fn more(&mut self) -> Option<()> {
        let read = timeout(SOON, self.stream.read_buf(&mut self.read))
            .await
            .expect("bytes in time");
        read.ok().filter(|read| *read > 0).map(|_| ())
    }

    /// Everything until `end`, with it.
    pub(crate) async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                return self.read.drain(..at + end.len()).collect();
            }
            assert!(
                self.more().await.is_some(),
                "ended before {}: {}",
                end.escape_ascii(),
                self.read.escape_ascii()
            );
        }
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(
                self.more().await.is_some(),
                "ended too early: {}",
                self.read.escape_ascii()
            );
        }
        self.read.drain(..count).collect()
    }

    pub(crate) async fn head(&mut self) -> Message {
        let head = self.until(b"\r\n\r\n").await;
        let head = String::from_utf8(head).expect("text");
        let mut lines = head.trim_end().split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .map(|line| {
                let (name, value) = line.split_once(':').expect("a field");
                (name.to_ascii_lowercase(), value.trim().to_owned())
            })
            .collect();
        Message {
            start,
            fields,
            body: Vec::new(),
        }
    }

    /// A message with its body, chunks undone.
    pub(crate) async fn message(&mut self) -> Message {
        let mut message = self.head().await;
        if message.field("transfer-encoding") == Some("chunked") {
            loop {
                let chunk = self.chunk().await;
                if chunk.is_empty() {
                    self.until(b"\r\n").await;
                    return message;
                }
                message.body.extend(chunk);
            }
        }
        if let Some(length) = message.field("content-length") {
            let length = length.parse().expect("a number");
            message.body = self.exactly(length).await;
        }
        message
    }

    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        let size = self.until(b"\r\n").await;
        let size = String::from_utf8(size).expect("text");
        let size = usize::from_str_radix(size.trim(), 16).expect("a size");
        let chunk = self.exactly(size).await;
        if size > 0 {
            assert_eq!(self.exactly(2).await, b"\r\n");
        }
        chunk
    }

    /// Nothing more comes.
    pub(crate) async fn ends(&mut self) {
        while self.more().await.is_some() {}
        assert!(self.read.is_empty(), "{}", self.read.escape_ascii());
    }

    /// The other side is gone, in whatever way.
    pub(crate) async fn is_gone(&mut self) {
        while self.more().await.is_some() {}
    }

    /// The other side has reset the connection: what was still on its way is discarded.
    pub(crate) async fn is_reset(&mut self) {
        let error = loop {
            match timeout(SOON, self.stream.read_buf(&mut self.read))
                .await
                .expect("its end in time")
            {
                Ok(0) => panic!("an orderly end behind {}", self.read.escape_ascii()),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }

    /// Nothing comes within a time that is long for this machine.
    pub(crate) async fn is_silent(&mut self, time: Duration) -> bool {
        self.read.is_empty() && timeout(time, self.stream.read_buf(&mut self.read)).await.is_err()
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

    /// The next connection.
    pub(crate) async fn accept(&self) -> Talk {
        let accepted = timeout(SOON, self.listener.accept())
            .await
            .expect("a connection in time");
        Talk::over(accepted.expect("a connection").0)
    }

    /// The next connection, however long it takes.
    pub(crate) async fn accept_whenever(&self) -> Talk {
        Talk::over(self.listener.accept().await.expect("a connection").0)
    }

    /// Nobody connects within a time that is long for this machine.
    pub(crate) async fn nobody_comes(&self, time: Duration) -> bool {
        timeout(time, self.listener.accept()).await.is_err()
    }
}

/// An answer with a body.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
