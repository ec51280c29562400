//! A backend's POP3 replies (RFC 1939 §3): one line, or the lines behind one up to a lone dot.

use zeroize::Zeroizing;

use crate::failure::Excess;
use crate::input::Input;
use crate::limits::{LINE_LIMIT, REPLY_BYTES, REPLY_LINES};
use crate::line;

/// One line, ended by CRLF.
pub(super) struct Reply {
    pub(super) raw: Zeroizing<Vec<u8>>,
}

/// What a reply is, and the text behind its status.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// `+OK`.
    Ok(&'a [u8]),
    /// `-ERR`.
    Err(&'a [u8]),
    /// `+ `, and a challenge.
    Challenge,
    /// Nothing of POP3.
    Malformed,
}

/// The reply, once it is all there.
pub(super) fn read(input: &mut Input) -> Result<Option<Reply>, Excess> {
    let Some(line) = line::find(input, LINE_LIMIT).map_err(|line::TooLong| Excess::Line)? else {
        return Ok(None);
    };
    let raw = crate::secret::concat(&[&input.unread()[..line.text], b"\r\n"]);
    input.consume(line.whole);
    Ok(Some(Reply { raw }))
}

impl Reply {
    pub(super) fn text(&self) -> &[u8] {
        self.raw.strip_suffix(b"\r\n").unwrap_or(&self.raw)
    }

    pub(super) fn kind(&self) -> Kind<'_> {
        let text = self.text();
        let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
        let behind = text[end..].trim_ascii();
        match text[..end].to_ascii_uppercase().as_slice() {
            b"+OK" => Kind::Ok(behind),
            b"-ERR" => Kind::Err(behind),
            b"+" => Kind::Challenge,
            _ => Kind::Malformed,
        }
    }
}

/// True when a text begins with that response code (RFC 2449 §8), alone or among others in its brackets.
pub(super) fn has_code(text: &[u8], code: &str) -> bool {
    let Some(end) = text.iter().position(|byte| *byte == b']') else {
        return false;
    };
    text[..end].strip_prefix(b"[").is_some_and(|inside| {
        inside
            .split(|byte| *byte == b' ')
            .any(|word| word.eq_ignore_ascii_case(code.as_bytes()))
    })
}

/// What has been read of a list that ends with a dot: the names in it, upper case, one a line.
#[derive(Default)]
pub(super) struct List {
    names: Vec<u8>,
    lines: usize,
    bytes: usize,
}

/// What a backend can do, as it said last.
#[derive(Debug)]
pub(super) struct Capabilities(Vec<u8>);

impl List {
    /// The list, once its dot is there.
    pub(super) fn read(&mut self, input: &mut Input) -> Result<Option<Capabilities>, Excess> {
        while let Some(line) = line::find(input, LINE_LIMIT).map_err(|line::TooLong| Excess::Line)? {
            let text = &input.unread()[..line.text];
            let last = text == b".";
            self.lines += 1;
            self.bytes += line.whole;
            if self.lines > REPLY_LINES {
                return Err(Excess::Lines);
            }
            if self.bytes > REPLY_BYTES {
                return Err(Excess::Bytes);
            }
            self.names.extend(text.trim_ascii().to_ascii_uppercase());
            self.names.push(b'\n');
            input.consume(line.whole);
            if last {
                return Ok(Some(Capabilities(std::mem::take(&mut self.names))));
            }
        }
        Ok(None)
    }
}

impl Capabilities {
    /// Of a backend that knows no CAPA.
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    /// True when a line is that name, alone or with arguments.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.split(|byte| *byte == b'\n').any(|line| {
            line.strip_prefix(name.as_bytes())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b' ')))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart() {
        for (line, kind) in [
            (&b"+OK ready"[..], Kind::Ok(b"ready")),
            (b"+ok", Kind::Ok(b"")),
            (b"-ERR [AUTH] no", Kind::Err(b"[AUTH] no")),
            (b"-err", Kind::Err(b"")),
            (b"+ dGVzdA==", Kind::Challenge),
            (b"+", Kind::Challenge),
            (b"+OKAY", Kind::Malformed),
            (b"* OK imap", Kind::Malformed),
            (b"", Kind::Malformed),
        ] {
            let reply = Reply {
                raw: Zeroizing::new([line, b"\r\n"].concat()),
            };
            assert_eq!(reply.kind(), kind, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_code_is_a_whole_word_of_the_brackets_at_the_start() {
        assert!(has_code(b"[SYS/TEMP] later", "SYS/TEMP") && has_code(b"[sys/temp]", "SYS/TEMP"));
        assert!(has_code(b"[XCLIENT] Dovecot ready.", "XCLIENT"));
        for text in [
            &b"[SYS/TEMPX] x"[..],
            b"x [SYS/TEMP]",
            b"[SYS/TEMP x",
            b"SYS/TEMP",
            b"",
        ] {
            assert!(!has_code(text, "SYS/TEMP"), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_list_ends_with_a_lone_dot_and_is_bounded() {
        let list = |bytes: &[u8]| {
            let mut input = Input::new();
            assert_eq!(input.push(bytes), bytes.len());
            List::default().read(&mut input)
        };
        let listed = list(b"TOP\r\nstls\r\nSASL PLAIN\n.x\r\n.\r\nUTF8\r\n.\r\n")
            .unwrap()
            .unwrap();
        assert!(listed.has("STLS") && listed.has("SASL") && !listed.has("UTF8") && !listed.has("PLAIN"));
        assert!(list(b"TOP\r\n").unwrap().is_none());
        assert_eq!(
            list(&b"A\r\n".repeat(REPLY_LINES + 1)).unwrap_err(),
            Excess::Lines
        );
        assert_eq!(list(&vec![b'a'; LINE_LIMIT + 2]).unwrap_err(), Excess::Line);
        let mut list = List::default();
        let mut input = Input::new();
        let line = [vec![b'a'; 40_000], b"\r\n".to_vec()].concat();
        input.push(&line);
        assert!(matches!(list.read(&mut input), Ok(None)));
        input.push(&line);
        assert_eq!(list.read(&mut input).unwrap_err(), Excess::Bytes);
    }
}
