//! What a backend is told about the client (behaviour §5): XCLIENT attributes and IMAP ID fields.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::limits;

/// The client as the backend is to see it.
#[derive(Debug, Clone)]
pub struct ClientAttributes {
    /// The client, IPv4 already unmapped.
    pub client: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
    /// Joins both sides' logs.
    pub session: SessionId,
    /// What is left of the hop count: already one less than what came in (`Hops::forwarded`).
    pub ttl: Hops,
    /// The client's leg.
    pub transport: Transport,
}

/// How the client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Over TLS.
    Tls,
    /// In clear.
    Insecure,
}

impl Transport {
    /// As XCLIENT and ID spell it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Insecure => "insecure",
        }
    }
}

/// `[A-Za-z0-9-]{1,40}`, unique across restarts and nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

/// A session id of another shape would need quoting in some protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session id is one to forty letters, digits and hyphens")]
pub struct InvalidSessionId;

impl SessionId {
    /// Checks the shape.
    ///
    /// # Errors
    /// When it has another.
    pub fn new(text: &str) -> Result<Self, InvalidSessionId> {
        let fits = (1..=40).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        fits.then(|| Self(text.into())).ok_or(InvalidSessionId)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many proxies a session may still pass (behaviour §7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hops(pub u32);

impl Hops {
    /// Decimal digits, as XCLIENT and ID carry them.
    pub(crate) fn parse(digits: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(digits).ok()?;
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok().map(Self))?
    }

    /// What the next server is told; `None`: this is a loop, refuse.
    #[must_use]
    pub const fn forwarded(self) -> Option<Self> {
        if self.0 <= 1 { None } else { Some(Self(self.0 - 1)) }
    }
}

/// The argument of a client's EHLO or HELO as it came, cut where it is longer than any may be.
#[derive(Clone, PartialEq, Eq)]
pub struct Helo(Vec<u8>);

impl Helo {
    /// From the bytes behind the verb.
    pub(crate) fn new(argument: &[u8]) -> Self {
        Self(argument[..argument.len().min(limits::HELO + 1)].to_vec())
    }

    /// As it came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What may be said as our own EHLO argument: 1 to 255 bytes of 0x21 to 0x7E (behaviour §6.4).
    pub(crate) fn sayable(&self) -> Option<&[u8]> {
        let fits = (1..=limits::HELO).contains(&self.0.len()) && self.0.iter().all(u8::is_ascii_graphic);
        fits.then_some(&*self.0)
    }
}

impl fmt::Debug for Helo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Helo({})", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_has_the_one_shape() {
        assert!(SessionId::new("0191-ab").is_ok());
        for text in ["", "a b", "a\"", "ä", &"a".repeat(41)] {
            assert_eq!(SessionId::new(text), Err(InvalidSessionId), "{text}");
        }
    }

    #[test]
    fn the_last_hop_is_not_forwarded() {
        assert_eq!(Hops(7).forwarded(), Some(Hops(6)));
        assert_eq!(Hops(1).forwarded(), None);
        assert_eq!(Hops(0).forwarded(), None);
    }
}
