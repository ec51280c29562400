//! The sans-io mail dialogues, both roles, and SASL: bytes in, bytes and actions out.
//!
//! No socket, no clock, no runtime, no TLS: `Cargo.toml` is the fence. One trait (`dialogue`), one driver outside.
//! The way of a login: `client_side` reads it and ends with a `Login`; `handshake` makes a backend leg `Ready`;
//! `Ready::clear` is the credential guard; `Cleared::replay` sends the credential and ends with an `Answer`.
//!
//! The shape of the three is here, once for all protocols: `client/pre_login`, `backend/opening`, `backend/replaying`.
//! What a protocol says stands in its folder and nowhere else; a further protocol is a folder with its grammar and its
//! replies, a variant of `Protocol`, and one line in each function that picks by it.

mod attributes;
mod backend;
mod client;
mod command;
mod dialogue;
mod failure;
mod imap;
mod input;
mod limits;
mod line;
mod managesieve;
mod output;
mod pop3;
pub mod proxy_header;
mod quoted;
pub mod sasl;
mod secret;
mod submission;
mod whole;
mod xclient;
mod xtext;

pub use attributes::{ClientAttributes, Helo, Hops, InvalidSessionId, SessionId, Transport};
pub use backend::{
    Announce, Announced, Answer, BackendLeg, Handshake, HandshakeConfig, Leg, PlaintextAuth, Ready, Relay,
    Replay, Utf8Announced, handshake,
};
pub use client::{
    AccessConfig, CleartextAuth, ClientLeg, ClientOutcome, ClientSide, ClientSideConfig, Login, Method,
    PeerTrust, Presentation, Why, client_side,
};
pub use command::{ClientCommand, Farewell, HeldReply, farewell};
pub use dialogue::{Dialogue, Step};
pub use failure::{BreakerClass, Excess, HandshakeError, InsecureLeg, ReplayError, Retry, Said, Side};
pub use input::{Input, PlaintextBehind, TlsBoundary, TlsEstablished};
pub use limits::LINE_LIMIT;
pub use output::Output;
pub use sasl::{Credential, Mechanism, NoIdentifier, Routing};

/// The protocols whose logins are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 9051, RFC 3501.
    Imap,
    /// RFC 1939.
    Pop3,
    /// RFC 5804.
    ManageSieve,
    /// RFC 6409.
    Submission,
}
