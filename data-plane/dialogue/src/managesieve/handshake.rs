//! Toward a ManageSieve backend, up to the credential: its capabilities, STARTTLS and the capabilities again, XCLIENT
//! (behaviour §5.2, §6.3). The backend says them unasked, also inside TLS.

use super::reply::{Kind, Reader, Reply};
use crate::attributes::ClientAttributes;
use crate::backend::opening::{Advanced, Opening, Tls};
use crate::backend::{Announce, Announced, ReadyKind};
use crate::failure::{Excess, HandshakeError, Said};
use crate::input::Input;
use crate::limits::{REPLY_BYTES, REPLY_LINES};
use crate::output::Output;
use crate::xclient;

/// The part of one connection.
pub(crate) struct Handshake {
    announce: Announce,
    /// Upper case.
    capabilities: Vec<Vec<u8>>,
    /// Lines and bytes of the block that is being read.
    lines: usize,
    bytes: usize,
    reader: Reader,
    state: State,
}

/// What the next reply belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    StartTls,
    /// The capabilities inside TLS.
    Again,
    Xclient,
}

impl Handshake {
    pub(crate) fn new(announce: Announce) -> Self {
        Self {
            announce,
            capabilities: Vec::new(),
            lines: 0,
            bytes: 0,
            reader: Reader::default(),
            state: State::Greeting,
        }
    }

    /// A capability. Behind XCLIENT they may come again, and change nothing.
    fn listed(&mut self, name: Vec<u8>, reply: &Reply) -> Result<Advanced, HandshakeError> {
        self.lines += 1;
        self.bytes += reply.raw.len();
        if self.lines > REPLY_LINES {
            return Err(Excess::Lines.into());
        }
        if self.bytes > REPLY_BYTES {
            return Err(Excess::Bytes.into());
        }
        self.capabilities.push(name);
        Ok(Advanced::More)
    }

    fn has(&self, name: &[u8]) -> bool {
        self.capabilities.iter().any(|listed| listed == name)
    }

    /// The block is complete.
    fn command(&mut self, tls: Tls, output: &mut Output) -> Result<Advanced, HandshakeError> {
        self.lines = 0;
        self.bytes = 0;
        if tls == Tls::Wanted {
            if !self.has(b"STARTTLS") {
                return Err(HandshakeError::StartTlsMissing);
            }
            output.put(b"STARTTLS\r\n");
            self.state = State::StartTls;
            return Ok(Advanced::More);
        }
        Ok(match &self.announce {
            Announce::Attributes(client) if self.has(b"XCLIENT") => {
                output.line(&[&xclient(client)]);
                self.state = State::Xclient;
                Advanced::More
            }
            Announce::Attributes(_) => ready(Announced::NotOffered),
            Announce::Nothing => ready(Announced::Nothing),
        })
    }
}

impl Opening for Handshake {
    fn advance(
        &mut self,
        tls: Tls,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<Advanced, HandshakeError> {
        let Some(reply) = self.reader.read(input)? else {
            return Ok(Advanced::Incomplete);
        };
        let said = || Said::new(reply.text());
        match (self.state, reply.kind()) {
            (State::Greeting | State::Again | State::Xclient, Kind::Strings { name, .. }) => {
                self.listed(name, &reply)
            }
            (State::Greeting | State::Again, Kind::Ok) => self.command(tls, output),
            (State::Greeting, _) => Err(HandshakeError::Greeting(said())),
            (_, Kind::Bye) => Err(HandshakeError::Bye(said())),
            (State::StartTls, Kind::Ok) => Ok(Advanced::StartTls(input.tls_boundary()?)),
            (State::StartTls, Kind::No(_)) => Err(HandshakeError::StartTlsRefused(said())),
            (State::Again, Kind::No(_)) => Err(HandshakeError::Refused {
                command: "the capabilities",
                said: said(),
            }),
            (State::Xclient, Kind::Ok) => Ok(ready(Announced::Accepted)),
            (State::Xclient, Kind::No(_)) => Err(HandshakeError::XclientRefused(said())),
            (State::StartTls, Kind::Strings { .. }) | (_, Kind::Malformed) => {
                Err(HandshakeError::Malformed {
                    expected: "ManageSieve reply",
                    said: said(),
                })
            }
        }
    }

    fn upgraded(&mut self, _: &mut Output) -> Result<Advanced, HandshakeError> {
        self.capabilities.clear();
        self.state = State::Again;
        Ok(Advanced::More)
    }
}

const fn ready(announced: Announced) -> Advanced {
    Advanced::Ready(announced, ReadyKind::ManageSieve)
}

/// Dovecot's attributes: all of them, addresses bare (behaviour §5.2).
fn xclient(client: &ClientAttributes) -> Vec<u8> {
    xclient::line(xclient::values(client, |ip| ip.to_string()))
}
