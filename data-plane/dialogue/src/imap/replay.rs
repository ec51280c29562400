//! The credential to an IMAP backend under the client's own tag, and its answer (behaviour §6.1, §6.6).

use zeroize::Zeroizing;

use super::Tag;
use super::handshake::{InitialResponse, ReadyLeg};
use super::response::{self, Kind, Reader, Status};
use crate::backend::{Answer, Relay};
use crate::dialogue::{Dialogue, Step};
use crate::failure::{Excess, ReplayError};
use crate::input::{Input, TlsEstablished};
use crate::limits::{REPLY_BYTES, REPLY_LINES};
use crate::output::Output;
use crate::sasl::{self, Challenges, Credential};
use crate::secret;

/// Servers take command lines of 8000 octets (RFC 2683 §3.2.1.5); a longer credential waits for the continuation.
const COMMAND_LINE: usize = 8_000;

/// The dialogue.
pub(crate) struct Replay {
    tag: Tag,
    /// Said by the first step.
    command: Option<Zeroizing<Vec<u8>>>,
    challenges: Challenges,
    reader: Reader,
    /// Untagged responses so far, in order: they are the client's.
    relay: Zeroizing<Vec<u8>>,
    untagged: usize,
}

impl Replay {
    pub(crate) fn new(leg: ReadyLeg, credential: &Credential) -> Self {
        let ReadyLeg {
            tag,
            initial_response,
        } = leg;
        let frame = credential.frame();
        let encoded = sasl::encode(credential.expose());
        let head = [tag.as_bytes(), b" AUTHENTICATE ", frame.as_str().as_bytes()].concat();
        let whole = secret::concat(&[&head, b" ", encoded.as_bytes(), b"\r\n"]);
        let (command, challenges) = match initial_response {
            InitialResponse::Accepted if whole.len() <= COMMAND_LINE => {
                (whole, Challenges::after_initial(frame))
            }
            InitialResponse::Accepted | InitialResponse::NotAccepted => (
                secret::concat(&[&head, b"\r\n"]),
                Challenges::before_initial(frame, encoded),
            ),
        };
        Self {
            tag,
            command: Some(command),
            challenges,
            reader: Reader::default(),
            relay: Zeroizing::default(),
            untagged: 0,
        }
    }

    fn advance(&mut self, input: &mut Input, output: &mut Output) -> Result<Option<Answer>, ReplayError> {
        if let Some(command) = self.command.take() {
            output.put(&command);
        }
        while let Some(response) = self
            .reader
            .read(input, REPLY_BYTES.saturating_sub(self.relay.len()))?
        {
            match response.kind() {
                Kind::Continuation => {
                    let answer = self.challenges.next()?;
                    output.line(&[answer.as_bytes()]);
                }
                Kind::Condition(..) | Kind::Data | Kind::Capability(_) => {
                    self.untagged += 1;
                    if self.untagged > REPLY_LINES {
                        return Err(Excess::Lines.into());
                    }
                    secret::append(&mut self.relay, &response.raw);
                }
                Kind::Tagged(tag, status, text) if tag == self.tag.as_bytes() => {
                    let unavailable = response::has_code(text, b"UNAVAILABLE");
                    secret::append(&mut self.relay, &response.raw);
                    let relay = Relay(std::mem::take(&mut self.relay));
                    return Ok(Some(match status {
                        Status::Ok => self.challenges.accept(relay)?,
                        Status::No if unavailable => Answer::Temporary { relay },
                        Status::No | Status::Bad => Answer::Refused { relay },
                    }));
                }
                // Nobody has judged the credential: the client gets the temporary failure.
                Kind::Bye => return Err(ReplayError::Bye),
                Kind::PreAuth | Kind::Tagged(..) | Kind::Malformed => {
                    return Err(ReplayError::Malformed {
                        expected: "IMAP reply",
                    });
                }
            }
        }
        Ok(None)
    }
}

impl Dialogue for Replay {
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
