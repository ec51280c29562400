//! What a backend's challenges are answered with during the replay (behaviour §6.6): the credential once, then what
//! ends the exchange in its mechanism. Challenges are not shown to the client.

use zeroize::Zeroizing;

use super::Frame;
use crate::backend::{Answer, Relay};
use crate::failure::ReplayError;
use crate::limits::CONTINUATIONS;

/// The rest of an exchange with a backend.
pub(crate) struct Challenges {
    frame: Frame,
    rounds: usize,
    initial: Option<Zeroizing<String>>,
    cancelled: Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancelled {
    No,
    Yes,
}

/// One response line.
pub(crate) enum Response {
    Credential(Zeroizing<String>),
    Fixed(&'static str),
}

impl Response {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Credential(encoded) => encoded.as_bytes(),
            Self::Fixed(text) => text.as_bytes(),
        }
    }
}

impl Challenges {
    /// The command carries the credential.
    pub(crate) fn after_initial(frame: Frame) -> Self {
        Self {
            frame,
            rounds: 0,
            initial: None,
            cancelled: Cancelled::No,
        }
    }

    /// The first challenge asks for it.
    pub(crate) fn before_initial(frame: Frame, encoded: Zeroizing<String>) -> Self {
        Self {
            initial: Some(encoded),
            ..Self::after_initial(frame)
        }
    }

    /// The response to the next challenge, in base64.
    pub(crate) fn next(&mut self) -> Result<Response, ReplayError> {
        self.rounds += 1;
        if self.rounds > CONTINUATIONS {
            return Err(ReplayError::TooManyChallenges);
        }
        if let Some(encoded) = self.initial.take() {
            return Ok(Response::Credential(encoded));
        }
        Ok(Response::Fixed(match self.frame {
            // RFC 7628 §3.2.3: the challenge is an error report, 0x01 acknowledges it.
            Frame::OauthBearer => "AQ==",
            Frame::Xoauth2 => "",
            Frame::Plain => {
                self.cancelled = Cancelled::Yes;
                "*"
            }
        }))
    }

    /// The backend says that the login is good.
    pub(crate) fn accept(&self, relay: Relay) -> Result<Answer, ReplayError> {
        match (self.cancelled, &self.initial) {
            (Cancelled::No, None) => Ok(Answer::Accepted { relay }),
            // It cannot mean this credential: it was cancelled, or was never asked for.
            (Cancelled::Yes, _) | (_, Some(_)) => Err(ReplayError::AcceptedUnseen),
        }
    }
}
