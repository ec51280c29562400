//! Toward an IMAP backend, up to the credential: greeting, capabilities, STARTTLS and capabilities again, ID
//! (behaviour §5.3, §6.1). What it can do is always asked, never guessed, and asked again after TLS.

use super::Tag;
use super::response::{Capabilities, Kind, Reader, Response, Status};
use crate::attributes::ClientAttributes;
use crate::backend::{Announce, Announced, BackendLeg, HandshakeConfig, Leg, Ready, ReadyKind};
use crate::dialogue::{Dialogue, Step};
use crate::failure::{Excess, HandshakeError, Said};
use crate::input::{Input, TlsEstablished};
use crate::limits::{REPLY_BYTES, REPLY_LINES};
use crate::output::Output;

/// The dialogue.
pub(crate) struct Handshake {
    tag: Tag,
    config: HandshakeConfig,
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
    /// Waits for `tls_started`.
    Tls,
    /// TLS stands: capabilities are to be asked again.
    Upgraded,
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

type Progressed = Result<Option<Step<Result<Ready, HandshakeError>>>, HandshakeError>;

impl Handshake {
    pub(crate) fn new(tag: Tag, config: HandshakeConfig) -> Self {
        Self {
            tag,
            config,
            capabilities: None,
            announced: Announced::Nothing,
            reader: Reader::default(),
            untagged: 0,
            state: State::Greeting,
        }
    }

    fn advance(&mut self, input: &mut Input, output: &mut Output) -> Progressed {
        match self.state {
            State::Tls => return Ok(Some(Step::NeedInput)),
            State::Upgraded => return self.command(output),
            _ => {}
        }
        let Some(response) = self.reader.read(input, REPLY_BYTES)? else {
            return Ok(Some(Step::NeedInput));
        };
        let said = || Said::new(response.raw.trim_ascii_end());
        match (self.state, response.kind()) {
            (State::Greeting, Kind::Condition(Status::Ok, text)) => {
                self.capabilities = Capabilities::from_code(text);
                self.command(output)
            }
            (State::Greeting, _) => Err(HandshakeError::Greeting(said())),
            (_, Kind::Bye) => Err(HandshakeError::Bye(said())),
            (_, Kind::Condition(..) | Kind::Data | Kind::Capability(_)) => self.untagged(&response),
            (_, Kind::Tagged(tag, status, text)) if tag == self.state.tag() => {
                self.untagged = 0;
                self.tagged(status, text, said(), input, output)
            }
            (_, Kind::Continuation | Kind::PreAuth | Kind::Tagged(..) | Kind::Malformed) => {
                Err(HandshakeError::Malformed {
                    expected: "IMAP reply",
                    said: said(),
                })
            }
        }
    }

    fn untagged(&mut self, response: &Response) -> Progressed {
        self.untagged += 1;
        if self.untagged > REPLY_LINES {
            return Err(Excess::Lines.into());
        }
        if let (State::Capability, Kind::Capability(list)) = (self.state, response.kind()) {
            self.capabilities = Some(Capabilities::new(list));
        }
        Ok(None)
    }

    fn tagged(
        &mut self,
        status: Status,
        text: &[u8],
        said: Said,
        input: &Input,
        output: &mut Output,
    ) -> Progressed {
        match (self.state, status) {
            (State::Capability, Status::Ok) => {
                if self.capabilities.is_none() {
                    self.capabilities = Capabilities::from_code(text);
                }
                match self.capabilities {
                    Some(_) => self.command(output),
                    None => Err(HandshakeError::Malformed {
                        expected: "answer to CAPABILITY",
                        said,
                    }),
                }
            }
            (State::Capability, _) => Err(HandshakeError::Refused {
                command: "CAPABILITY",
                said,
            }),
            (State::StartTls, Status::Ok) => {
                let boundary = input.tls_boundary()?;
                self.state = State::Tls;
                Ok(Some(Step::StartTls(boundary)))
            }
            (State::StartTls, _) => Err(HandshakeError::StartTlsRefused(said)),
            (_, status) => {
                // NO and BAD do no harm: the backend only does not learn the client's address.
                self.announced = if status == Status::Ok {
                    Announced::Accepted
                } else {
                    Announced::Ignored
                };
                self.ready().map(Some)
            }
        }
    }

    /// The next command, or the end.
    fn command(&mut self, output: &mut Output) -> Progressed {
        let Some(capabilities) = &self.capabilities else {
            output.put(b"C1 CAPABILITY\r\n");
            self.state = State::Capability;
            return Ok(None);
        };
        if matches!(self.config.leg, BackendLeg::StartTls) {
            if !capabilities.has("STARTTLS") {
                return Err(HandshakeError::StartTlsMissing);
            }
            output.put(b"P1 STARTTLS\r\n");
            self.state = State::StartTls;
            return Ok(None);
        }
        if let Announce::Attributes(client) = &self.config.announce {
            if capabilities.has("ID") {
                output.line(&[&id(client)]);
                self.state = State::Id;
                return Ok(None);
            }
            self.announced = Announced::NotOffered;
        }
        self.ready().map(Some)
    }

    fn ready(&self) -> Result<Step<Result<Ready, HandshakeError>>, HandshakeError> {
        let leg = match self.config.leg {
            BackendLeg::Encrypted(_) => Leg::Encrypted,
            BackendLeg::StartTls | BackendLeg::Plain => Leg::Clear,
        };
        let accepted = self
            .capabilities
            .as_ref()
            .is_some_and(|listed| listed.has("SASL-IR") || listed.has("IMAP4REV2"));
        let initial_response = if accepted {
            InitialResponse::Accepted
        } else {
            InitialResponse::NotAccepted
        };
        let kind = ReadyKind::Imap(ReadyLeg {
            tag: self.tag.clone(),
            initial_response,
        });
        Ok(Step::Done(Ok(Ready {
            leg,
            announced: self.announced,
            kind,
        })))
    }
}

impl State {
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::Capability => b"C1",
            Self::StartTls => b"P1",
            Self::Id => b"F1",
            Self::Greeting | Self::Tls | Self::Upgraded => b"",
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

    /// What was learnt in clear is forgotten.
    fn tls_started(&mut self, tls: TlsEstablished) {
        self.config.leg = BackendLeg::Encrypted(tls);
        self.capabilities = None;
        self.untagged = 0;
        self.state = State::Upgraded;
    }
}
