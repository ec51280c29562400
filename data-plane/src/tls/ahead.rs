//! The socket below the encryption, read ahead: the TLS library asks for 4 KiB at a time, five calls for a record of
//! 16 KiB. Here one call fetches as many records as there are, into a buffer that is lent from the pool while bytes
//! move and given back when they do not.
//!
//! It never says that there is nothing to read while it holds bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::buffers::{self, Size};

/// Reads in a row that filled their buffer before the next one is large.
const FULL_READS_OF_BULK: u8 = 2;

#[derive(Debug)]
pub(super) struct Ahead {
    tcp: TcpStream,
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    full_reads: u8,
}

impl Ahead {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            buffer: None,
            start: 0,
            end: 0,
            full_reads: 0,
        }
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let size = match self.full_reads {
            0..FULL_READS_OF_BULK => Size::Small,
            _ => Size::Large,
        };
        let mut buffer = buffers::take(size);
        let mut unread = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut self.tcp).poll_read(cx, &mut unread);
        let read = unread.filled().len();
        self.full_reads = match read {
            _ if read < buffers::SMALL => 0,
            _ => self.full_reads.saturating_add(1),
        };
        if read == 0 {
            buffers::give_back(buffer);
        } else {
            (self.start, self.end) = (0, read);
            self.buffer = Some(buffer);
        }
        polled
    }

    fn give_back(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            buffers::give_back(buffer);
        }
    }
}

impl AsyncRead for Ahead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_none() {
            ready!(self.poll_fill(cx))?;
        }
        let this = &mut *self;
        // None: the socket is at its end.
        if let Some(buffer) = &this.buffer {
            let length = buf.remaining().min(this.end - this.start);
            buf.put_slice(&buffer[this.start..this.start + length]);
            this.start += length;
            if this.start == this.end {
                this.give_back();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.give_back();
    }
}
