//! Both directions of one connection at once: sends without reading, reads while sending, and knows when it is stuck.
//! ([`Raw`](crate::raw::Raw) speaks by turns.)

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustls::Connection;

/// So long without a byte that will be taken: the other side does not read.
const STUCK: Duration = Duration::from_millis(700);
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PIECE: usize = 64 * 1024;

/// What is sent: fills the buffer, and says how much of it; 0 is the end.
pub trait Source {
    fn fill(&mut self, buffer: &mut [u8]) -> usize;
}

/// What is received.
pub trait Sink {
    /// Takes the next bytes; true when these were the last.
    fn take(&mut self, bytes: &[u8]) -> Result<bool>;
}

#[derive(Debug)]
pub struct Duplex {
    tcp: TcpStream,
    tls: Option<Connection>,
    /// Received before, and not yet taken.
    pending: Vec<u8>,
}

impl Duplex {
    pub(crate) fn new(tcp: TcpStream, tls: Option<Connection>, pending: Vec<u8>) -> Result<Self> {
        tcp.set_nonblocking(true)?;
        Ok(Self { tcp, tls, pending })
    }

    /// Sends all of `source` and takes all of `sink`, at once.
    pub fn exchange(&mut self, source: &mut impl Source, sink: &mut impl Sink) -> Result<()> {
        self.run(source, sink, None)
    }

    /// The same, but reads nothing before what it sends is stuck. Then `stuck` is called, once, with the number of
    /// bytes that were taken so far.
    pub fn exchange_when_stuck(
        &mut self,
        source: &mut impl Source,
        sink: &mut impl Sink,
        stuck: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        self.run(source, sink, Some(stuck))
    }

    fn run(
        &mut self,
        source: &mut impl Source,
        sink: &mut impl Sink,
        mut stuck: Option<&mut dyn FnMut(usize) -> Result<()>>,
    ) -> Result<()> {
        let mut piece = vec![0; PIECE];
        let (mut start, mut end, mut sent) = (0, source.fill(&mut piece), 0);
        let mut over = false;
        let mut moved_at = Instant::now();
        while end > 0 || !over || self.wants_write() {
            let mut moved = false;
            if end > 0 {
                let took = self.write(&piece[start..end])?;
                (start, sent, moved) = (start + took, sent + took, took > 0);
                if start == end {
                    (start, end) = (0, source.fill(&mut piece));
                }
            } else if self.wants_write() {
                self.flush()?;
            }
            if !over && stuck.is_none() {
                moved |= self.read(&mut |bytes| {
                    ensure!(
                        !over,
                        "bytes behind the end: {:?}",
                        bytes.escape_ascii().to_string()
                    );
                    over = sink.take(bytes)?;
                    Ok(())
                })?;
            }
            if moved {
                moved_at = Instant::now();
                continue;
            }
            if moved_at.elapsed() > STUCK
                && let Some(call) = stuck.take()
            {
                ensure!(
                    end > 0,
                    "all {sent} bytes were taken by somebody who was not read"
                );
                call(sent)?;
                moved_at = Instant::now();
            }
            ensure!(
                moved_at.elapsed() < PATIENCE,
                "nothing moves any more behind {sent} bytes sent; all received: {over}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// How much was taken, into the socket or on the way to it.
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let Some(tls) = &mut self.tls else {
            return unless_blocked(self.tcp.write(bytes)).context("write");
        };
        let took = tls.writer().write(bytes)?;
        self.flush()?;
        Ok(took)
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() && unless_blocked(tls.write_tls(&mut self.tcp))? > 0 {}
        }
        Ok(())
    }

    /// False: there was nothing.
    fn read(&mut self, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        if !self.pending.is_empty() {
            take(&std::mem::take(&mut self.pending))?;
            return Ok(true);
        }
        let mut buffer = vec![0; PIECE];
        let Some(tls) = &mut self.tls else {
            let read = match self.tcp.read(&mut buffer) {
                Ok(0) => bail!("the connection has ended"),
                read => unless_blocked(read).context("read")?,
            };
            if read > 0 {
                take(&buffer[..read])?;
            }
            return Ok(read > 0);
        };
        match tls.read_tls(&mut self.tcp) {
            Ok(0) => bail!("the connection has ended"),
            other => {
                if unless_blocked(other).context("read")? == 0 {
                    return Ok(false);
                }
            }
        }
        tls.process_new_packets()?;
        loop {
            let read = unless_blocked(tls.reader().read(&mut buffer))?;
            if read == 0 {
                return Ok(true);
            }
            take(&buffer[..read])?;
        }
    }
}

fn unless_blocked(outcome: std::io::Result<usize>) -> std::io::Result<usize> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// Bytes that are known by their position: sent by one side, compared by the other.
#[derive(Debug, Clone)]
pub struct Pattern {
    seed: u64,
    position: usize,
    size: usize,
}

impl Pattern {
    /// Those of a seed, so many.
    #[must_use]
    pub fn new(seed: u64, size: usize) -> Self {
        Self {
            seed,
            position: 0,
            size,
        }
    }

    /// The bytes from here on.
    fn write(&mut self, buffer: &mut [u8]) {
        for byte in &mut *buffer {
            // A multiplicative hash of the word's number, a byte of it after the other.
            let word = (self.seed + self.position as u64 / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *byte = (word >> (self.position % 8 * 8)).to_le_bytes()[0];
            self.position += 1;
        }
    }
}

impl Source for Pattern {
    fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.size - self.position);
        self.write(&mut buffer[..count]);
        count
    }
}

impl Sink for Pattern {
    fn take(&mut self, bytes: &[u8]) -> Result<bool> {
        ensure!(
            bytes.len() <= self.size - self.position,
            "more than {} bytes",
            self.size
        );
        let at = self.position;
        let mut expected = vec![0; bytes.len()];
        self.write(&mut expected);
        ensure!(bytes == expected, "other bytes than were sent, behind {at}");
        Ok(self.position == self.size)
    }
}

impl Source for &[u8] {
    fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.len());
        buffer[..count].copy_from_slice(&self[..count]);
        *self = &self[count..];
        count
    }
}
