//! The dialogue toward the backend, in two parts: `handshake` -> `Ready` -> `replay` -> `Answer`.
//!
//! The data plane makes its promise check between the parts (A1), and may drop a `Ready` leg and dial another
//! without the backend having seen anything of the credential. The credential guard stands in the handshake, before
//! the backend is told anything (behaviour §4): `Ready` can be made only of a leg that is encrypted or allowed to be
//! in clear, so that a credential in clear does not compile by accident.

pub(crate) mod opening;
pub(crate) mod replaying;

use std::sync::Arc;

use zeroize::Zeroizing;

use self::opening::{Cleared, Guarded, Handshaking};
use crate::attributes::{ClientAttributes, Helo};
use crate::command::{ClientCommand, Kind};
use crate::dialogue::Dialogue;
use crate::failure::{HandshakeError, ReplayError};
use crate::input::TlsEstablished;
use crate::sasl::Credential;
use crate::{Protocol, imap, managesieve, pop3, submission};

/// From the backend's greeting to a leg that waits for the credential.
pub type Handshake = Box<dyn Dialogue<Done = Result<Ready, HandshakeError>> + Send>;

/// From the credential to the backend's answer.
pub type Replay = Box<dyn Dialogue<Done = Result<Answer, ReplayError>> + Send>;

/// Starts the handshake on behalf of the client's `command`. Its first step waits for the greeting.
#[must_use]
pub fn handshake(command: &ClientCommand, config: HandshakeConfig) -> Handshake {
    let HandshakeConfig {
        leg,
        plaintext,
        announce,
        helo,
        hostname,
    } = config;
    let guarded = Guarded { leg, plaintext };
    match &command.0 {
        Kind::Imap(tag) => Box::new(Handshaking::new(
            imap::Handshake::new(tag.clone(), announce),
            guarded,
        )),
        Kind::Pop3(utf8) => Box::new(Handshaking::new(pop3::Handshake::new(*utf8, announce), guarded)),
        Kind::ManageSieve => Box::new(Handshaking::new(managesieve::Handshake::new(announce), guarded)),
        Kind::Submission => Box::new(Handshaking::new(
            submission::Handshake::new(announce, helo, hostname),
            guarded,
        )),
    }
}

/// What the handshake is to know.
#[derive(Debug)]
pub struct HandshakeConfig {
    /// The leg as the destination wants it.
    pub leg: BackendLeg,
    /// Whether it may be given a credential in clear.
    pub plaintext: PlaintextAuth,
    /// What the backend is told about the client.
    pub announce: Announce,
    /// The client's own EHLO argument: said again to the backend.
    pub helo: Option<Helo>,
    /// `server.hostname`: the EHLO argument when the client has none.
    pub hostname: Option<Arc<str>>,
}

/// `destination.*.protocol.*.tls`.
#[derive(Debug)]
pub enum BackendLeg {
    /// TLS stands already.
    Encrypted(TlsEstablished),
    /// STARTTLS, or no leg.
    StartTls,
    /// In clear.
    Plain,
}

/// `forwarding`, as far as it happens in the dialogue.
#[derive(Debug, Clone)]
pub enum Announce {
    /// `none`, or `proxy` (said before the dialogue).
    Nothing,
    /// `xclient`: XCLIENT or ID.
    Attributes(ClientAttributes),
}

/// What became of `Announce`: worth a line at debug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// Nothing was to be said.
    Nothing,
    /// The backend takes no such words, or none of them.
    NotOffered,
    /// Said and accepted.
    Accepted,
    /// Said, and refused without harm: IMAP ID, and a POP3 XCLIENT that was offered in clear only.
    Ignored,
}

/// What became of a POP3 client's `UTF8`: worth a line at debug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Utf8Announced {
    /// The client did not ask for it.
    NotAsked,
    /// The backend does not list it: it will answer without.
    NotOffered,
    /// Said and accepted.
    Accepted,
    /// Said and refused.
    Refused,
}

/// `allow_plaintext_auth` of the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaintextAuth {
    /// Credentials go over TLS only.
    Refused,
    /// Credentials may go over a plain leg.
    Allowed,
}

/// How a leg that is ready is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// By TLS: the dialogue was shown the proof.
    Encrypted,
    /// Not at all.
    Clear,
}

/// A leg that waits for the credential, and may be given it.
///
/// It comes out of a handshake, behind the guard, and nowhere else: not even another one can be made into it.
/// ```compile_fail,E0451
/// # use mailswitch_dialogue::{Announced, Ready};
/// fn as_if_announced(ready: Ready) -> Ready {
///     Ready { announced: Announced::Accepted, ..ready }
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Ready {
    pub(crate) cleared: Cleared,
    pub(crate) announced: Announced,
    pub(crate) kind: ReadyKind,
}

#[derive(Debug)]
pub(crate) enum ReadyKind {
    Imap(imap::ReadyLeg),
    Pop3(Utf8Announced),
    ManageSieve,
    Submission,
}

impl Ready {
    /// The protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        match self.kind {
            ReadyKind::Imap(_) => Protocol::Imap,
            ReadyKind::Pop3(_) => Protocol::Pop3,
            ReadyKind::ManageSieve => Protocol::ManageSieve,
            ReadyKind::Submission => Protocol::Submission,
        }
    }

    /// How it is protected.
    #[must_use]
    pub const fn leg(&self) -> Leg {
        self.cleared.leg()
    }

    /// What the backend was told about the client.
    #[must_use]
    pub const fn announced(&self) -> Announced {
        self.announced
    }

    /// What became of the client's wish for UTF-8.
    #[must_use]
    pub const fn utf8(&self) -> Utf8Announced {
        match self.kind {
            ReadyKind::Pop3(utf8) => utf8,
            ReadyKind::Imap(_) | ReadyKind::ManageSieve | ReadyKind::Submission => Utf8Announced::NotAsked,
        }
    }

    /// Replays the client's login: the first step sends it. The credential is copied into wiped memory, so that a
    /// leg that is dropped because a promise check failed can be followed by another.
    #[must_use]
    pub fn replay(self, credential: &Credential) -> Replay {
        match self.kind {
            ReadyKind::Imap(leg) => Box::new(imap::replay(leg, credential)),
            ReadyKind::Pop3(_) => Box::new(pop3::replay(credential)),
            ReadyKind::ManageSieve => Box::new(managesieve::replay(credential)),
            ReadyKind::Submission => Box::new(submission::replay(credential)),
        }
    }
}

/// What the backend answered. `relay` is for the client, as it stands.
#[derive(Debug)]
#[must_use]
pub enum Answer {
    /// The login is good: after the promise check, relay, then bridge.
    Accepted {
        /// The whole answer.
        relay: Relay,
    },
    /// The login is refused: relay (or `authentication_failed`), then `after_refusal`, then close both legs.
    Refused {
        /// The whole answer.
        relay: Relay,
    },
    /// The backend cannot say now: relayed also with `hide_auth_errors`, then close both legs.
    Temporary {
        /// The whole answer.
        relay: Relay,
    },
}

/// Bytes of a backend's answer.
pub struct Relay(pub(crate) Zeroizing<Vec<u8>>);

impl Relay {
    /// The bytes, lines ended by CRLF.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Relay {
    /// Its length only: a backend may repeat what it was sent.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relay({} bytes)", self.0.len())
    }
}
