//! Accepts connections of nodes, replicas and operators. A handshake runs in its own task, for a limited time, and
//! few at once: whoever connects and says nothing delays nobody.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, Server};

use super::credentials::Credentials;
use super::role::{NoIdentity, Peer, PeerIdentity};

/// A client that has not finished its handshake by then is dropped (slow-loris).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes that may run at once; the next connection waits in the kernel's queue. A thousand nodes that
/// reconnect together come in rounds; a flood costs no more memory than this many handshakes.
const HANDSHAKES_AT_ONCE: usize = 256;
/// After accept() failed for want of descriptors: time for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// After a refusal: long enough for a client far away, short and small enough to be worth nothing to a flood.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;
/// A peer that answers no ping for this long is gone; found out within interval and time-out together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A `Server` with the keep-alive pings that both sides rely on to notice a dead peer.
#[must_use]
pub fn server_builder() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
}

/// Accepts on `listener` until the returned stream is dropped. Give it to `serve_with_incoming` of a
/// [`server_builder`]; [`super::peer_of`] then says who sent a request.
#[must_use]
pub fn listen(listener: TcpListener, credentials: Credentials) -> Incoming {
    listen_with_timeout(listener, credentials, HANDSHAKE_TIMEOUT)
}

pub(super) fn listen_with_timeout(
    listener: TcpListener,
    credentials: Credentials,
    handshake_timeout: Duration,
) -> Incoming {
    let (sender, ready) = mpsc::channel(64);
    let accepting = tokio::spawn(accept(Accepting {
        listener,
        credentials,
        handshake_timeout,
        ready: sender,
    }));
    Incoming { ready, accepting }
}

/// Connections whose handshake is over.
pub struct Incoming {
    ready: mpsc::Receiver<Connection>,
    accepting: JoinHandle<()>,
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|next| next.map(Ok))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Accepting {
    listener: TcpListener,
    credentials: Credentials,
    handshake_timeout: Duration,
    ready: mpsc::Sender<Connection>,
}

async fn accept(accepting: Accepting) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES_AT_ONCE));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        match accepting.listener.accept().await {
            Ok((stream, address)) => {
                let handshake = Handshake {
                    acceptor: TlsAcceptor::from(accepting.credentials.server()),
                    timeout: accepting.handshake_timeout,
                    ready: accepting.ready.clone(),
                    slot,
                };
                tokio::spawn(handshake.run(stream, address));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Handshake {
    acceptor: TlsAcceptor,
    timeout: Duration,
    ready: mpsc::Sender<Connection>,
    slot: OwnedSemaphorePermit,
}

impl Handshake {
    async fn run(self, stream: TcpStream, address: std::net::SocketAddr) {
        // Small messages that must leave at once (holds and flips): no waiting for more.
        let _ = stream.set_nodelay(true);
        let accepting = self.acceptor.accept(stream).into_fallible();
        let established = tokio::time::timeout(self.timeout, accepting).await;
        drop(self.slot);
        let stream = match established {
            Ok(Ok(stream)) => stream,
            Ok(Err((error, stream))) => {
                tracing::info!(client.address = %address, %error, "a handshake failed");
                return linger(stream).await;
            }
            Err(_) => {
                tracing::info!(client.address = %address, "a handshake took too long");
                return;
            }
        };
        match identify(&stream) {
            // An error here means that the server stopped: the connection is closed by its drop.
            Ok(PeerIdentity { role, name }) => {
                let peer = Peer { role, name, address };
                let _ = self.ready.send(Connection { stream, peer }).await;
            }
            Err(error) => tracing::warn!(client.address = %address, %error, "a client has no role"),
        }
    }
}

/// Lets the client read why: it has begun to speak already, and closing over unread bytes resets the connection,
/// which takes our alert with it.
async fn linger(mut stream: TcpStream) {
    let discard = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // The connection is over either way.
    let _ = tokio::time::timeout(LINGER, discard).await;
}

fn identify(stream: &TlsStream<TcpStream>) -> Result<PeerIdentity, NoIdentity> {
    let (_, session) = stream.get_ref();
    session
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or(NoIdentity::Absent)
        .and_then(PeerIdentity::of_certificate)
}

/// An accepted connection, and who is at its other end.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

impl Connection {
    /// Who is at its other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
