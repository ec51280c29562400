//! An IMAP backend's replies to the credential, sent under the client's own tag (behaviour §6.1, §6.6).

use zeroize::Zeroizing;

use super::Tag;
use super::handshake::{InitialResponse, ReadyLeg};
use super::response::{self, Kind, Reader, Status};
use crate::backend::Relay;
use crate::backend::replaying::{Replaying, Replies, Verdict};
use crate::failure::{Excess, ReplayError};
use crate::input::Input;
use crate::limits::{REPLY_BYTES, REPLY_LINES};
use crate::sasl::Credential;
use crate::secret;

/// Servers take command lines of 8000 octets (RFC 2683 §3.2.1.5); a longer credential waits for the continuation.
const COMMAND_LINE: usize = 8_000;

/// What has been said so far.
pub(crate) struct Replay {
    tag: Tag,
    reader: Reader,
    /// Untagged responses so far, in order: they are the client's.
    relay: Zeroizing<Vec<u8>>,
    untagged: usize,
}

pub(crate) fn replay(leg: ReadyLeg, credential: &Credential) -> Replaying<Replay> {
    let name = credential.frame().as_str().as_bytes();
    let head = [leg.tag.as_bytes(), b" AUTHENTICATE ", name].concat();
    let most = match leg.initial_response {
        InitialResponse::Accepted => COMMAND_LINE,
        InitialResponse::NotAccepted => 0,
    };
    let replies = Replay {
        tag: leg.tag,
        reader: Reader::default(),
        relay: Zeroizing::default(),
        untagged: 0,
    };
    Replaying::line(replies, credential, &head, most)
}

impl Replies for Replay {
    fn read(&mut self, input: &mut Input) -> Result<Option<Verdict>, ReplayError> {
        while let Some(response) = self
            .reader
            .read(input, REPLY_BYTES.saturating_sub(self.relay.len()))?
        {
            match response.kind() {
                Kind::Continuation => return Ok(Some(Verdict::Challenge)),
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
                        Status::Ok => Verdict::Accepted(relay),
                        Status::No if unavailable => Verdict::Temporary(relay),
                        Status::No | Status::Bad => Verdict::Refused(relay),
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
