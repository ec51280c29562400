//! A backend's IMAP responses (RFC 9051 §7), one at a time and whole: a line, and the literals in it. A literal is
//! never looked into, so nothing in it passes for a tagged reply.

use zeroize::Zeroizing;

use crate::failure::Excess;
use crate::input::Input;
use crate::whole;

/// One response, its lines ended by CRLF.
pub(super) struct Response {
    pub(super) raw: Zeroizing<Vec<u8>>,
}

/// What a response is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// `+`.
    Continuation,
    /// `* OK`, `* NO`, `* BAD`, and the text behind it.
    Condition(Status, &'a [u8]),
    /// `* BYE`.
    Bye,
    /// `* PREAUTH`.
    PreAuth,
    /// `* CAPABILITY`, and the list.
    Capability(&'a [u8]),
    /// Any other untagged response.
    Data,
    /// A tagged reply: tag, status, text.
    Tagged(&'a [u8], Status, &'a [u8]),
    /// Nothing of IMAP.
    Malformed,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    No,
    Bad,
}

/// What has been read of a response.
#[derive(Default)]
pub(super) struct Reader(whole::Reader);

impl Reader {
    /// The next response, once it is all there; of at most `room` bytes.
    pub(super) fn read(&mut self, input: &mut Input, room: usize) -> Result<Option<Response>, Excess> {
        let raw = self.0.read(input, room, carries_literals)?;
        Ok(raw.map(|raw| Response { raw }))
    }
}

/// Only data carries literals: `{3}` at the end of a human's text is text.
fn carries_literals(response: &[u8]) -> bool {
    match response.strip_prefix(b"* ") {
        Some(rest) => status(rest).is_none() && !is_word(rest, b"BYE") && !is_word(rest, b"PREAUTH"),
        None => false,
    }
}

impl Response {
    pub(super) fn kind(&self) -> Kind<'_> {
        let line = self.raw.strip_suffix(b"\r\n").unwrap_or(&self.raw);
        if line.first() == Some(&b'+') {
            return Kind::Continuation;
        }
        let Some(space) = line.iter().position(|byte| *byte == b' ') else {
            return Kind::Malformed;
        };
        let (tag, rest) = (&line[..space], &line[space + 1..]);
        match (tag, status(rest)) {
            (b"", _) => Kind::Malformed,
            (b"*", Some((status, text))) => Kind::Condition(status, text),
            (b"*", None) if is_word(rest, b"BYE") => Kind::Bye,
            (b"*", None) if is_word(rest, b"PREAUTH") => Kind::PreAuth,
            (b"*", None) if is_word(rest, b"CAPABILITY") => Kind::Capability(&rest[b"CAPABILITY".len()..]),
            (b"*", None) => Kind::Data,
            (tag, Some((status, text))) => Kind::Tagged(tag, status, text),
            (_, None) => Kind::Malformed,
        }
    }
}

fn status(rest: &[u8]) -> Option<(Status, &[u8])> {
    [
        (&b"OK"[..], Status::Ok),
        (b"NO", Status::No),
        (b"BAD", Status::Bad),
    ]
    .into_iter()
    .find(|(word, _)| is_word(rest, word))
    .map(|(word, status)| (status, rest[word.len()..].trim_ascii_start()))
}

fn is_word(rest: &[u8], word: &[u8]) -> bool {
    rest.split_at_checked(word.len()).is_some_and(|(start, after)| {
        start.eq_ignore_ascii_case(word) && matches!(after.first(), None | Some(b' '))
    })
}

/// True when a status text starts with that response code (RFC 5530).
pub(super) fn has_code(text: &[u8], code: &[u8]) -> bool {
    response_code(text).is_some_and(|inner| is_word(inner, code))
}

fn response_code(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"[")?;
    Some(&inner[..inner.iter().position(|byte| *byte == b']')?])
}

/// What a backend can do, as it said last.
#[derive(Debug)]
pub(super) struct Capabilities(Vec<u8>);

impl Capabilities {
    /// From a list of words.
    pub(super) fn new(list: &[u8]) -> Self {
        Self(list.to_ascii_uppercase())
    }

