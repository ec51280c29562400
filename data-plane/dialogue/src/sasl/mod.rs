//! SASL as seen from between: read the client's side, know whose login it is, keep the frame for the backend.
//!
//! - `exchange`: the client's half of an AUTHENTICATE or AUTH command, whatever the protocol around it.
//! - `credential`: the frame and what it must not do (be shown).
//! - `challenges`: the same half toward the backend.
//! - `plain`, `oauth`: the frames. `token`: the account that a bearer token names. `encoding`: base64 as it comes.

mod challenges;
mod credential;
mod encoding;
mod exchange;
mod oauth;
mod plain;
pub mod token;

pub(crate) use challenges::Challenges;
use credential::Named;
pub use credential::{Credential, Frame, Malformed};
pub(crate) use encoding::encode;
pub(crate) use exchange::{Exchange, Failure, Progress, Prompt};
pub use token::{NoIdentifier, Routing};

/// The mechanisms that a client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login.
    Login,
    /// RFC 7628.
    OauthBearer,
    /// Google's specification.
    Xoauth2,
}

impl Mechanism {
    /// All of them, in the order of the default `sasl` list.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Login, Self::OauthBearer, Self::Xoauth2];

    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::OauthBearer => "OAUTHBEARER",
            Self::Xoauth2 => "XOAUTH2",
        }
    }

    /// The mechanism of a name, in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mechanism| mechanism.as_str().as_bytes().eq_ignore_ascii_case(name))
    }
}
