//! The credential to a submission backend, and its answer (behaviour §6.6, RFC 4954).

use zeroize::Zeroizing;

use super::reply::{NoReply, Reader};
use crate::backend::{Answer, Relay};
use crate::dialogue::{Dialogue, Step};
use crate::failure::ReplayError;
use crate::input::{Input, TlsEstablished};
use crate::output::Output;
use crate::sasl::{Challenges, Credential, Response};
use crate::secret;

/// An AUTH line with initial response may be this long, with its end (RFC 4954 §4); a longer credential waits for
/// the first challenge.
const AUTH_LINE: usize = 12_288;

/// The dialogue.
pub(crate) struct Replay {
    /// Said by the first step.
    command: Option<Zeroizing<Vec<u8>>>,
    challenges: Challenges,
    reader: Reader,
}

impl Replay {
    pub(crate) fn new(credential: &Credential) -> Self {
        let encoded = crate::sasl::encode(credential.expose());
        let name = credential.frame().as_str().as_bytes();
        let line = secret::concat(&[b"AUTH ", name, b" ", encoded.as_bytes(), b"\r\n"]);
        let (command, challenges) = if line.len() <= AUTH_LINE {
            (line, Challenges::after_initial(credential.frame()))
        } else {
            (
                secret::concat(&[b"AUTH ", name, b"\r\n"]),
                Challenges::before_initial(credential.frame(), encoded),
            )
        };
        Self {
            command: Some(command),
            challenges,
            reader: Reader::default(),
        }
    }

    fn advance(&mut self, input: &mut Input, output: &mut Output) -> Result<Option<Answer>, ReplayError> {
        if let Some(command) = self.command.take() {
            output.put(&command);
        }
        loop {
            let reply = match self.reader.read(input) {
                Ok(Some(reply)) => reply,
                Ok(None) => return Ok(None),
                Err(NoReply::Excess(excess)) => return Err(excess.into()),
                Err(NoReply::Malformed(_)) => {
                    return Err(ReplayError::Malformed {
                        expected: "SMTP reply",
                    });
                }
            };
            let relay = Relay(reply.raw);
            return match reply.code {
                334 => {
                    let response: Response = self.challenges.next()?;
                    output.line(&[response.as_bytes()]);
                    continue;
                }
                200..300 => self.challenges.accept(relay).map(Some),
                400..500 => Ok(Some(Answer::Temporary { relay })),
                _ => Ok(Some(Answer::Refused { relay })),
            };
        }
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