    /// From the code of a status text, if it has it.
    pub(super) fn from_code(text: &[u8]) -> Option<Self> {
        let inner = response_code(text)?;
        is_word(inner, b"CAPABILITY").then(|| Self::new(&inner[b"CAPABILITY".len()..]))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0
            .split(|byte| *byte == b' ')
            .any(|word| word == name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LINE_LIMIT;

    fn responses(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut input = Input::new();
        assert_eq!(input.push(bytes), bytes.len());
        let mut reader = Reader::default();
        std::iter::from_fn(|| reader.read(&mut input, LINE_LIMIT).unwrap())
            .map(|response| response.raw.to_vec())
            .collect()
    }

    #[test]
    fn a_literal_belongs_to_its_response_whatever_it_holds() {
        assert_eq!(
            responses(
                b"* ID (\"name\" {9}\r\na1 OK x\r\n)\r\n* NO full {3}\r\na1 OK {5}\r\n* X {0}\r\n\r\nrest"
            ),
            [
                b"* ID (\"name\" {9}\r\na1 OK x\r\n)\r\n".to_vec(),
                b"* NO full {3}\r\n".to_vec(),
                b"a1 OK {5}\r\n".to_vec(),
                b"* X {0}\r\n\r\n".to_vec(),
            ]
        );
    }

    #[test]
    fn responses_are_told_apart() {
        let kind = |line: &[u8]| {
            format!(
                "{:?}",
                Response {
                    raw: Zeroizing::new(line.to_vec())
                }
                .kind()
            )
        };
        for (line, expected) in [
            (&b"+ go\r\n"[..], Kind::Continuation),
            (b"+\r\n", Kind::Continuation),
            (b"* OK ready\r\n", Kind::Condition(Status::Ok, b"ready")),
            (b"* ok\r\n", Kind::Condition(Status::Ok, b"")),
            (b"* OKAY x\r\n", Kind::Data),
            (b"* PREAUTH hi\r\n", Kind::PreAuth),
            (b"* bye now\r\n", Kind::Bye),
            (
                b"* CAPABILITY IMAP4rev1 ID\r\n",
                Kind::Capability(b" IMAP4rev1 ID"),
            ),
            (b"* 3 EXISTS\r\n", Kind::Data),
            (b"a1 OK done\r\n", Kind::Tagged(b"a1", Status::Ok, b"done")),
            (
                b"a1 no [UNAVAILABLE] x\r\n",
                Kind::Tagged(b"a1", Status::No, b"[UNAVAILABLE] x"),
            ),
            (b"a1 BAD\r\n", Kind::Tagged(b"a1", Status::Bad, b"")),
            (b"a1 EXISTS\r\n", Kind::Malformed),
            (b"220 smtp\r\n", Kind::Malformed),
            (b"\r\n", Kind::Malformed),
            (b" OK x\r\n", Kind::Malformed),
        ] {
            assert_eq!(kind(line), format!("{expected:?}"));
        }
    }

    #[test]
    fn capabilities_are_whole_words_in_any_case() {
        let listed =
            Capabilities::from_code(b"[CAPABILITY IMAP4rev1 sasl-ir ID AUTH=PLAIN] Dovecot ready.").unwrap();
        assert!(listed.has("SASL-IR") && listed.has("ID") && listed.has("IMAP4REV1"));
        assert!(!listed.has("STARTTLS") && !listed.has("SASL") && !listed.has("]"));
        assert!(Capabilities::from_code(b"[ALERT] x").is_none());
        assert!(Capabilities::from_code(b"ready").is_none());
        assert!(
            has_code(b"[unavailable] x", b"UNAVAILABLE") && !has_code(b"[UNAVAILABLEX] x", b"UNAVAILABLE")
        );
    }

    #[test]
    fn a_response_is_bounded() {
        let mut input = Input::new();
        input.push(b"* ID {70000}\r\n");
        assert!(matches!(
            Reader::default().read(&mut input, LINE_LIMIT),
            Err(Excess::Bytes)
        ));
        let mut input = Input::new();
        input.push(&vec![b'x'; LINE_LIMIT + 2]);
        assert!(matches!(
            Reader::default().read(&mut input, LINE_LIMIT),
            Err(Excess::Line)
        ));
    }
}
