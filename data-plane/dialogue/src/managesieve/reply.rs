//! A backend's ManageSieve replies (RFC 5804 §1.2), one at a time and whole: a line, and the literals in it.

use zeroize::Zeroizing;

use super::token::{Token, Tokens};
use crate::failure::Excess;
use crate::input::Input;
use crate::limits::REPLY_BYTES;
use crate::quoted::Faulty;
use crate::whole;

/// One reply, its lines ended by CRLF.
pub(super) struct Reply {
    pub(super) raw: Zeroizing<Vec<u8>>,
}

/// What a reply is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `OK`.
    Ok,
    /// `NO`.
    No(Code),
    /// `BYE`.
    Bye,
    /// A string or two: a capability with its value, or a challenge.
    Strings {
        /// The first, upper case.
        name: Vec<u8>,
        count: usize,
    },
    /// Nothing of ManageSieve.
    Malformed,
}

/// What the code of a `NO` says to us (RFC 5804 §1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// It is no verdict on the credential.
    TryLater,
    /// Another one, or none.
    Other,
}

/// What has been read of a reply.
#[derive(Default)]
pub(super) struct Reader(whole::Reader);

impl Reader {
    /// The next reply, once it is all there.
    pub(super) fn read(&mut self, input: &mut Input) -> Result<Option<Reply>, Excess> {
        let raw = self.0.read(input, REPLY_BYTES, |_| true)?;
        Ok(raw.map(|raw| Reply { raw }))
    }
}

impl Reply {
    pub(super) fn kind(&self) -> Kind {
        kind(Tokens::new(&self.raw)).unwrap_or(Kind::Malformed)
    }

    /// For an error.
    pub(super) fn text(&self) -> &[u8] {
        self.raw.trim_ascii_end()
    }
}

fn kind(mut tokens: Tokens<'_>) -> Result<Kind, Faulty> {
    match tokens.next()? {
        Some(Token::Text(first)) => {
            let second = tokens.text_or_end()?;
            tokens.end()?;
            Ok(Kind::Strings {
                name: first.as_bytes().to_ascii_uppercase(),
                count: 1 + usize::from(second.is_some()),
            })
        }
        // What is behind the status is for humans, but for the code.
        Some(Token::Atom(word)) if word.eq_ignore_ascii_case(b"OK") => Ok(Kind::Ok),
        Some(Token::Atom(word)) if word.eq_ignore_ascii_case(b"BYE") => Ok(Kind::Bye),
        Some(Token::Atom(word)) if word.eq_ignore_ascii_case(b"NO") => Ok(Kind::No(code(tokens))),
        _ => Err(Faulty),
    }
}

fn code(mut tokens: Tokens<'_>) -> Code {
    match (tokens.next(), tokens.next()) {
        (Ok(Some(Token::Open)), Ok(Some(Token::Atom(name)))) if name.eq_ignore_ascii_case(b"TRYLATER") => {
            Code::TryLater
        }
        _ => Code::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(bytes: &[u8]) -> Vec<(Vec<u8>, Kind)> {
        let mut input = Input::new();
        assert_eq!(input.push(bytes), bytes.len());
        let mut reader = Reader::default();
        std::iter::from_fn(|| reader.read(&mut input).unwrap())
            .map(|reply| (reply.raw.to_vec(), reply.kind()))
            .collect()
    }

    #[test]
    fn a_reply_is_read_with_all_its_literals_and_told_apart() {
        let strings = |name: &[u8], count| Kind::Strings {
            name: name.to_vec(),
            count,
        };
        let script: [(&[u8], Kind); 12] = [
            (b"\"StartTLS\"\r\n", strings(b"STARTTLS", 1)),
            (b"\"SASL\" \"PLAIN\"\r\n", strings(b"SASL", 2)),
            (b"\"SIEVE\" {8}\r\nOK\r\nNO\r\n\r\n", strings(b"SIEVE", 2)),
            (b"{5}\r\nabcde\r\n", strings(b"ABCDE", 1)),
            (b"\"\"\r\n", strings(b"", 1)),
            (b"ok\r\n", Kind::Ok),
            (b"OK (SASL \"x\") \"in\"\r\n", Kind::Ok),
            (b"NO {7}\r\nOK\r\n \"x\r\n", Kind::No(Code::Other)),
            (b"NO (trylater) {3}\r\nabc\r\n", Kind::No(Code::TryLater)),
            (b"NO (TRYLATER/X) \"no\"\r\n", Kind::No(Code::Other)),
            (b"BYE \"full\"\r\n", Kind::Bye),
            (b"* OK imap\r\n", Kind::Malformed),
        ];
        let all: Vec<u8> = script.iter().flat_map(|(raw, _)| raw.to_vec()).collect();
        let read = replies(&all);
        assert_eq!(read.len(), script.len());
        for ((raw, kind), (expected, what)) in read.into_iter().zip(script) {
            assert_eq!((raw.as_slice(), kind), (expected, what));
        }
    }
}
