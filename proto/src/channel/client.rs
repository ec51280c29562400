//! A connection to one control plane. The `Channel` connects anew by itself; whoever has several endpoints chooses
//! among them outside.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::credentials::Credentials;
use super::failure::Failure;

/// TCP and TLS together. Less than an operator's patience, more than a lost SYN or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A control plane that answers no ping for this long is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Of the headers and trailers of one answer. A refusal with all that is wrong with a file is one header, far beyond
/// the 16 KiB that HTTP libraries take by themselves; a control plane that sends more than this is not ours.
pub const HEADERS: u32 = 256 * 1024;
/// Where the endpoint names no port.
const DEFAULT_PORT: u16 = 7443;

/// No connection to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Not `https://HOST[:PORT]`.
    #[error("{0:?} is not an endpoint: write https://HOST:PORT")]
    Endpoint(String),
    /// It could not be reached, or did not take us.
    #[error("no connection to {endpoint}: {failure}")]
    Failed {
        /// Which one.
        endpoint: String,
        /// Why, and what to do.
        #[source]
        failure: Failure,
    },
}

/// A connection to a control plane.
#[derive(Clone)]
pub struct Link {
    endpoint: Arc<str>,
    channel: Channel,
    last: LastFailure,
}

type LastFailure = Arc<Mutex<Option<Failure>>>;

/// Connects to `endpoint` (`https://HOST[:PORT]`), whose certificate must be a control plane's, of our authority,
/// and for HOST.
///
/// # Errors
/// The endpoint is not one, or it cannot be reached. A refusal of *our* certificate shows only at the first call:
/// ask [`Link::explain`] then.
pub async fn connect(endpoint: &str, credentials: &Credentials) -> Result<Link, ConnectError> {
    let invalid = || ConnectError::Endpoint(endpoint.to_owned());
    let target = Target::of(endpoint).ok_or_else(invalid)?;
    let last = LastFailure::default();
    let connector = Connector {
        target: Arc::new(target),
        credentials: credentials.clone(),
        last: last.clone(),
    };
    let channel = Endpoint::from_shared(endpoint.to_owned())
        .map_err(|_| invalid())?
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(HEADERS)
        .connect_with_connector(tower::service_fn(move |_: Uri| connector.clone().connect()))
        .await;
    match channel {
        Ok(channel) => Ok(Link {
            endpoint: endpoint.into(),
            channel,
            last,
        }),
        Err(error) => Err(ConnectError::Failed {
            endpoint: endpoint.to_owned(),
            failure: last
                .lock()
                .take()
                .or_else(|| Failure::in_chain(&error))
                .unwrap_or_else(|| Failure::Other(error.to_string())),
        }),
    }
}

impl Link {
    /// For a generated client.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Where it goes.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What stands behind a call that failed without an answer of the control plane; `None` when it did answer, or
    /// nothing better is known than what the status says.
    #[must_use]
    pub fn explain(&self, status: &Status) -> Option<ConnectError> {
        // A status that the other side sent has no source here.
        let source = std::error::Error::source(status)?;
        let failure = self.last.lock().clone().or_else(|| Failure::in_chain(source))?;
        Some(ConnectError::Failed {
            endpoint: self.endpoint.to_string(),
            failure,
        })
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

struct Target {
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl Target {
    fn of(endpoint: &str) -> Option<Self> {
        let uri: Uri = endpoint.parse().ok()?;
        if uri.scheme_str() != Some("https") || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return None;
        }
        let host = uri
            .host()?
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Some(Self {
            name: ServerName::try_from(host.clone()).ok()?,
            port: uri.port_u16().unwrap_or(DEFAULT_PORT),
            host,
        })
    }
}

#[derive(Clone)]
struct Connector {
    target: Arc<Target>,
    credentials: Credentials,
    last: LastFailure,
}

impl Connector {
    async fn connect(self) -> Result<TokioIo<Watched>, Failure> {
        let last = self.last.clone();
        let connected = match tokio::time::timeout(CONNECT_TIMEOUT, self.try_connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(Failure::TimedOut),
        };
        *last.lock() = connected.as_ref().err().cloned();
        connected.map(|stream| TokioIo::new(Watched { stream, last }))
    }

    async fn try_connect(self) -> Result<TlsStream<TcpStream>, Failure> {
        let Target { host, port, name } = &*self.target;
        let addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), *port))
            .await
            .map_err(|error| Failure::Unresolved(error.to_string()))?
            .collect();
        let stream = TcpStream::connect(addresses.as_slice())
            .await
            .map_err(|error| Failure::of_io(&error))?;
        // Small messages that must leave at once (acknowledgements): no waiting for more.
        let _ = stream.set_nodelay(true);
        let stream = TlsConnector::from(self.credentials.client())
            .connect(name.clone(), stream)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Failure::NotTls,
                _ => Failure::of_io(&error),
            })?;
        match stream.get_ref().1.alpn_protocol() {
            Some(super::ALPN) => Ok(stream),
            _ => Err(Failure::NotOurs),
        }
    }
}

/// Remembers why TLS ended: h2 keeps only the text of an I/O error, and tonic not even that.
struct Watched {
    stream: TlsStream<TcpStream>,
    last: LastFailure,
}

impl Watched {
    fn note(&self, error: &io::Error) {
        if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
            *self.last.lock() = Some(Failure::of_io(error));
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read {
            self.note(error);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
