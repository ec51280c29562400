//! The API's socket: TLS from the first byte, one request per connection, and nobody for long.
//!
//! The HTTP library reads requests and writes answers. What it cannot read it would refuse in words of its own; those
//! are swallowed, and ours are said.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mailswitch_config::table::listener::Ipv6Socket;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::Api;
use super::answer::Refusal;
use crate::backend::announce::canonical;
use crate::drive::{Leg, Upgrade};
use crate::error_chain;
use crate::session::bridge::ending::end_client;
use crate::tls::Stream;

/// Connections at a time: an operator has a few, and whoever opens more must not take the node's descriptors.
const MOST_CONNECTIONS: usize = 64;
/// For the handshake, and again for the head: a client that only connects holds one of few places.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a whole exchange: the slowest endpoint connects to a store, and a client may not take its answer.
const LONGEST_EXCHANGE: Duration = Duration::from_secs(120);
/// Bytes of a head.
const MAX_HEAD: usize = 16 * 1024;
/// Between two tries to accept when descriptors are short.
const PAUSE: Duration = Duration::from_millis(100);

/// The bound socket of `[admin]`.
#[derive(Debug)]
pub(crate) struct AdminSocket(TcpListener);

impl AdminSocket {
    /// # Errors
    /// As the operating system says.
    pub(crate) fn bind(address: SocketAddr, ipv6: Ipv6Socket) -> io::Result<Self> {
        crate::listen::bind(address, ipv6).map(Self)
    }

    /// On a socket that listens already.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn on(socket: std::net::TcpListener) -> io::Result<Self> {
        crate::listen::adopt(socket).map(Self)
    }

    /// The socket itself.
    pub(crate) const fn socket(&self) -> &TcpListener {
        &self.0
    }

    /// As bound.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves for as long as the process lives: also while it stops.
    pub(crate) async fn serve(self, api: Arc<Api>) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let (tcp, client) = match self.0.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "the management API cannot accept");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::debug!("the management API has no place for another connection");
                continue;
            };
            let client = canonical(client);
            let span = tracing::error_span!("admin", peer = %client);
            let api = Arc::clone(&api);
            let exchange = async move {
                if timeout(LONGEST_EXCHANGE, exchange(tcp, client, api))
                    .await
                    .is_err()
                {
                    tracing::debug!("a connection to the management API took too long");
                }
                drop(place);
            };
            tokio::spawn(exchange.instrument(span));
        }
    }
}

async fn exchange(tcp: TcpStream, client: SocketAddr, api: Arc<Api>) {
    let _ = tcp.set_nodelay(true);
    let mut leg = Leg::new(Stream::plain(tcp));
    let handshake = leg.start_tls(Upgrade::Server(&api.node.tls));
    match timeout(PATIENCE, handshake).await {
        Ok(Ok(_established)) => {}
        Ok(Err(error)) => {
            tracing::debug!(error = error_chain(&error), "no TLS on the management API");
            return;
        }
        Err(_) => return,
    }
    if let (Some(stream), _nothing) = leg.into_parts() {
        speak(stream, client, api).await;
    }
}

async fn speak(stream: Stream, client: SocketAddr, api: Arc<Api>) {
    let asked = Arc::new(AtomicBool::new(false));
    let io = Muted {
        stream,
        until: Arc::clone(&asked),
    };
    let answering = Arc::clone(&api);
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let answer = Arc::clone(&answering).answer(client, request.map(axum::body::Body::new) as Request);
        // The library moves it.
        Box::pin(async move { Ok::<_, std::convert::Infallible>(answer.await) })
    });
    let mut connection = http1::Builder::new()
        .keep_alive(false)
        // Who has sent its request may say that it sends no more.
        .half_close(true)
        .max_buf_size(MAX_HEAD)
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(io), service);
    let ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let mut stream = connection.into_parts().io.into_inner().stream;
    if let Err(error) = ended {
        tracing::debug!(
            error = error_chain(&error),
            "a connection to the management API failed"
        );
        if asked.load(Ordering::Relaxed) || !error.is_parse() {
            return;
        }
        let refusal = match error.is_parse_too_large() {
            true => Refusal::HeadTooLarge,
            false => Refusal::BadRequest,
        };
        let refusal = api.unreadable(client, refusal);
        if stream.write_all(&refusal.in_full()).await.is_err() {
            return;
        }
    }
    // A body that nobody reads must not reset the answer away.
    end_client(stream).await;
}

/// What is written before a request was read is the library's own, and is not said.
struct Muted {
    stream: Stream,
    until: Arc<AtomicBool>,
}

impl AsyncRead for Muted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Muted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.until.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
