//! Drives a dialogue with a backend, and keeps what the backend said: the dialogues tell a session only what it needs,
//! a probe wants the capabilities too. Bounded by the dialogues' own bounds and by `HEARD`; in time by the caller.

use std::io;

use mailswitch_dialogue::{Dialogue, Input, Output, Step};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::tls::{Encrypted, Shown, Tls, TlsError};

/// A backend that never stops talking: the dialogues end before that.
const HEARD: usize = 256 * 1024;

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Yes,
    Not,
}

/// A connection in its dialogue.
#[derive(Debug)]
pub(crate) struct Talk {
    transport: Option<Transport>,
    input: Input,
    output: Output,
    /// Since the connection, or since TLS stands.
    pub(crate) heard: Vec<u8>,
    /// Before TLS, when it was started in the dialogue.
    pub(crate) heard_in_clear: Vec<u8>,
    /// Of the handshake, once there was one.
    pub(crate) shown: Option<Shown>,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Encrypted(Box<Encrypted>),
}

/// Why a dialogue came to no end of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TalkError {
    #[error("the connection was closed")]
    Closed,
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
}

impl Talk {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self {
            transport: Some(Transport::Plain(tcp)),
            input: Input::new(),
            output: Output::new(),
            heard: Vec::new(),
            heard_in_clear: Vec::new(),
            shown: None,
        }
    }

    /// Something that goes before everything else: a PROXY header.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), TalkError> {
        self.stream()?.write_all(bytes).await.map_err(TalkError::Io)?;
        self.stream()?.flush().await.map_err(TalkError::Io)
    }

    /// TLS before any dialogue.
    pub(crate) async fn start_tls(
        &mut self,
        tls: &Tls,
    ) -> Result<mailswitch_dialogue::TlsEstablished, TalkError> {
        let boundary = self.input.tls_boundary();
        let boundary = boundary.map_err(|error| TalkError::Io(io::Error::other(error)))?;
        self.upgrade(tls, boundary).await
    }

    /// To its end.
    pub(crate) async fn drive<D>(
        &mut self,
        dialogue: &mut (dyn Dialogue<Done = D> + Send),
        tls: &Tls,
    ) -> Result<D, TalkError> {
        loop {
            let step = dialogue.step(&mut self.input, &mut self.output);
            while !self.output.is_empty() {
                let said = self.output.unwritten().to_vec();
                self.send(&said).await?;
                self.output.written(said.len());
            }
            match step {
                Step::Flush => {}
                Step::NeedInput => self.hear().await?,
                Step::Done(done) => return Ok(done),
                Step::StartTls(boundary) => {
                    let established = self.upgrade(tls, boundary).await?;
                    dialogue.tls_started(established);
                }
            }
        }
    }

    /// Waits for anything.
    pub(crate) async fn hear(&mut self) -> Result<(), TalkError> {
        let transport = self.transport.as_mut().ok_or(TalkError::Closed)?;
        let spare = self.input.spare();
        let read = match transport {
            Transport::Plain(tcp) => tcp.read(spare).await,
            Transport::Encrypted(tls) => tls.read(spare).await,
        };
        let read = match read {
            Ok(0) => return Err(TalkError::Closed),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(TalkError::Closed),
            Err(error) => return Err(TalkError::Io(error)),
        };
        if self.heard.len() < HEARD {
            self.heard.extend_from_slice(&spare[..read]);
        }
        self.input.filled(read);
        Ok(())
    }

    /// One reply of SMTP or LMTP, as its lines; the driver of the dialogues is not used for this.
    pub(crate) async fn reply(&mut self) -> Result<Vec<String>, TalkError> {
        self.heard.clear();
        self.input = Input::new();
        loop {
            self.hear().await?;
            // Nobody parses it here: room for the rest.
            self.input = Input::new();
            if let Some(lines) = crate::offer::whole_reply(&self.heard) {
                return Ok(lines);
            }
            if self.heard.len() >= HEARD {
                return Err(TalkError::Io(io::Error::other("its reply has no end")));
            }
        }
    }

    /// An answer, as far as `whole` needs it; it is told when nothing more will come.
    pub(crate) async fn answer<T>(
        &mut self,
        whole: impl Fn(&[u8], Ended) -> Option<T>,
    ) -> Result<T, TalkError> {
        self.heard.clear();
        loop {
            self.input = Input::new();
            let ended = match self.hear().await {
                Ok(()) if self.heard.len() < HEARD => Ended::Not,
                Ok(()) | Err(TalkError::Closed) => Ended::Yes,
                Err(error) => return Err(error),
            };
            match whole(&self.heard, ended) {
                Some(answer) => return Ok(answer),
                None if ended == Ended::Yes => return Err(TalkError::Closed),
                None => {}
            }
        }
    }

    async fn upgrade(
        &mut self,
        tls: &Tls,
        boundary: mailswitch_dialogue::TlsBoundary,
    ) -> Result<mailswitch_dialogue::TlsEstablished, TalkError> {
        let Some(Transport::Plain(tcp)) = self.transport.take() else {
            return Err(TalkError::Closed);
        };
        let (stream, shown, established) = tls.start(tcp, boundary).await?;
        self.transport = Some(Transport::Encrypted(Box::new(stream)));
        self.shown = Some(shown);
        // What was said in clear is not believed any more.
        self.heard_in_clear = std::mem::take(&mut self.heard);
        Ok(established)
    }

    fn stream(&mut self) -> Result<&mut (dyn Duplex + Unpin + Send), TalkError> {
        match self.transport.as_mut() {
            Some(Transport::Plain(tcp)) => Ok(tcp),
            Some(Transport::Encrypted(tls)) => Ok(tls),
            None => Err(TalkError::Closed),
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite {}
impl<T: AsyncRead + AsyncWrite> Duplex for T {}
