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

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, oneshot};

use crate::tls::Stream;

/// The library has it.
#[derive(Debug)]
pub(super) struct Lent {
    // Locked for one system call at a time, and by the library alone until it is taken back.
    stream: Arc<Mutex<Option<Stream>>>,
    _until_dropped: oneshot::Sender<Infallible>,
    traffic: Arc<Traffic>,
}

/// Whoever has lent it. Dropped, it does not take it back.
#[derive(Debug)]
pub(super) struct Loan {
    stream: Arc<Mutex<Option<Stream>>>,
    dropped: oneshot::Receiver<Infallible>,
}

impl Loan {
    /// The connection, at once: the library finds none any more. None: it was taken before.
    pub(super) fn take(&self) -> Option<Stream> {
        self.stream.lock().take()
    }

    /// The connection, once the library has dropped it.
    pub(super) async fn returned(&mut self) -> Option<Stream> {
        // It is never sent anything.
        let _ = (&mut self.dropped).await;
        self.take()
    }
}

/// What has moved on a lent connection.
#[derive(Debug, Default)]
pub(super) struct Traffic {
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
    pub(super) fn new(stream: Stream, traffic: Arc<Traffic>) -> (Self, Loan) {
        let (_until_dropped, dropped) = oneshot::channel();
        let stream = Arc::new(Mutex::new(Some(stream)));
        let loan = Loan {
            stream: Arc::clone(&stream),
            dropped,
        };
        let lent = Self {
            stream,
            _until_dropped,
            traffic,
        };
        (lent, loan)
    }

    fn with<T>(&self, poll: impl FnOnce(Pin<&mut Stream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self.stream.lock().as_mut() {
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
