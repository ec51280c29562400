//! The one driver of all dialogues, both roles: moves bytes between a dialogue and its stream, and does its TLS.
//!
//! It may be given up at any await: the leg stays with its owner, who may still say a farewell on it. Bounded in
//! time by its callers, in memory by the dialogue's buffers.

use std::io;
use std::time::Duration;

use mailswitch_dialogue::{Dialogue, Input, Output, Step, TlsBoundary, TlsEstablished};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::tls::{ClientTls, HttpVersions, ServerTls, Stream, UpgradeError};

/// What a client may send ahead while its login waits: with the longest credential it takes 64 KiB (behaviour §7.3).
const READ_AHEAD: usize = 16 * 1024;
/// A read may take so much more.
const NEXT_READ: usize = 1024;

/// A connection in its dialogue: the stream, what was received and not used, what was said and not written.
#[derive(Debug)]
pub struct Leg {
    stream: Option<Stream>,
    /// Received.
    pub input: Input,
    output: Output,
    settling: Settling,
}

/// Whether a peer is left alone for a moment behind its words in TLS, before it is told anything more there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settling {
    /// It listens at once, as a peer should.
    Never,
    /// For so long, once TLS stands.
    AfterTls(Duration),
    /// For so long, before each of our words.
    Now(Duration),
}

/// Who makes a leg encrypted when its dialogue asks for it.
#[derive(Debug, Clone, Copy)]
pub enum Upgrade<'a> {
    /// We are the server.
    Server(&'a ServerTls),
    /// We are the client.
    Client(&'a ClientTls),
    /// We are the server, of HTTP.
    HttpServer(&'a ServerTls),
    /// We are the client, of HTTP.
    HttpClient(&'a ClientTls, HttpVersions),
    /// Nobody: this leg has no TLS.
    Never,
}

/// Why a dialogue came to no end of its own.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The peer closed.
    #[error("the connection was closed")]
    Closed,
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The handshake failed.
    #[error(transparent)]
    Tls(#[from] UpgradeError),
    /// The dialogue asked for TLS on a leg that has none: it was configured wrongly.
    #[error("this leg has no TLS settings")]
    NoTls,
}

impl Leg {
    /// A connection on which nothing was said.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self {
            stream: Some(stream),
            input: Input::new(),
            output: Output::new(),
            settling: Settling::Never,
        }
    }

    /// For a peer that may not hear what comes right behind its own words in TLS. To be said before TLS starts; it lasts as long
    /// as dialogues do.
    #[must_use]
    pub fn settles_after_tls(mut self, pause: Duration) -> Self {
        self.settling = Settling::AfterTls(pause);
        self
    }

    /// The stream; none after a handshake that failed or was given up.
    #[must_use]
    pub fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    /// The stream, and what was received on it and not used.
    #[must_use]
    pub fn into_parts(self) -> (Option<Stream>, Input) {
        (self.stream, self.input)
    }

    /// Runs a dialogue to its end.
    ///
    /// # Errors
    /// When the connection ends before it.
    pub async fn drive<D>(
        &mut self,
        dialogue: &mut (dyn Dialogue<Done = D> + Send),
        upgrade: Upgrade<'_>,
    ) -> Result<D, DriveError> {
        loop {
            let step = dialogue.step(&mut self.input, &mut self.output);
            self.write().await?;
            match step {
                Step::Flush => {}
                Step::NeedInput => self.read().await?,
                Step::Done(done) => return Ok(done),
                Step::StartTls(boundary) => {
                    dialogue.tls_started(self.upgrade(boundary, upgrade).await?);
                }
            }
        }
    }

    /// TLS before any dialogue.
    ///
    /// # Errors
    /// When the handshake fails, or something was received before it.
    pub async fn start_tls(&mut self, upgrade: Upgrade<'_>) -> Result<TlsEstablished, DriveError> {
        let boundary = self
            .input
            .tls_boundary()
            .map_err(|error| DriveError::Io(io::Error::other(error)))?;
        self.upgrade(boundary, upgrade).await
    }

    async fn upgrade(
        &mut self,
        boundary: TlsBoundary,
        upgrade: Upgrade<'_>,
    ) -> Result<TlsEstablished, DriveError> {
        let stream = self.stream.take().ok_or(DriveError::Closed)?;
        let (stream, established) = match upgrade {
            Upgrade::Server(tls) => tls.upgrade(stream, boundary).await?,
            Upgrade::Client(tls) => tls.upgrade(stream, boundary).await?,
            Upgrade::HttpServer(tls) => tls.upgrade_http(stream, boundary).await?,
            Upgrade::HttpClient(tls, offer) => tls.upgrade_http(stream, boundary, offer).await?,
            Upgrade::Never => return Err(DriveError::NoTls),
        };
        self.stream = Some(stream);
        if let Settling::AfterTls(pause) = self.settling {
            self.settling = Settling::Now(pause);
        }
        Ok(established)
    }

    /// Says something outside of any dialogue. Not in the middle of a line that is being written: then nothing.
    pub async fn say(&mut self, words: &[u8]) -> io::Result<()> {
        let Some(stream) = self.stream.as_mut().filter(|_| self.output.is_empty()) else {
            return Ok(());
        };
        stream.write_all(words).await?;
        stream.flush().await
    }

    /// Reads what the peer sends out of turn, `READ_AHEAD` bytes at most. False: there is no room for more.
    ///
    /// # Errors
    /// When it has hung up.
    pub async fn read_ahead(&mut self) -> Result<bool, DriveError> {
        if self.input.len() + NEXT_READ > READ_AHEAD {
            return Ok(false);
        }
        self.read().await.map(|()| true)
    }

    async fn write(&mut self) -> Result<(), DriveError> {
        if self.output.is_empty() {
            return Ok(());
        }
        if let Settling::Now(pause) = self.settling {
            tokio::time::sleep(pause).await;
        }
        let stream = self.stream.as_mut().ok_or(DriveError::Closed)?;
        while !self.output.is_empty() {
            let written = stream
                .write(self.output.unwritten())
                .await
                .map_err(DriveError::Io)?;
            if written == 0 {
                return Err(DriveError::Closed);
            }
            self.output.written(written);
        }
        stream.flush().await.map_err(DriveError::Io)
    }

    async fn read(&mut self) -> Result<(), DriveError> {
        let stream = self.stream.as_mut().ok_or(DriveError::Closed)?;
        let read = stream.read(self.input.spare()).await.map_err(DriveError::Io)?;
        if read == 0 {
            return Err(DriveError::Closed);
        }
        self.input.filled(read);
        Ok(())
    }
}
