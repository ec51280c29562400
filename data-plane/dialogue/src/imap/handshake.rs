//! Toward an IMAP backend, up to the credential: greeting, capabilities, STARTTLS and capabilities again, ID
//! (behaviour §5.3, §6.1). What it can do is always asked, never guessed, and asked again after TLS.

use super::Tag;
use super::response::{Capabilities, Kind, Reader, Response, Status};
use crate::attributes::ClientAttributes;
use crate::backend::opening::{Advanced, Opening, Tls};
use crate::backend::{Announce, Announced, ReadyKind};
use crate::failure::{Excess, HandshakeError, Said};
use crate::input::Input;
use crate::limits::{REPLY_BYTES, REPLY_LINES};
use crate::output::Output;

/// The part of one connection.
pub(crate) struct Handshake {
    tag: Tag,
    announce: Announce,
    capabilities: Option<Capabilities>,
    announced: Announced,
    reader: Reader,
    /// Untagged responses since our last command.
    untagged: usize,
    state: State,
}

/// Which tagged reply is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Capability,
    StartTls,
    Id,
}

/// What the replay is to know of the leg.
#[derive(Debug)]
pub(crate) struct ReadyLeg {
    pub(super) tag: Tag,
    pub(super) initial_response: InitialResponse,
}

/// Whether AUTHENTICATE may carry the credential (RFC 4959).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InitialResponse {
    Accepted,
    NotAccepted,
}

impl Handshake {
    pub(crate) fn new(tag: Tag, announce: Announce) -> Self {
        Self {
            tag,
            announce,
            capabilities: None,
            announced: Announced::Nothing,
            reader: Reader::default(),
            untagged: 0,
            state: State::Greeting,
        }
    }

    fn untagged(&mut self, response: &Response) -> Result<Advanced, HandshakeError> {
        self.untagged += 1;
        if self.untagged > REPLY_LINES {
            return Err(Excess::Lines.into());
        }
        if let (State::Capability, Kind::Capability(list)) = (self.state, response.kind()) {
            self.capabilities = Some(Capabilities::new(list));
        }
        Ok(Advanced::More)
    }

    /// The answer to CAPABILITY.
    fn listed(
        &mut self,
        status: Status,
        text: &[u8],
        said: Said,
        tls: Tls,
        output: &mut Output,
    ) -> Result<Advanced, HandshakeError> {
        if status != Status::Ok {
            return Err(HandshakeError::Refused {
                command: "CAPABILITY",
                said,
            });
        }
        if self.capabilities.is_none() {
            self.capabilities = Capabilities::from_code(text);
        }
        match self.capabilities {
            Some(_) => self.command(tls, output),
            None => Err(HandshakeError::Malformed {
                expected: "answer to CAPABILITY",
                said,
            }),
        }
    }

    /// The next command, or the end.
    fn command(&mut self, tls: Tls, output: &mut Output) -> Result<Advanced, HandshakeError> {
        let Some(capabilities) = &self.capabilities else {
            return Ok(self.ask(output));
        };
        if tls == Tls::Wanted {
            if !capabilities.has("STARTTLS") {
                return Err(HandshakeError::StartTlsMissing);
            }
            output.put(b"P1 STARTTLS\r\n");
            self.state = State::StartTls;
            return Ok(Advanced::More);
        }
        if let Announce::Attributes(client) = &self.announce {
            if capabilities.has("ID") {
                output.line(&[&id(client)]);
                self.state = State::Id;
                return Ok(Advanced::More);
            }
            self.announced = Announced::NotOffered;
        }
        Ok(self.ready())
    }

    fn ask(&mut self, output: &mut Output) -> Advanced {
        output.put(b"C1 CAPABILITY\r\n");
        self.state = State::Capability;
        Advanced::More
    }

    fn ready(&self) -> Advanced {
        let accepted = self
            .capabilities
            .as_ref()
            .is_some_and(|listed| listed.has("SASL-IR") || listed.has("IMAP4REV2"));
        let initial_response = if accepted {
            InitialResponse::Accepted
        } else {
            InitialResponse::NotAccepted
        };
        let tag = self.tag.clone();
        Advanced::Ready(
            self.announced,
            ReadyKind::Imap(ReadyLeg {
                tag,
                initial_response,
            }),
        )
    }
}

impl Opening for Handshake {
    fn advance(
        &mut self,
        tls: Tls,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<Advanced, HandshakeError> {
        let Some(response) = self.reader.read(input, REPLY_BYTES)? else {
            return Ok(Advanced::Incomplete);
        };
        let said = || Said::new(response.raw.trim_ascii_end());
        match (self.state, response.kind()) {
            (State::Greeting, Kind::Condition(Status::Ok, text)) => {
                self.capabilities = Capabilities::from_code(text);
                self.command(tls, output)
            }
            (State::Greeting, _) => Err(HandshakeError::Greeting(said())),
            (_, Kind::Bye) => Err(HandshakeError::Bye(said())),
            (_, Kind::Condition(..) | Kind::Data | Kind::Capability(_)) => self.untagged(&response),
            // Read in any case, as the status is (behaviour §6.1).
            (_, Kind::Tagged(tag, status, text)) if tag.eq_ignore_ascii_case(self.state.tag()) => {
                self.untagged = 0;
                match (self.state, status) {
                    (State::Capability, _) => self.listed(status, text, said(), tls, output),
                    (State::StartTls, Status::Ok) => Ok(Advanced::StartTls(input.tls_boundary()?)),
                    (State::StartTls, _) => Err(HandshakeError::StartTlsRefused(said())),
                    // NO and BAD do no harm: the backend only does not learn the client's address.
                    (State::Greeting | State::Id, _) => {
                        self.announced = if status == Status::Ok {
                            Announced::Accepted
                        } else {
                            Announced::Ignored
                        };
                        Ok(self.ready())
                    }
                }
            }
            (_, Kind::Continuation | Kind::PreAuth | Kind::Tagged(..) | Kind::Malformed) => {
                Err(HandshakeError::Malformed {
                    expected: "IMAP reply",
                    said: said(),
                })
            }
        }
    }

    fn upgraded(&mut self, output: &mut Output) -> Result<Advanced, HandshakeError> {
        self.capabilities = None;
        self.untagged = 0;
        Ok(self.ask(output))
    }
}

impl State {
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::Capability => b"C1",
            Self::StartTls => b"P1",
            Self::Id => b"F1",
            Self::Greeting => b"",
        }
    }
}

/// Dovecot's field names, in this order. No value needs escaping: addresses, numbers, a `SessionId`.
fn id(client: &ClientAttributes) -> Vec<u8> {
    let fields = [
        ("x-originating-ip", client.client.ip().to_string()),
        ("x-originating-port", client.client.port().to_string()),
        ("x-connected-ip", client.destination.ip().to_string()),
        ("x-connected-port", client.destination.port().to_string()),
        ("x-proxy-ttl", client.ttl.0.to_string()),
        ("x-session-id", client.session.to_string()),
        ("x-client-transport", client.transport.as_str().to_owned()),
    ];
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\" \"{value}\""))
        .collect();
    format!("F1 ID ({})", fields.join(" ")).into_bytes()
}
