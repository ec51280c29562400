//! A connection to a backend that speaks HTTP: made for one client's connection, used for one request at a time, and
//! ended our way, half-close first (promise Q2).
//!
//! The library drives it on a task of its own; the connection itself is only lent to it (`lent.rs`).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

use super::lent::{Lent, Loan};
use super::limits::MOST_FIELDS;
use super::upload::Upload;
use crate::backend::Backend;
use crate::backend::announce::ClientEnds;
use crate::backend::establish::{Connection, EstablishError, Purpose, Stage};
use crate::session::bridge::ending::end_backend;
use crate::tls::{HttpVersion, HttpVersions, Stream};

/// What a leg is made for.
#[derive(Debug)]
pub(super) struct ForHttp {
    pub(super) ends: ClientEnds,
    /// What the backend is offered.
    pub(super) offer: HttpVersions,
    /// `http.max_head_size`.
    pub(super) max_head_size: usize,
    pub(super) backend: Arc<Backend>,
}

/// A backend's connection.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) backend: Arc<Backend>,
    pub(super) round_trip: Duration,
    pub(super) served: Served,
    sender: Sender,
    driver: JoinHandle<()>,
    helpers: Helpers,
    loan: Loan,
    /// What was read behind a 101.
    rest: oneshot::Receiver<Bytes>,
}

/// Whether a leg has served a request before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    Nothing,
    Before,
}

/// The tasks that the library makes for itself: with HTTP/2 one of them has the connection.
#[derive(Debug, Clone, Default)]
struct Helpers(Arc<Mutex<Vec<AbortHandle>>>);

impl<F> hyper::rt::Executor<F> for Helpers
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(task).abort_handle());
    }
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Upload>),
    Http2(http2::SendRequest<Upload>),
}

/// A request that has no answer. With it, when not a byte of it has left.
pub(super) type Unanswered = TrySendError<Request<Upload>>;

type Answering = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Unanswered>> + Send>>;

impl Purpose for ForHttp {
    type Made = Leg;

    fn ends(&self) -> &ClientEnds {
        &self.ends
    }

    fn offers(&self) -> HttpVersions {
        self.offer
    }

    async fn begin(&self, connection: Connection<'_>) -> Result<Leg, EstablishError> {
        let (stream, _nothing) = connection.leg.into_parts();
        let failed = |source| EstablishError::Io {
            stage: Stage::Handshake,
            hint: "",
            source,
        };
        let stream = stream.ok_or_else(|| failed(std::io::ErrorKind::NotConnected.into()))?;
        let version = match (self.offer, connection.endpoint.tls) {
            // In clear there is nobody to ask: it is as the file says.
            (HttpVersions::Http2, mailswitch_config::TlsMode::Plain) => HttpVersion::Http2,
            _ => stream.http_version(),
        };
        let leg = Leg::speak(self, stream, version, connection.round_trip).await;
        leg.map_err(|error| failed(std::io::Error::other(error)))
    }
}

impl Leg {
    async fn speak(
        purpose: &ForHttp,
        stream: Stream,
        version: HttpVersion,
        round_trip: Duration,
    ) -> hyper::Result<Self> {
        let (lent, loan) = Lent::new(stream);
        let io = TokioIo::new(lent);
        let (rest_sender, rest) = oneshot::channel();
        let helpers = Helpers::default();
        let (sender, driver) = match version {
            HttpVersion::Http1 => {
                let (sender, mut connection) = http1::Builder::new()
                    .max_headers(MOST_FIELDS)
                    .max_header_size(purpose.max_head_size)
                    .max_buf_size(purpose.max_head_size.max(64 * 1024))
                    .handshake(io)
                    .await?;
                let driver = tokio::spawn(async move {
                    // How it ended is its request's to say.
                    let _ = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
                    // Before the connection is given back: whoever waits for that then has both.
                    let _ = rest_sender.send(connection.into_parts().read_buf);
                });
                (Sender::Http1(sender), driver)
            }
            HttpVersion::Http2 => {
                let (sender, connection) = http2::Builder::new(helpers.clone())
                    .timer(TokioTimer::new())
                    .max_header_list_size(u32::try_from(purpose.max_head_size).unwrap_or(u32::MAX))
                    .handshake(io)
                    .await?;
                let driver = tokio::spawn(async move {
                    let _ = connection.await;
                });
                (Sender::Http2(sender), driver)
            }
        };
        Ok(Self {
            backend: Arc::clone(&purpose.backend),
            round_trip,
            served: Served::Nothing,
            sender,
            driver,
            helpers,
            loan,
            rest,
        })
    }

    /// What it speaks.
    pub(super) fn version(&self) -> HttpVersion {
        match self.sender {
            Sender::Http1(_) => HttpVersion::Http1,
            Sender::Http2(_) => HttpVersion::Http2,
        }
    }

    /// Bytes that the backend has sent.
    pub(super) fn read(&self) -> u64 {
        self.loan.traffic().read()
    }

    /// Sends a request. One at a time.
    pub(super) fn send(&mut self, request: Request<Upload>) -> Answering {
        match &mut self.sender {
            Sender::Http1(sender) => Box::pin(sender.try_send_request(request)),
            Sender::Http2(sender) => Box::pin(sender.try_send_request(request)),
        }
    }

    /// Waits until it takes another request. False: it never will.
    pub(super) async fn takes_another(&mut self) -> bool {
        self.served = Served::Before;
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Ready when the backend has closed it.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.driver).poll(cx).map(|_| ())
    }

    /// The connection itself behind a 101, with what was read behind it. None: it failed.
    pub(super) async fn into_switched(mut self) -> Option<(Stream, Bytes)> {
        let stream = self.loan.returned().await?;
        let rest = (&mut self.rest).await.unwrap_or_default();
        Some((stream, rest))
    }

    /// Ends it: half-close, then read until the backend's own end. Dropped before that, it is reset.
    pub(super) fn end(self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let stream = self.take_back();
        Box::pin(async move {
            if let Some(stream) = stream {
                end_backend(stream).await;
            }
        })
    }

    /// At once: not a byte more of a request leaves.
    fn take_back(&self) -> Option<Stream> {
        self.driver.abort();
        self.helpers.0.lock().iter().for_each(AbortHandle::abort);
        self.loan.take()
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        // Dropped with its stream, it is reset: linger is zero since the dial.
        drop(self.take_back());
    }
}
