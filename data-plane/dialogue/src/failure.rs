//! What can go wrong on a backend leg, and what follows from it: whose side failed, whether a retry may help, and
//! which class the circuit breaker counts (behaviour §4, §7.2).
//!
//! A refusal of the credential is no failure but an `Answer`. Errors of the replay hold no text of the backend: it
//! has seen the credential and may repeat it.

use std::fmt;

use crate::input::PlaintextBehind;
use crate::limits::{CONTINUATIONS, LINE_LIMIT, REPLY_BYTES, REPLY_LINES};

/// Whose side failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The server behind us.
    Backend,
    /// The configuration does not allow it.
    Policy,
}

/// Whether another attempt is made, inside the same time budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Yes.
    Yes,
    /// No: it was refused in protocol, or credentials may have been sent.
    No,
}

/// What the circuit breaker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerClass {
    /// The host itself: DNS, connect.
    Host,
    /// It may be this client only: the backend may have banned its address.
    Client,
    /// Nothing: the backend is well.
    None,
}

/// What a backend said, made fit for a log line: printable, at most 200 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Said(String);

impl Said {
    pub(crate) fn new(line: &[u8]) -> Self {
        Self(line[..line.len().min(200)].escape_ascii().to_string())
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// Why a backend leg did not become ready. No credential has been sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Said by the driver.
    #[error("the backend closed the connection")]
    Closed,
    /// The greeting is no welcome.
    #[error("the backend greeted with {0:?}")]
    Greeting(Said),
    /// STARTTLS is required and missing (RFC 3207 §6).
    #[error("the backend does not offer STARTTLS; correct it, or set the leg to \"implicit\" or \"plain\"")]
    StartTlsMissing,
    /// STARTTLS is offered and refused.
    #[error("the backend refused STARTTLS: {0:?}")]
    StartTlsRefused(Said),
    /// Bytes in clear behind the reply to STARTTLS: somebody in between, or a broken server.
    #[error("behind the backend's STARTTLS reply: {0}")]
    Injection(#[from] PlaintextBehind),
    /// EHLO or CAPABILITY was refused.
    #[error("the backend refused {command}: {said:?}")]
    Refused {
        /// Our command.
        command: &'static str,
        /// Its reply.
        said: Said,
    },
    /// XCLIENT was offered and refused: without it the backend would see us as the client.
    #[error(
        "the backend refused XCLIENT: {0:?}; list this node in its xclient_hosts or login_trusted_networks"
    )]
    XclientRefused(Said),
    /// It ended the dialogue.
    #[error("the backend said goodbye: {0:?}")]
    Bye(Said),
    /// A reply out of bounds.
    #[error(transparent)]
    Excess(#[from] Excess),
    /// A reply that is none.
    #[error("the backend sent what is no {expected}: {said:?}")]
    Malformed {
        /// What was waited for.
        expected: &'static str,
        /// What came.
        said: Said,
    },
    /// The credential guard: nothing was said.
    #[error(transparent)]
    Insecure(#[from] InsecureLeg),
}

impl HandshakeError {
    /// Whose side failed.
    #[must_use]
    pub const fn side(&self) -> Side {
        match self {
            Self::Insecure(insecure) => insecure.side(),
            _ => Side::Backend,
        }
    }

    /// Only a lost connection is tried again: what was refused in protocol would be refused again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Closed => Retry::Yes,
            _ => Retry::No,
        }
    }

    /// Everything after the TCP connection may be about this one client.
    #[must_use]
    pub const fn breaker(&self) -> BreakerClass {
        match self {
            Self::Insecure(insecure) => insecure.breaker(),
            _ => BreakerClass::Client,
        }
    }
}

/// Why a backend gave no answer to the credential. The client gets the temporary failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Said by the driver.
    #[error("the backend closed the connection instead of answering the login")]
    Closed,
    /// It said so before.
    #[error("the backend said goodbye instead of answering the login")]
    Bye,
    /// A reply out of bounds.
    #[error(transparent)]
    Excess(#[from] Excess),
    /// More challenges than any mechanism has.
    #[error("the backend sent more than {CONTINUATIONS} challenges")]
    TooManyChallenges,
    /// It said yes to a login that was cancelled, or whose credential it had not been sent.
    #[error("the backend accepted a login without its credential")]
    AcceptedUnseen,
    /// A reply that is none.
    #[error("the backend's answer to the login is no {expected}")]
    Malformed {
        /// What was waited for.
        expected: &'static str,
    },
}

impl ReplayError {
    /// Whose side failed.
    #[must_use]
    pub const fn side(&self) -> Side {
        Side::Backend
    }

    /// Nothing is retried once credentials were sent.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        Retry::No
    }

    /// It may be about this one client.
    #[must_use]
    pub const fn breaker(&self) -> BreakerClass {
        BreakerClass::Client
    }
}

/// A reply out of bounds (behaviour §4): stops a backend that never ends its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// One line.
    #[error("the backend sent a line of more than {LINE_LIMIT} bytes")]
    Line,
    /// Their number.
    #[error("the backend sent a reply of more than {REPLY_LINES} lines")]
    Lines,
    /// All of it.
    #[error("the backend sent a reply of more than {REPLY_BYTES} bytes")]
    Bytes,
}

/// The credential guard (behaviour §4 step 8): the leg is in clear and the destination does not allow that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the leg to the backend is not encrypted; use TLS, or set allow_plaintext_auth on the destination")]
pub struct InsecureLeg;

impl InsecureLeg {
    /// Whose side failed.
    #[must_use]
    pub const fn side(&self) -> Side {
        Side::Policy
    }

    /// It would be the same again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        Retry::No
    }

    /// The backend is well.
    #[must_use]
    pub const fn breaker(&self) -> BreakerClass {
        BreakerClass::None
    }
}
