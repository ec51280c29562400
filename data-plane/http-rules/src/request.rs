//! A request's head: whether it has one meaning (behaviour 8.1), and what of it goes to the backend (8.3).
//!
//! It is written anew from its parsed form, never copied. Everything that frames it (`Host`, lengths, hop-by-hop fields) is
//! checked on the *received* head, before a field of ours is added.

mod outgoing;
pub(crate) mod reading;

use std::fmt;
use std::net::IpAddr;

use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Version, request};
use mailswitch_config::table::listener::InboundForwarded;

use crate::forwarded::TellClient;
use crate::refusal::Refusal;
use crate::via::Pseudonym;
use crate::websocket::{Upgrade, WebSocketKey};

/// More are an attack on whoever keeps them (behaviour 8.1).
pub(crate) const MOST_FIELDS: usize = 100;

/// A request that has one meaning.
pub struct Received {
    head: request::Parts,
    host: HeaderValue,
    body: BodyLength,
    upgrade: Option<Upgrade>,
}

impl fmt::Debug for Received {
    /// Without what may hold a credential: the target and the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("method", &self.head.method)
            .field("version", &self.head.version)
            .field("fields", &self.head.headers.len())
            .field("body", &self.body)
            .field("upgrade", &self.upgrade)
            .finish_non_exhaustive()
    }
}

/// What the connection knows of a request beside its head.
#[derive(Debug, Clone, Copy)]
pub enum Opening<'a> {
    /// HTTP/1.1: nothing.
    Http1,
    /// HTTP/2.
    Http2 {
        /// `:protocol` (RFC 8441).
        protocol: Option<&'a str>,
        /// Whether a body follows.
        rest: Rest,
    },
}

/// Whether anything follows the head of an HTTP/2 stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// END_STREAM was set on the head.
    Ended,
    /// A body or trailers.
    Follows,
}

/// How long a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// These bytes.
    Known(u64),
    /// It says itself when it ends.
    Chunked,
}

/// Whom the body waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// For nobody.
    None,
    /// `Expect: 100-continue`.
    Continue,
}

/// One attempt at a backend: what is said there beside what the client said.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The adopted address.
    pub client: IpAddr,
    /// `listener.NAME.forwarded`.
    pub inbound: InboundForwarded,
    /// `destination.NAME.forwarded`.
    pub tell: TellClient,
    /// Who we are in `Via`.
    pub pseudonym: &'a Pseudonym,
    /// What the leg speaks.
    pub leg: LegVersion<'a>,
    /// `Expect: 100-continue` goes on, or was answered by us.
    pub expect: Expect,
}

/// What a backend's leg speaks.
#[derive(Debug, Clone, Copy)]
pub enum LegVersion<'a> {
    /// HTTP/1.1. The key is needed when the client asks for a WebSocket over HTTP/2, see [`Received::upgrade`].
    Http1(Option<&'a WebSocketKey>),
    /// HTTP/2 with this scheme. Upgrades need a leg of HTTP/1.1.
    Http2(&'a Scheme),
}

/// What becomes of `Expect: 100-continue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The backend answers it.
    Forward,
    /// We have answered 100, to look into the body.
    Answered,
}

impl Received {
    /// Refuses what is not ours to serve and what a backend could read in another way than we do.
    ///
    /// # Errors
    /// [`Refusal`] says what, with its status.
    pub fn read(head: request::Parts, opening: Opening<'_>, pseudonym: &Pseudonym) -> Result<Self, Refusal> {
        reading::read(head, opening, pseudonym)
    }

    /// The path before `?`, undecoded: what routes see.
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// Behind `?`. Not for any log.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    /// The method; GET for a WebSocket over HTTP/2.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.head.method
    }

    /// What the client speaks.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.head.version
    }

    /// The fields as received.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Whom it was sent to: `Host`, or the authority of the target.
    #[must_use]
    pub const fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// How long its body is.
    #[must_use]
    pub const fn body(&self) -> BodyLength {
        self.body
    }

    /// How it asks for a WebSocket, if it does.
    #[must_use]
    pub const fn upgrade(&self) -> Option<Upgrade> {
        self.upgrade
    }

    /// Whether the client waits for a 100.
    #[must_use]
    pub fn expectation(&self) -> Expectation {
        reading::expectation(&self.head.headers)
    }

    /// True when the client wants the connection closed behind the answer.
    #[must_use]
    pub fn wants_close(&self) -> bool {
        crate::field::lists(&self.head.headers, &http::header::CONNECTION, "close")
    }

    /// The head for a backend; for each attempt anew.
    #[must_use]
    pub fn outgoing(&self, exchange: &Exchange<'_>) -> request::Parts {
        outgoing::outgoing(self, exchange)
    }
}
