//! A submission backend's replies to the credential (behaviour §6.6, RFC 4954).

use super::reply::{NoReply, Reader};
use crate::backend::Relay;
use crate::backend::replaying::{Replaying, Replies, Verdict};
use crate::failure::ReplayError;
use crate::input::Input;
use crate::sasl::Credential;

/// An AUTH line with initial response may be this long, with its end (RFC 4954 §4); a longer credential waits for
/// the first challenge.
const AUTH_LINE: usize = 12_288;

/// What has been said so far.
pub(crate) struct Replay(Reader);

pub(crate) fn replay(credential: &Credential) -> Replaying<Replay> {
    let head = [b"AUTH ", credential.frame().as_str().as_bytes()].concat();
    Replaying::line(Replay(Reader::default()), credential, &head, AUTH_LINE)
}

impl Replies for Replay {
    fn read(&mut self, input: &mut Input) -> Result<Option<Verdict>, ReplayError> {
        let reply = match self.0.read(input) {
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
        Ok(Some(match reply.code {
            334 => Verdict::Challenge,
            200..300 => Verdict::Accepted(relay),
            400..500 => Verdict::Temporary(relay),
            _ => Verdict::Refused(relay),
        }))
    }
}
