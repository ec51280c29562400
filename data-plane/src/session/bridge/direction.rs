//! One direction of a bridge: reads on one side, writes on the other, half-closes when the reader is at its end.
//!
//! Reads again only when everything read is written (back-pressure), and holds a buffer only between the two.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffers::{self, Size};

/// Reads in a row that filled their buffer before the next one is large.
const FULL_READS_OF_BULK: u8 = 2;

/// Whose fault ended a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The side that was read from.
    Reader,
    /// The side that was written to.
    Writer,
}

/// How far a direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes may come.
    Open,
    /// The reader is at its end; what was read is being written, then the writer is half-closed.
    Ending,
    /// The writer is half-closed.
    Done,
}

#[derive(Debug)]
pub(super) struct Direction {
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    moved: u64,
    state: State,
    full_reads: u8,
    unflushed: bool,
}

impl Direction {
    /// `first` goes before everything that is read.
    pub(super) fn new(first: Vec<u8>) -> Self {
        let end = first.len();
        Self {
            buffer: (end > 0).then(|| first.into_boxed_slice()),
            start: 0,
            end,
            moved: end as u64,
            state: State::Open,
            full_reads: 0,
            unflushed: false,
        }
    }

    /// Bytes that were read for this direction.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// No byte comes any more.
    pub(super) fn reader_has_ended(&self) -> bool {
        self.state != State::Open
    }

    /// Read, and not yet taken by the writer.
    pub(super) fn holds_bytes(&self) -> bool {
        self.start < self.end || self.unflushed
    }

    /// The writer takes nothing any more: this direction is done, whatever the reader says.
    pub(super) fn give_up(&mut self) {
        self.discard();
        self.state = State::Done;
    }

    #[cfg(test)]
    pub(super) fn holds_buffer(&self) -> bool {
        self.buffer.is_some()
    }

    /// Moves what can be moved now, and no further chunk once it may not. Ready when the writer is half-closed after the
    /// reader's end.
    pub(super) fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
        may_move: impl Fn() -> bool,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if !may_move() {
                return Poll::Pending;
            }
            ready!(self.poll_write_out(cx, writer)).map_err(|_| Broken::Writer)?;
            match self.state {
                State::Open => {
                    if self
                        .poll_fill(cx, reader)
                        .map_err(|_| Broken::Reader)?
                        .is_pending()
                    {
                        ready!(self.poll_flush(cx, writer)).map_err(|_| Broken::Writer)?;
                        return Poll::Pending;
                    }
                }
                State::Ending => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(|_| Broken::Writer)?;
                    self.unflushed = false;
                    self.state = State::Done;
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Brings what was read to the writer and reads no more. Ready when all of it has left.
    pub(super) fn poll_finish_writing(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx, writer))?;
        self.poll_flush(cx, writer)
    }

    /// Forgets what was read: it will not be delivered.
    pub(super) fn discard(&mut self) {
        self.give_back();
        self.unflushed = false;
    }

    fn poll_write_out(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while let Some(buffer) = self.buffer.as_deref().filter(|_| self.start < self.end) {
            let written = ready!(Pin::new(&mut *writer).poll_write(cx, &buffer[self.start..self.end]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += written;
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(writer).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<()>> {
        let wanted = if self.full_reads >= FULL_READS_OF_BULK {
            Size::Large
        } else {
            Size::Small
        };
        if self
            .buffer
            .as_ref()
            .is_some_and(|buffer| buffer.len() != wanted.bytes())
        {
            self.give_back();
        }
        let mut buffer = self.buffer.take().unwrap_or_else(|| buffers::take(wanted));
        let mut unread = ReadBuf::new(&mut buffer);
        let polled = Pin::new(reader).poll_read(cx, &mut unread);
        let read = unread.filled().len();
        (self.start, self.end) = (0, read);
        if read == 0 {
            // Idle, at the end or broken: in any case no bytes, so no buffer.
            buffers::give_back(buffer);
            self.full_reads = 0;
        } else {
            self.full_reads = if read >= buffers::SMALL {
                self.full_reads.saturating_add(1)
            } else {
                0
            };
            self.buffer = Some(buffer);
        }
        match ready!(polled) {
            Ok(()) if read == 0 => self.state = State::Ending,
            Ok(()) => self.moved += read as u64,
            Err(error) => return Poll::Ready(Err(error)),
        }
        Poll::Ready(Ok(()))
    }

    fn give_back(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            buffers::give_back(buffer);
        }
        (self.start, self.end) = (0, 0);
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        self.give_back();
    }
}
