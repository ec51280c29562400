//! The pieces of a line with its literals, as `whole::Reader` gathers it: atoms, strings of both kinds, parentheses.

use crate::line;
use crate::quoted::{self, Faulty, Text};

/// One piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A word or a number.
    Atom(&'a [u8]),
    /// Quoted or literal.
    Text(Text<'a>),
    Open,
    Close,
}

/// What is still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'a>(&'a [u8]);

impl<'a> Tokens<'a> {
    /// Of all that was gathered.
    pub(super) fn new(gathered: &'a [u8]) -> Self {
        Self(gathered.strip_suffix(b"\r\n").unwrap_or(gathered))
    }

    /// The next one; `None`: there is no more.
    pub(super) fn next(&mut self) -> Result<Option<Token<'a>>, Faulty> {
        let blanks = self.0.iter().take_while(|byte| **byte == b' ').count();
        let text = &self.0[blanks..];
        let (token, behind) = match text.first() {
            None => return Ok(None),
            Some(b'(') => (Token::Open, &text[1..]),
            Some(b')') => (Token::Close, &text[1..]),
            Some(b'"') => {
                let (string, behind) = quoted::read(&text[1..])?;
                (Token::Text(string), behind)
            }
            Some(b'{') => {
                let (octets, behind) = literal(text)?;
                (Token::Text(Text::Same(octets)), behind)
            }
            Some(_) => {
                let end = text.iter().position(|byte| !is_atom_byte(*byte));
                let (atom, behind) = text.split_at(end.unwrap_or(text.len()));
                if atom.is_empty() {
                    return Err(Faulty);
                }
                (Token::Atom(atom), behind)
            }
        };
        if token != Token::Open && !matches!(behind.first(), None | Some(b' ' | b')')) {
            return Err(Faulty);
        }
        self.0 = behind;
        Ok(Some(token))
    }

    /// A string.
    pub(super) fn text(&mut self) -> Result<Text<'a>, Faulty> {
        match self.next()? {
            Some(Token::Text(text)) => Ok(text),
            _ => Err(Faulty),
        }
    }

    /// A string, or nothing more.
    pub(super) fn text_or_end(&mut self) -> Result<Option<Text<'a>>, Faulty> {
        match self.next()? {
            None => Ok(None),
            Some(Token::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Faulty),
        }
    }

    /// There is nothing more.
    pub(super) fn end(&mut self) -> Result<(), Faulty> {
        match self.next()? {
            None => Ok(()),
            Some(_) => Err(Faulty),
        }
    }

    /// What was not read, as it stands.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// From the announcement: the octets, and what is behind them.
fn literal(text: &[u8]) -> Result<(&[u8], &[u8]), Faulty> {
    let end = text.windows(2).position(|pair| pair == b"\r\n").ok_or(Faulty)?;
    let announced = line::literal(&text[..end])
        .filter(|literal| literal.at == 0)
        .ok_or(Faulty)?;
    text[end + 2..].split_at_checked(announced.size).ok_or(Faulty)
}

fn is_atom_byte(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !matches!(byte, b'(' | b')' | b'{' | b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Result<Vec<Token<'_>>, Faulty> {
        let mut tokens = Tokens::new(text);
        std::iter::from_fn(|| tokens.next().transpose()).collect()
    }

    #[test]
    fn a_line_with_literals_is_its_tokens() {
        let text = |bytes| Token::Text(Text::Same(bytes));
        assert_eq!(
            all(b"NO (TAG {4+}\r\na\"\r\n) \"x\" {0}\r\n\r\n").unwrap(),
            [
                Token::Atom(b"NO"),
                Token::Open,
                Token::Atom(b"TAG"),
                text(b"a\"\r\n"),
                Token::Close,
                text(b"x"),
                text(b"")
            ]
        );
        assert_eq!(
            all(b"A  TTL=3 ::1\r\n").unwrap(),
            [Token::Atom(b"A"), Token::Atom(b"TTL=3"), Token::Atom(b"::1")]
        );
        assert_eq!(all(b"\r\n").unwrap(), []);
        for faulty in [
            &b"\"a\r\n"[..],
            b"\"a\"b\r\n",
            b"{3}\r\nab\r\n",
            b"{3}x\r\n",
            b"{3}",
            b"a\rb\r\n",
            b"a\"b\"\r\n",
            b"{2}\r\nabc\r\n",
            b"\t\r\n",
        ] {
            assert_eq!(all(faulty), Err(Faulty), "{}", faulty.escape_ascii());
        }
    }
}
