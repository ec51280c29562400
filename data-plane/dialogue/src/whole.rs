//! A line together with the literals in it, gathered from the input: what IMAP and ManageSieve frame their replies and
//! commands with. Bounded; a literal's octets are never looked into here.

use zeroize::Zeroizing;

use crate::failure::Excess;
use crate::input::Input;
use crate::limits::LINE_LIMIT;
use crate::line::Literal;
use crate::{line, secret};

/// What has been gathered of it.
#[derive(Default)]
pub(crate) struct Reader {
    raw: Zeroizing<Vec<u8>>,
    /// Octets of a literal that are still to come.
    literal: usize,
}

/// Whether a literal is read behind a line that announces one. It is asked with all that was gathered so far.
pub(crate) type Carries = fn(&[u8]) -> bool;

impl Reader {
    /// All of it once it is there, lines ended by CRLF; of at most `room` bytes.
    pub(crate) fn read(
        &mut self,
        input: &mut Input,
        room: usize,
        carries: Carries,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Excess> {
        loop {
            let here = self.literal.min(input.len());
            secret::append(&mut self.raw, &input.unread()[..here]);
            input.consume(here);
            self.literal -= here;
            if self.literal > 0 {
                return Ok(None);
            }
            let left = room.saturating_sub(self.raw.len());
            let excess = if left < LINE_LIMIT {
                Excess::Bytes
            } else {
                Excess::Line
            };
            let Some(line) = line::find(input, left).map_err(|_| excess)? else {
                return Ok(None);
            };
            let text = &input.unread()[..line.text];
            secret::append(&mut self.raw, text);
            secret::append(&mut self.raw, b"\r\n");
            let literal = line::literal(text).filter(|_| carries(&self.raw));
            input.consume(line.whole);
            match literal {
                None => return Ok(Some(std::mem::take(&mut self.raw))),
                Some(Literal { size, .. }) if size > room.saturating_sub(self.raw.len()) => {
                    return Err(Excess::Bytes);
                }
                Some(Literal { size, .. }) => self.literal = size,
            }
        }
    }
}
