//! The shape of every replay: the credential once, what each challenge is answered with, and the backend's verdict
//! (behaviour §6.6). How a protocol frames them is its `Replies`.

use zeroize::Zeroizing;

use crate::backend::{Answer, Relay};
use crate::dialogue::{Dialogue, Step};
use crate::failure::ReplayError;
use crate::input::{Input, TlsEstablished};
use crate::output::Output;
use crate::sasl::{self, Challenges, Credential, Frame};
use crate::secret;

/// A backend's replies to a login, in one protocol.
pub(crate) trait Replies {
    /// The next verdict, once it is all there.
    fn read(&mut self, input: &mut Input) -> Result<Option<Verdict>, ReplayError>;

    /// Writes the response to a challenge; it is base64 or empty.
    fn respond(&self, response: &[u8], output: &mut Output) {
        output.line(&[response]);
    }
}

/// What a reply is.
pub(crate) enum Verdict {
    /// It asks for a response. It is not shown to the client.
    Challenge,
    Accepted(Relay),
    Refused(Relay),
    /// It is no verdict on the credential.
    Temporary(Relay),
}

/// The dialogue.
pub(crate) struct Replaying<R> {
    /// Said by the first step.
    command: Option<Zeroizing<Vec<u8>>>,
    challenges: Challenges,
    replies: R,
}

impl<R: Replies> Replaying<R> {
    /// `head` and the credential behind a blank; when that is more than `most` bytes with its end, `head` alone, and the
    /// credential behind the first challenge.
    pub(crate) fn line(replies: R, credential: &Credential, head: &[u8], most: usize) -> Self {
        let frame = credential.frame();
        let encoded = sasl::encode(credential.expose());
        let whole = secret::concat(&[head, b" ", encoded.as_bytes(), b"\r\n"]);
        if whole.len() <= most {
            return Self::whole(replies, frame, whole);
        }
        Self {
            command: Some(secret::concat(&[head, b"\r\n"])),
            challenges: Challenges::before_initial(frame, encoded),
            replies,
        }
    }

    /// A command that holds the credential.
    pub(crate) fn whole(replies: R, frame: Frame, command: Zeroizing<Vec<u8>>) -> Self {
        Self {
            command: Some(command),
            challenges: Challenges::after_initial(frame),
            replies,
        }
    }

    fn advance(&mut self, input: &mut Input, output: &mut Output) -> Result<Option<Answer>, ReplayError> {
        if let Some(command) = self.command.take() {
            output.put(&command);
        }
        while let Some(verdict) = self.replies.read(input)? {
            let answer = match verdict {
                Verdict::Challenge => {
                    let response = self.challenges.next()?;
                    self.replies.respond(response.as_bytes(), output);
                    continue;
                }
                Verdict::Accepted(relay) => self.challenges.accept(relay)?,
                Verdict::Refused(relay) => Answer::Refused { relay },
                Verdict::Temporary(relay) => Answer::Temporary { relay },
            };
            return Ok(Some(answer));
        }
        Ok(None)
    }
}

impl<R: Replies> Dialogue for Replaying<R> {
    type Done = Result<Answer, ReplayError>;

    fn step(&mut self, input: &mut Input, output: &mut Output) -> Step<Self::Done> {
        match self.advance(input, output) {
            Ok(None) => Step::NeedInput,
            Ok(Some(answer)) => Step::Done(Ok(answer)),
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn tls_started(&mut self, _tls: TlsEstablished) {}
}
