//! A credential: the frame that the backend is sent, byte for byte as the client meant it. Wiped, never shown.

use std::fmt;

use zeroize::Zeroizing;

use super::{Routing, oauth, plain};

/// What a client authenticates with. LOGIN and the protocols' own login commands are PLAIN here.
pub struct Credential {
    frame: Frame,
    bytes: Zeroizing<Vec<u8>>,
    also: Option<String>,
}

/// Whom a frame names.
pub(super) struct Named {
    /// By whom it is routed.
    pub(super) routing: Routing,
    /// Another identity that it may act for at the backend.
    pub(super) also: Option<String>,
}

impl Named {
    pub(super) fn only(routing: Routing) -> Self {
        Self { routing, also: None }
    }

    pub(super) fn two(routes: String, other: String) -> Self {
        let also = (!other.is_empty() && other != routes).then_some(other);
        Self {
            routing: Routing::Login(routes),
            also,
        }
    }
}

/// The mechanism of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Frame {
    /// `authzid NUL authcid NUL password`.
    Plain,
    /// RFC 7628 §3.1.
    OauthBearer,
    /// Google's specification.
    Xoauth2,
}

impl Frame {
    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::OauthBearer => "OAUTHBEARER",
            Self::Xoauth2 => "XOAUTH2",
        }
    }
}

/// A frame that is none of its mechanism. Says nothing of what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the credential is malformed")]
pub struct Malformed;

impl Credential {
    /// A user and a password as IMAP LOGIN, POP3 USER/PASS and SASL LOGIN give them.
    ///
    /// # Errors
    /// When one is empty or holds a NUL (the backend would see another user), or the user is not UTF-8.
    pub fn password(user: &[u8], password: &[u8]) -> Result<(Self, Routing), Malformed> {
        // A NUL in either would give a frame of more than two: refused by the same check.
        Self::parse(
            Frame::Plain,
            crate::secret::concat(&[b"\0", user, b"\0", password]),
            "",
        )
    }

    /// A frame as it came out of base64, and whose login it is.
    ///
    /// # Errors
    /// When it is none of its mechanism.
    pub fn parse(
        frame: Frame,
        bytes: Zeroizing<Vec<u8>>,
        jwt_claim: &str,
    ) -> Result<(Self, Routing), Malformed> {
        let Named { routing, also } = match frame {
            Frame::Plain => plain::identities(&bytes)?,
            Frame::OauthBearer => oauth::bearer(&bytes, jwt_claim)?,
            Frame::Xoauth2 => oauth::xoauth2(&bytes, jwt_claim)?,
        };
        Ok((Self { frame, bytes, also }, routing))
    }

    /// The mechanism toward the backend.
    #[must_use]
    pub const fn frame(&self) -> Frame {
        self.frame
    }

    /// Another identity than the one that routes it, as presented: PLAIN's authorization identity, the name beside a token
    /// or the token's own. It never routes, but the backend may open its mailbox.
    #[must_use]
    pub fn also_acts_for(&self) -> Option<&str> {
        self.also.as_deref()
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, …)", self.frame.as_str())
    }
}
