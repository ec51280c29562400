//! A connection lent to the HTTP library: it comes back when the library drops it, in whatever way that ends, so that
//! both legs can be ended our way (promise Q2, design section 6).
//!
//! The library's own shutdown only flushes. What has moved is noted, for the timers of the connection's owner.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, oneshot};

use crate::tls::Stream;

/// The library has it.
#[derive(Debug)]
pub(super) struct Lent {
    // None only while it is dropped.
    stream: Option<Stream>,
    back: Option<oneshot::Sender<Stream>>,
    traffic: Arc<Traffic>,
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
    /// The receiver gets the connection back.
    pub(super) fn new(stream: Stream, traffic: Arc<Traffic>) -> (Self, oneshot::Receiver<Stream>) {
        let (back, returned) = oneshot::channel();
        let lent = Self {
            stream: Some(stream),
            back: Some(back),
            traffic,
        };
        (lent, returned)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.stream
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn noted<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.traffic
            .stalled
            .store(written.is_pending(), Ordering::Relaxed);
        written
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // Nobody waits for it: it is closed.
            let _ = back.send(stream);
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.stream()?.poll_read(cx, buf))?;
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
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write(cx, buf);
        self.noted(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream()?.poll_flush(cx);
        self.noted(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
