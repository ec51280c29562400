//! A connection lent to the HTTP library: it comes back when the library drops it, in whatever way that ends, or when it
//! is taken back, so that both legs can be ended our way (promise Q2, design section 6). A leg that has to be reset is
//! reset when it is taken back, whatever the library is about to do with it (L1).
//!
//! The library's own shutdown only flushes. What has moved is noted, for the timers of the connection's owner.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::sync::{Notify, oneshot};

use crate::tls::Stream;

/// The library has it.
#[derive(Debug)]
pub(super) struct Lent {
    traffic: Arc<Traffic>,
    _until_dropped: oneshot::Sender<Infallible>,
}

/// Whoever has lent it. Dropped, it does not take it back.
#[derive(Debug)]
pub(super) struct Loan {
    traffic: Arc<Traffic>,
    dropped: oneshot::Receiver<Infallible>,
}

impl Loan {
    /// What moves on it.
    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// The connection, at once: the library finds none any more. None: it was taken before.
    pub(super) fn take(&self) -> Option<Stream> {
        self.traffic.stream.lock().take()
    }

    /// The connection, once the library has dropped it.
    pub(super) async fn returned(&mut self) -> Option<Stream> {
        // It is never sent anything.
        let _ = (&mut self.dropped).await;
        self.take()
    }
}

/// A lent connection, and what has moved on it.
#[derive(Debug)]
pub(super) struct Traffic {
    // Locked for one system call at a time, and by the library alone until it is taken back.
    stream: Mutex<Option<Stream>>,
    read: AtomicU64,
    /// The peer does not take what is written now.
    stalled: AtomicBool,
    /// Somebody wants to know when the next byte is read.
    awaited: AtomicBool,
    came: Notify,
}

impl Traffic {
    /// Bytes that were read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Something is written that the peer does not take: what is said now would stand in its middle.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// The peer has said its last byte, or is gone. Seen also where nobody reads what it sent before.
    pub(super) fn is_half_closed(&self) -> bool {
        let stream = self.stream.lock();
        // Of what the runtime knows about the socket this asks for the peer's end alone, and waits for nothing.
        let ready = stream
            .as_ref()
            .and_then(|stream| stream.tcp().ready(Interest::PRIORITY).now_or_never());
        match ready {
            Some(Ok(ready)) => ready.is_read_closed(),
            Some(Err(_)) => true,
            None => stream.is_none(),
        }
    }

    /// Ends when more than `seen` bytes have been read.
    pub(super) async fn more_than(&self, seen: u64) {
        loop {
            let came = self.came.notified();
            self.awaited.store(true, Ordering::SeqCst);
            if self.read.load(Ordering::SeqCst) > seen {
                return;
            }
            came.await;
        }
    }
}

impl Lent {
    pub(super) fn new(stream: Stream) -> (Self, Loan) {
        let (_until_dropped, dropped) = oneshot::channel();
        let traffic = Arc::new(Traffic {
            stream: Mutex::new(Some(stream)),
            read: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            came: Notify::new(),
        });
        let loan = Loan {
            traffic: Arc::clone(&traffic),
            dropped,
        };
        let lent = Self {
            traffic,
            _until_dropped,
        };
        (lent, loan)
    }

    fn with<T>(&self, poll: impl FnOnce(Pin<&mut Stream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self.traffic.stream.lock().as_mut() {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn noted<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.traffic
            .stalled
            .store(written.is_pending(), Ordering::Relaxed);
        written
    }
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.with(|stream| stream.poll_read(cx, buf)))?;
        let read = (buf.filled().len() - before) as u64;
        let traffic = &self.traffic;
        traffic.read.fetch_add(read, Ordering::SeqCst);
        if read > 0 && traffic.awaited.swap(false, Ordering::SeqCst) {
            traffic.came.notify_waiters();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.with(|stream| stream.poll_write(cx, buf));
        self.noted(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.with(|stream| stream.poll_flush(cx));
        self.noted(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
