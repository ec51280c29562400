//! Toward a POP3 backend, up to the credential: greeting, CAPA, STLS and CAPA again, XCLIENT, UTF8 (behaviour §5.2,
//! §6.2). CAPA is asked only where its answer matters: an old server may not know it.

use super::Utf8;
use super::reply::{self, Capabilities, Kind, List, Reply};
use crate::attributes::ClientAttributes;
use crate::backend::opening::{Advanced, Opening, Tls};
use crate::backend::{Announce, Announced, ReadyKind, Utf8Announced};
use crate::failure::{HandshakeError, Said};
use crate::input::Input;
use crate::output::Output;
use crate::xclient;

/// The part of one connection.
pub(crate) struct Handshake {
    announce: Announce,
    utf8: Utf8,
    xclient: Xclient,
    capabilities: Option<Capabilities>,
    announced: Announced,
    utf8_announced: Utf8Announced,
    state: State,
}

/// Whether XCLIENT is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Xclient {
    NotOffered,
    /// On the leg as it is.
    Offered,
    /// By a greeting in clear, which is not said again inside TLS, and Dovecot's CAPA does not list it: the command
    /// itself is the question, and a refusal does no harm. Whoever forged the greeting gains nothing.
    OfferedInClear,
}

/// What the next reply answers.
enum State {
    Greeting,
    Capa,
    /// CAPA was answered: its lines.
    List(List),
    Stls,
    Xclient,
    Utf8,
}

impl Handshake {
    pub(crate) fn new(utf8: Utf8, announce: Announce) -> Self {
        Self {
            announce,
            utf8,
            xclient: Xclient::NotOffered,
            capabilities: None,
            announced: Announced::Nothing,
            utf8_announced: Utf8Announced::NotAsked,
            state: State::Greeting,
        }
    }

    /// The next command, or the end.
    fn command(&mut self, tls: Tls, output: &mut Output) -> Result<Advanced, HandshakeError> {
        let listed = match &self.capabilities {
            Some(listed) => listed,
            None if self.depends_on_capabilities(tls) => return Ok(self.ask(output)),
            None => &Capabilities::none(),
        };
        if tls == Tls::Wanted {
            if !listed.has("STLS") {
                return Err(HandshakeError::StartTlsMissing);
            }
            output.put(b"STLS\r\n");
            self.state = State::Stls;
            return Ok(Advanced::More);
        }
        if listed.has("XCLIENT") {
            self.xclient = Xclient::Offered;
        }
        if let Announce::Attributes(client) = &self.announce {
            if self.xclient != Xclient::NotOffered {
                output.line(&[&xclient(client)]);
                self.state = State::Xclient;
                return Ok(Advanced::More);
            }
            self.announced = Announced::NotOffered;
        }
        Ok(self.utf8(output))
    }

    fn depends_on_capabilities(&self, tls: Tls) -> bool {
        let announces = matches!(self.announce, Announce::Attributes(_));
        tls == Tls::Wanted || self.utf8 == Utf8::Asked || (announces && self.xclient != Xclient::Offered)
    }

    fn ask(&mut self, output: &mut Output) -> Advanced {
        output.put(b"CAPA\r\n");
        self.state = State::Capa;
        Advanced::More
    }

    /// What the client asked for can be said only before the login (RFC 6856 §2).
    fn utf8(&mut self, output: &mut Output) -> Advanced {
        if self.utf8 == Utf8::Asked {
            let listed = self
                .capabilities
                .as_ref()
                .is_some_and(|listed| listed.has("UTF8"));
            if listed {
                output.put(b"UTF8\r\n");
                self.state = State::Utf8;
                return Advanced::More;
            }
            self.utf8_announced = Utf8Announced::NotOffered;
        }
        self.ready()
    }

    fn ready(&self) -> Advanced {
        Advanced::Ready(self.announced, ReadyKind::Pop3(self.utf8_announced))
    }

    fn replied(
        &mut self,
        reply: &Reply,
        tls: Tls,
        input: &Input,
        output: &mut Output,
    ) -> Result<Advanced, HandshakeError> {
        let said = || Said::new(reply.text());
        match (&self.state, reply.kind()) {
            (State::Greeting, Kind::Ok(text)) => {
                if reply::has_code(text, "XCLIENT") {
                    self.xclient = Xclient::Offered;
                }
                self.command(tls, output)
            }
            (State::Greeting, _) => Err(HandshakeError::Greeting(said())),
            (State::Capa, Kind::Ok(_)) => {
                self.state = State::List(List::default());
                Ok(Advanced::More)
            }
            // RFC 2449 is younger than some servers.
            (State::Capa, Kind::Err(_)) => {
                self.capabilities = Some(Capabilities::none());
                self.command(tls, output)
            }
            (State::Stls, Kind::Ok(_)) => Ok(Advanced::StartTls(input.tls_boundary()?)),
            (State::Stls, Kind::Err(_)) => Err(HandshakeError::StartTlsRefused(said())),
            (State::Xclient, Kind::Ok(_)) => {
                self.announced = Announced::Accepted;
                Ok(self.utf8(output))
            }
            (State::Xclient, Kind::Err(_)) if self.xclient == Xclient::OfferedInClear => {
                self.announced = Announced::Ignored;
                Ok(self.utf8(output))
            }
            (State::Xclient, Kind::Err(_)) => Err(HandshakeError::XclientRefused(said())),
            (State::Utf8, Kind::Ok(_)) => {
                self.utf8_announced = Utf8Announced::Accepted;
                Ok(self.ready())
            }
            (State::Utf8, Kind::Err(_)) => {
                self.utf8_announced = Utf8Announced::Refused;
                Ok(self.ready())
            }
            (_, Kind::Challenge | Kind::Malformed) | (State::List(_), _) => Err(HandshakeError::Malformed {
                expected: "POP3 reply",
                said: said(),
            }),
        }
    }
}

impl Opening for Handshake {
    fn advance(
        &mut self,
        tls: Tls,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<Advanced, HandshakeError> {
        if let State::List(list) = &mut self.state {
            return match list.read(input)? {
                None => Ok(Advanced::Incomplete),
                Some(capabilities) => {
                    self.capabilities = Some(capabilities);
                    self.command(tls, output)
                }
            };
        }
        match reply::read(input)? {
            None => Ok(Advanced::Incomplete),
            Some(reply) => self.replied(&reply, tls, input, output),
        }
    }

    fn upgraded(&mut self, output: &mut Output) -> Result<Advanced, HandshakeError> {
        if self.xclient == Xclient::Offered {
            self.xclient = Xclient::OfferedInClear;
        }
        self.capabilities = None;
        self.command(Tls::Settled, output)
    }
}

/// Dovecot's attributes: all of them, addresses bare (behaviour §5.2).
fn xclient(client: &ClientAttributes) -> Vec<u8> {
    xclient::line(xclient::values(client, |ip| ip.to_string()))
}
