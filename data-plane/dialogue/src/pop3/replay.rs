//! A POP3 backend's replies to the credential (behaviour §6.2, §6.6, RFC 5034).

use super::reply::{self, Kind};
use crate::backend::Relay;
use crate::backend::replaying::{Replaying, Replies, Verdict};
use crate::failure::ReplayError;
use crate::input::Input;
use crate::sasl::Credential;

/// An AUTH line with initial response may be this long, with its end (RFC 5034 §4); a longer credential waits for the
/// first challenge.
const AUTH_LINE: usize = 255;

/// Codes that say something else than that the credential is wrong (RFC 2449 §8.1, RFC 3206 §4).
const NOT_THE_CREDENTIAL: [&str; 3] = ["SYS/TEMP", "IN-USE", "LOGIN-DELAY"];

pub(crate) struct Replay;

pub(crate) fn replay(credential: &Credential) -> Replaying<Replay> {
    let head = [b"AUTH ", credential.frame().as_str().as_bytes()].concat();
    Replaying::line(Replay, credential, &head, AUTH_LINE)
}

impl Replies for Replay {
    fn read(&mut self, input: &mut Input) -> Result<Option<Verdict>, ReplayError> {
        let Some(reply) = reply::read(input)? else {
            return Ok(None);
        };
        let verdict: fn(Relay) -> Verdict = match reply.kind() {
            Kind::Challenge => |_| Verdict::Challenge,
            Kind::Ok(_) => Verdict::Accepted,
            Kind::Err(text) if NOT_THE_CREDENTIAL.iter().any(|code| reply::has_code(text, code)) => {
                Verdict::Temporary
            }
            Kind::Err(_) => Verdict::Refused,
            Kind::Malformed => {
                return Err(ReplayError::Malformed {
                    expected: "POP3 reply",
                });
            }
        };
        Ok(Some(verdict(Relay(reply.raw))))
    }
}
