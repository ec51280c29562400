//! A ManageSieve backend's replies to the credential (behaviour §6.3, §6.6).

use super::QUOTED;
use super::reply::{Code, Kind, Reader};
use crate::backend::Relay;
use crate::backend::replaying::{Replaying, Replies, Verdict};
use crate::failure::ReplayError;
use crate::input::Input;
use crate::output::Output;
use crate::sasl::{self, Credential};
use crate::secret;

/// What has been said so far.
pub(crate) struct Replay(Reader);

/// The credential goes with the command: quoted while it fits, else as a literal that does not wait.
pub(crate) fn replay(credential: &Credential) -> Replaying<Replay> {
    let frame = credential.frame();
    let encoded = sasl::encode(credential.expose());
    let head = [b"AUTHENTICATE \"", frame.as_str().as_bytes(), b"\" "].concat();
    let command = if encoded.len() <= QUOTED {
        secret::concat(&[&head, b"\"", encoded.as_bytes(), b"\"\r\n"])
    } else {
        let announced = format!("{{{}+}}\r\n", encoded.len());
        secret::concat(&[&head, announced.as_bytes(), encoded.as_bytes(), b"\r\n"])
    };
    Replaying::whole(Replay(Reader::default()), frame, command)
}

impl Replies for Replay {
    fn read(&mut self, input: &mut Input) -> Result<Option<Verdict>, ReplayError> {
        let Some(reply) = self.0.read(input)? else {
            return Ok(None);
        };
        let kind = reply.kind();
        let relay = Relay(reply.raw);
        Ok(Some(match kind {
            Kind::Strings { count: 1, .. } => Verdict::Challenge,
            Kind::Ok => Verdict::Accepted(relay),
            Kind::No(Code::TryLater) => Verdict::Temporary(relay),
            Kind::No(Code::Other) => Verdict::Refused(relay),
            // Nobody has judged the credential: the client gets the temporary failure.
            Kind::Bye => return Err(ReplayError::Bye),
            Kind::Strings { .. } | Kind::Malformed => {
                return Err(ReplayError::Malformed {
                    expected: "ManageSieve reply",
                });
            }
        }))
    }

    fn respond(&self, response: &[u8], output: &mut Output) {
        output.line(&[b"\"", response, b"\""]);
    }
}
