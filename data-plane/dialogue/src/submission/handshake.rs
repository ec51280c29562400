//! Toward a submission backend, up to the credential: greeting, EHLO, STARTTLS and EHLO again, XCLIENT and EHLO again
//! (behaviour §5.2, §6.4).

use std::sync::Arc;

use super::reply::{NoReply, Reader, Reply};
use super::xclient;
use crate::attributes::Helo;
use crate::backend::opening::{Advanced, Opening, Tls};
use crate::backend::{Announce, Announced, ReadyKind};
use crate::failure::{HandshakeError, Said};
use crate::input::Input;
use crate::output::Output;

/// The part of one connection.
pub(crate) struct Handshake {
    announce: Announce,
    helo: Option<Helo>,
    hostname: Option<Arc<str>>,
    announced: Announced,
    reader: Reader,
    state: State,
}

/// What the next reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    StartTls,
    Xclient,
    /// EHLO behind an XCLIENT that was accepted.
    LastEhlo,
}

impl Handshake {
    pub(crate) fn new(announce: Announce, helo: Option<Helo>, hostname: Option<Arc<str>>) -> Self {
        Self {
            announce,
            helo,
            hostname,
            announced: Announced::Nothing,
            reader: Reader::default(),
            state: State::Greeting,
        }
    }

    /// The capabilities of the leg as it is now.
    fn greeted(&mut self, reply: &Reply, tls: Tls, output: &mut Output) -> Result<Advanced, HandshakeError> {
        if tls == Tls::Wanted {
            if reply.keyword("STARTTLS").is_none() {
                return Err(HandshakeError::StartTlsMissing);
            }
            output.put(b"STARTTLS\r\n");
            self.state = State::StartTls;
            return Ok(Advanced::More);
        }
        if let Announce::Attributes(client) = &self.announce {
            let listed = reply.keyword("XCLIENT").unwrap_or_default();
            if let Some(command) = xclient::command(client, self.helo.as_ref(), listed) {
                output.line(&[&command]);
                self.state = State::Xclient;
                return Ok(Advanced::More);
            }
            self.announced = Announced::NotOffered;
        }
        Ok(self.ready())
    }

    /// With the client's argument, else our name, else `proxy`.
    fn ehlo(&mut self, next: State, output: &mut Output) -> Advanced {
        let ours = self.hostname.as_deref().map(|name| Helo::new(name.as_bytes()));
        let name = [&self.helo, &ours].into_iter().flatten().find_map(Helo::sayable);
        output.line(&[b"EHLO ", name.unwrap_or(b"proxy")]);
        self.state = next;
        Advanced::More
    }

    fn ready(&self) -> Advanced {
        Advanced::Ready(self.announced, ReadyKind::Submission)
    }
}

impl Opening for Handshake {
    fn advance(
        &mut self,
        tls: Tls,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<Advanced, HandshakeError> {
        let reply = match self.reader.read(input) {
            Ok(Some(reply)) => reply,
            Ok(None) => return Ok(Advanced::Incomplete),
            Err(NoReply::Excess(excess)) => return Err(excess.into()),
            Err(NoReply::Malformed(line)) => {
                return Err(HandshakeError::Malformed {
                    expected: "SMTP reply",
                    said: Said::new(&line),
                });
            }
        };
        let said = || Said::new(reply.last_line());
        match (self.state, reply.code) {
            (State::Greeting, 220) => Ok(self.ehlo(State::Ehlo, output)),
            (State::Greeting, _) => Err(HandshakeError::Greeting(said())),
            (State::Ehlo, 250) => self.greeted(&reply, tls, output),
            (State::LastEhlo, 250) => Ok(self.ready()),
            (State::Ehlo | State::LastEhlo, _) => Err(HandshakeError::Refused {
                command: "EHLO",
                said: said(),
            }),
            (State::StartTls, 220) => Ok(Advanced::StartTls(input.tls_boundary()?)),
            (State::StartTls, _) => Err(HandshakeError::StartTlsRefused(said())),
            (State::Xclient, 200..300) => {
                self.announced = Announced::Accepted;
                Ok(self.ehlo(State::LastEhlo, output))
            }
            (State::Xclient, _) => Err(HandshakeError::XclientRefused(said())),
        }
    }

    fn upgraded(&mut self, output: &mut Output) -> Result<Advanced, HandshakeError> {
        Ok(self.ehlo(State::Ehlo, output))
    }
}
