//! Toward a submission backend, up to the credential: greeting, EHLO, STARTTLS and EHLO again, XCLIENT and EHLO again
//! (behaviour §5.2, §6.4). What was said before TLS is forgotten and asked again.

use crate::attributes::Helo;
use crate::backend::{Announce, Announced, BackendLeg, HandshakeConfig, Leg, Ready, ReadyKind};
use crate::dialogue::{Dialogue, Step};
use crate::failure::{HandshakeError, Said};
use crate::input::{Input, TlsEstablished};
use crate::output::Output;

use super::reply::{NoReply, Reader, Reply};
use super::xclient;

/// The dialogue.
pub(crate) struct Handshake {
    config: HandshakeConfig,
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
    /// Waits for `tls_started`.
    Tls,
    /// TLS stands: EHLO is to be said again.
    Upgraded,
    Xclient,
    /// EHLO behind an XCLIENT that was accepted.
    LastEhlo,
}

type Progressed = Result<Option<Step<Result<Ready, HandshakeError>>>, HandshakeError>;

impl Handshake {
    pub(crate) fn new(config: HandshakeConfig) -> Self {
        Self {
            config,
            announced: Announced::Nothing,
            reader: Reader::default(),
            state: State::Greeting,
        }
    }

    fn advance(&mut self, input: &mut Input, output: &mut Output) -> Progressed {
        match self.state {
            State::Tls => return Ok(Some(Step::NeedInput)),
            State::Upgraded => self.ehlo(State::Ehlo, output),
            _ => {}
        }
        let reply = match self.reader.read(input) {
            Ok(Some(reply)) => reply,
            Ok(None) => return Ok(Some(Step::NeedInput)),
            Err(NoReply::Excess(excess)) => return Err(excess.into()),
            Err(NoReply::Malformed(line)) => {
                return Err(HandshakeError::Malformed {
                    expected: "SMTP reply",
                    said: Said::new(&line),
                });
            }
        };
        match self.state {
            State::Greeting if reply.code == 220 => self.ehlo(State::Ehlo, output),
            State::Greeting => return Err(HandshakeError::Greeting(Said::new(reply.last_line()))),
            State::Ehlo | State::LastEhlo if reply.code != 250 => {
                return Err(HandshakeError::Refused {
                    command: "EHLO",
                    said: Said::new(reply.last_line()),
                });
            }
            State::Ehlo => return self.greeted(&reply, output),
            State::LastEhlo => return Ok(Some(self.ready())),
            State::StartTls if reply.code == 220 => {
                let boundary = input.tls_boundary()?;
                self.state = State::Tls;
                return Ok(Some(Step::StartTls(boundary)));
            }
            State::StartTls => return Err(HandshakeError::StartTlsRefused(Said::new(reply.last_line()))),
            State::Xclient if (200..300).contains(&reply.code) => {
                self.announced = Announced::Accepted;
                self.ehlo(State::LastEhlo, output);
            }
            State::Xclient => return Err(HandshakeError::XclientRefused(Said::new(reply.last_line()))),
            State::Tls | State::Upgraded => {}
        }
        Ok(None)
    }

    /// The capabilities of the leg as it is now.
    fn greeted(&mut self, reply: &Reply, output: &mut Output) -> Progressed {
        if matches!(self.config.leg, BackendLeg::StartTls) {
            if reply.keyword("STARTTLS").is_none() {
                return Err(HandshakeError::StartTlsMissing);
            }
            output.put(b"STARTTLS\r\n");
            self.state = State::StartTls;
            return Ok(None);
        }
        if let Announce::Attributes(client) = &self.config.announce {
            let listed = reply.keyword("XCLIENT").unwrap_or_default();
            if let Some(command) = xclient::command(client, self.config.helo.as_ref(), listed) {
                output.line(&[&command]);
                self.state = State::Xclient;
                return Ok(None);
            }
            self.announced = Announced::NotOffered;
        }
        Ok(Some(self.ready()))
    }

    /// With the client's argument, else our name, else `proxy`.
    fn ehlo(&mut self, next: State, output: &mut Output) {
        let config = &self.config;
        let ours = config.hostname.as_deref().map(|name| Helo::new(name.as_bytes()));
        let name = [&config.helo, &ours]
            .into_iter()
            .flatten()
            .find_map(Helo::sayable);
        output.line(&[b"EHLO ", name.unwrap_or(b"proxy")]);
        self.state = next;
    }

    fn ready(&self) -> Step<Result<Ready, HandshakeError>> {
        let leg = match self.config.leg {
            BackendLeg::Encrypted(_) => Leg::Encrypted,
            BackendLeg::StartTls | BackendLeg::Plain => Leg::Clear,
        };
        Step::Done(Ok(Ready {
            leg,
            announced: self.announced,
            kind: ReadyKind::Submission,
        }))
    }
}

impl Dialogue for Handshake {
    type Done = Result<Ready, HandshakeError>;

    fn step(&mut self, input: &mut Input, output: &mut Output) -> Step<Self::Done> {
        loop {
            match self.advance(input, output) {
                Ok(None) => {}
                Ok(Some(step)) => return step,
                Err(error) => return Step::Done(Err(error)),
            }
        }
    }

    fn tls_started(&mut self, tls: TlsEstablished) {
        self.config.leg = BackendLeg::Encrypted(tls);
        self.state = State::Upgraded;
    }
}
