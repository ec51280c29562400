//! The client's half of a SASL exchange, without the words of any protocol: what to prompt for, and what came of it.
//! A protocol's own login command is the same thing with nothing to ask.

use zeroize::Zeroizing;

use super::encoding;
use super::{Credential, Frame, Mechanism, Routing};
use crate::client::{Access, Gate, Method};

/// A mechanism that waits for the client's next response.
#[derive(Debug)]
pub(crate) struct Exchange {
    mechanism: Mechanism,
    state: State,
}

enum State {
    /// The one message of a mechanism.
    Message,
    LoginUser,
    LoginPassword {
        user: Zeroizing<Vec<u8>>,
    },
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Message => "Message",
            Self::LoginUser => "LoginUser",
            Self::LoginPassword { .. } => "LoginPassword",
        })
    }
}

/// Where an exchange stands.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Ask, then wait for a response.
    Prompt(Prompt, Exchange),
    /// All there is.
    Done(Method, Credential, Routing),
    /// No login came of it.
    Failed(Failure),
}

impl Progress {
    /// A user and a password by a command of the protocol's own.
    pub(crate) fn password(access: &Access, user: &[u8], password: &[u8]) -> Self {
        if access.gate() == Gate::Shut {
            return Self::Failed(Failure::NotPrivate);
        }
        match Credential::password(user, password) {
            Ok((credential, routing)) => Self::Done(Method::Command, credential, routing),
            Err(_) => Self::Failed(Failure::Malformed),
        }
    }
}

/// What the client is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prompt {
    Empty,
    Username,
    Password,
}

impl Prompt {
    /// In base64, as every protocol writes it.
    pub(crate) const fn encoded(self) -> &'static str {
        match self {
            Self::Empty => "",
            Self::Username => "VXNlcm5hbWU6",
            Self::Password => "UGFzc3dvcmQ6",
        }
    }
}

/// Why no login came of it: each has its own reply in each protocol (behaviour §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The client sent `*`.
    Aborted,
    BadBase64,
    Malformed,
    /// Not a mechanism, or not in `sasl`.
    Unsupported,
    /// The gate is shut.
    NotPrivate,
}

impl Failure {
    /// Whether `max_auth_attempts` counts it: not what the client could not know or meant.
    pub(crate) const fn counts(self) -> bool {
        !matches!(self, Self::Aborted | Self::NotPrivate)
    }
}

impl Exchange {
    /// Starts with the mechanism's name and the initial response, if there is one.
    pub(crate) fn start(access: &Access, name: &[u8], initial: Option<&[u8]>) -> Progress {
        let Some(mechanism) = access.mechanism(name) else {
            return Progress::Failed(Failure::Unsupported);
        };
        // Before anything is asked for or looked at: nothing secret is accepted in clear.
        if access.gate() == Gate::Shut {
            return Progress::Failed(Failure::NotPrivate);
        }
        let state = if mechanism == Mechanism::Login {
            State::LoginUser
        } else {
            State::Message
        };
        let exchange = Self { mechanism, state };
        match initial {
            None => exchange.prompt(),
            // An empty initial response of LOGIN says nothing: ask.
            Some(b"=" | b"") if mechanism == Mechanism::Login => exchange.prompt(),
            Some(b"=") => exchange.accept(access, Zeroizing::default()),
            Some(text) => exchange.decode(access, text),
        }
    }

    /// Goes on with a response line.
    pub(crate) fn respond(self, access: &Access, line: &[u8]) -> Progress {
        if line == b"*" {
            return Progress::Failed(Failure::Aborted);
        }
        self.decode(access, line)
    }

    fn prompt(self) -> Progress {
        let prompt = match self.state {
            State::Message => Prompt::Empty,
            State::LoginUser => Prompt::Username,
            State::LoginPassword { .. } => Prompt::Password,
        };
        Progress::Prompt(prompt, self)
    }

    fn decode(self, access: &Access, text: &[u8]) -> Progress {
        match encoding::decode(text) {
            Ok(bytes) => self.accept(access, bytes),
            Err(encoding::BadBase64) => Progress::Failed(Failure::BadBase64),
        }
    }

    fn accept(self, access: &Access, bytes: Zeroizing<Vec<u8>>) -> Progress {
        let mechanism = self.mechanism;
        let parsed = match (self.state, mechanism) {
            (State::LoginUser, _) => {
                return Self {
                    mechanism,
                    state: State::LoginPassword { user: bytes },
                }
                .prompt();
            }
            (State::LoginPassword { user }, _) => Credential::password(&user, &bytes),
            (State::Message, Mechanism::OauthBearer) => {
                Credential::parse(Frame::OauthBearer, bytes, access.jwt_claim())
            }
            (State::Message, Mechanism::Xoauth2) => {
                Credential::parse(Frame::Xoauth2, bytes, access.jwt_claim())
            }
            (State::Message, Mechanism::Plain | Mechanism::Login) => {
                Credential::parse(Frame::Plain, bytes, access.jwt_claim())
            }
        };
        match parsed {
            Ok((credential, routing)) => Progress::Done(Method::Sasl(mechanism), credential, routing),
            Err(_) => Progress::Failed(Failure::Malformed),
        }
    }
}
