//! A backend's SMTP reply (RFC 5321 §4.2), one or many lines, read whole: bounded in line, lines and bytes.

use zeroize::Zeroizing;

use crate::failure::Excess;
use crate::input::Input;
use crate::limits::{REPLY_BYTES, REPLY_LINES};
use crate::{line, secret};

/// A whole reply.
pub(super) struct Reply {
    pub(super) code: u16,
    /// All lines, each ended by CRLF.
    pub(super) raw: Zeroizing<Vec<u8>>,
}

/// Why what came is no reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoReply {
    Excess(Excess),
    /// This line.
    Malformed(Vec<u8>),
}

/// What has been read of a reply.
#[derive(Default)]
pub(super) struct Reader {
    raw: Zeroizing<Vec<u8>>,
    lines: usize,
    code: Option<u16>,
}

impl Reader {
    /// The reply, once its last line is there.
    pub(super) fn read(&mut self, input: &mut Input) -> Result<Option<Reply>, NoReply> {
        loop {
            let left = REPLY_BYTES.saturating_sub(self.raw.len());
            let excess = if self.lines == 0 {
                Excess::Line
            } else {
                Excess::Bytes
            };
            let Some(line) = line::find(input, left).map_err(|_| NoReply::Excess(excess))? else {
                return Ok(None);
            };
            let text = &input.unread()[..line.text];
            let (code, last) = head(text)
                .filter(|(code, _)| self.code.is_none_or(|first| first == *code))
                .ok_or_else(|| NoReply::Malformed(text[..text.len().min(200)].to_vec()))?;
            if self.lines == REPLY_LINES {
                return Err(NoReply::Excess(Excess::Lines));
            }
            secret::append(&mut self.raw, text);
            secret::append(&mut self.raw, b"\r\n");
            self.lines += 1;
            self.code = Some(code);
            input.consume(line.whole);
            if last {
                let whole = std::mem::take(self);
                return Ok(Some(Reply { code, raw: whole.raw }));
            }
        }
    }
}

/// The code of a line, and whether it is the last.
fn head(text: &[u8]) -> Option<(u16, bool)> {
    let digits = text.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) || !(b'2'..=b'5').contains(&digits[0]) {
        return None;
    }
    let last = match text.get(3) {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    Some((
        digits
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(digit - b'0')),
        last,
    ))
}

impl Reply {
    /// Its last line, for an error: the first one often says nothing.
    pub(super) fn last_line(&self) -> &[u8] {
        let text = self.raw.strip_suffix(b"\r\n").unwrap_or(&self.raw);
        text.rsplit(|byte| *byte == b'\n').next().unwrap_or(text)
    }

    /// The parameters of an EHLO keyword, which may be none; `None`: it is not listed.
    pub(super) fn keyword(&self, name: &str) -> Option<&[u8]> {
        self.raw.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
            let text = line.get(4..)?.trim_ascii();
            let end = text
                .iter()
                .position(|byte| matches!(byte, b' ' | b'='))
                .unwrap_or(text.len());
            text[..end]
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| text[end..].trim_ascii())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LINE_LIMIT;

    fn read(bytes: &[u8]) -> Result<Option<Reply>, NoReply> {
        let mut input = Input::new();
        assert_eq!(input.push(bytes), bytes.len());
        Reader::default().read(&mut input)
    }

    #[test]
    fn a_reply_ends_with_the_line_that_has_no_hyphen() {
        let reply =
            read(b"250-mail.example\r\n250-PIPELINING\n250-XCLIENT NAME ADDR\r\n250 starttls\r\n220 x\r\n")
                .unwrap()
                .unwrap();
        assert_eq!(reply.code, 250);
        assert_eq!(
            &**reply.raw,
            b"250-mail.example\r\n250-PIPELINING\r\n250-XCLIENT NAME ADDR\r\n250 starttls\r\n"
        );
        assert_eq!(reply.keyword("STARTTLS"), Some(&b""[..]));
        assert_eq!(reply.keyword("XCLIENT"), Some(&b"NAME ADDR"[..]));
        assert_eq!(reply.keyword("mail.example"), None);
        assert_eq!(reply.last_line(), b"250 starttls");
        assert!(read(b"250-mail.example\r\n250 ").unwrap().is_none());
        assert_eq!(read(b"354\r\n").unwrap().unwrap().code, 354);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [
            &b"hello\r\n"[..],
            b"25\r\n",
            b"250_x\r\n",
            b"150 x\r\n",
            b"650 x\r\n",
            b"250-a\r\n251 b\r\n",
            b"\r\n",
        ] {
            assert!(
                matches!(read(bytes), Err(NoReply::Malformed(_))),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn a_reply_is_bounded_in_line_lines_and_bytes() {
        let long = [b"250 ".to_vec(), vec![b'a'; LINE_LIMIT]].concat();
        assert!(matches!(read(&long), Err(NoReply::Excess(Excess::Line))));
        assert!(matches!(
            read(&b"250-a\r\n".repeat(REPLY_LINES + 1)),
            Err(NoReply::Excess(Excess::Lines))
        ));
        let mut reader = Reader::default();
        let mut input = Input::new();
        let line = [b"250-".to_vec(), vec![b'a'; 40_000], b"\r\n".to_vec()].concat();
        input.push(&line);
        assert!(matches!(reader.read(&mut input), Ok(None)));
        input.push(&line);
        assert!(matches!(
            reader.read(&mut input),
            Err(NoReply::Excess(Excess::Bytes))
        ));
    }
}
