//! The commands of an IMAP client before login, read piece by piece: a piece is a line up to its end or up to a
//! literal. All pieces of a command together are bounded. A fault spoils the command, never the next one: the rest
//! of its line, and literals that flow with it, are read and dropped.

use zeroize::Zeroizing;

use super::Tag;
use crate::limits::LINE_LIMIT;
use crate::line::{self, Literal};
use crate::quoted::{self, Faulty};

/// Arguments of one command: ID has at most thirty pairs (RFC 2971 §3.3).
const ARGUMENTS: usize = 128;

/// A command as far as it has been read.
pub(super) struct Command {
    /// `None`: it is no tag, and the answer is untagged.
    pub(super) tag: Option<Tag>,
    pub(super) verb: Verb,
    pub(super) arguments: Vec<Argument>,
    pub(super) syntax: Syntax,
    used: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Capability,
    Noop,
    Id,
    Logout,
    StartTls,
    Authenticate,
    Login,
    /// Well-formed, and not for now or nobody's.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    Good,
    Faulty,
}

/// An atom or a string; what it was does not matter.
#[derive(PartialEq, Eq)]
pub(super) enum Argument {
    Text(Zeroizing<Vec<u8>>),
    Open,
    Close,
}

/// What follows a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Complete,
    /// A literal, then another piece.
    Literal(Literal),
}

impl Command {
    /// From the first piece.
    pub(super) fn begin(piece: &[u8]) -> (Self, Next) {
        let (tag, rest) = word(piece);
        let (name, rest) = word(rest.unwrap_or_default());
        let tag = Tag::new(tag);
        let well_formed = tag.is_some() && !name.is_empty() && name.iter().all(|byte| is_atom_byte(*byte));
        let mut command = Self {
            tag,
            verb: verb(name),
            arguments: Vec::new(),
            syntax: if well_formed { Syntax::Good } else { Syntax::Faulty },
            used: piece.len(),
        };
        let next = match rest {
            Some(rest) => command.read(rest),
            None => Next::Complete,
        };
        // A faulty head may hide where the arguments start: only its end matters.
        let next = match command.syntax {
            Syntax::Faulty => announced(piece),
            Syntax::Good => next,
        };
        (command, next)
    }

    /// Goes on behind a literal.
    pub(super) fn resume(&mut self, piece: &[u8]) -> Next {
        self.used += piece.len();
        match piece.first() {
            None | Some(b' ' | b')') => {}
            Some(_) => self.syntax = Syntax::Faulty,
        }
        self.read(piece)
    }

    /// Room for the next line or literal.
    pub(super) fn room(&self) -> usize {
        LINE_LIMIT.saturating_sub(self.used)
    }

    /// Octets of a literal, kept only when somebody will read them.
    pub(super) fn literal(&mut self, octets: &[u8]) {
        self.used += octets.len();
        if let (true, Some(Argument::Text(text))) = (self.reads_arguments(), self.arguments.last_mut()) {
            crate::secret::append(text, octets);
        }
    }

    /// True when its arguments mean something.
    pub(super) fn reads_arguments(&self) -> bool {
        self.syntax == Syntax::Good && matches!(self.verb, Verb::Id | Verb::Authenticate | Verb::Login)
    }

    /// The arguments, if none of them is a parenthesis.
    pub(super) fn texts(&self) -> Option<Vec<&[u8]>> {
        self.arguments
            .iter()
            .map(|argument| match argument {
                Argument::Text(text) => Some(text.as_slice()),
                Argument::Open | Argument::Close => None,
            })
            .collect()
    }

    fn read(&mut self, piece: &[u8]) -> Next {
        if self.verb == Verb::Other || self.syntax == Syntax::Faulty {
            return announced(piece);
        }
        match self.arguments_of(piece) {
            Ok(next) => next,
            Err(Faulty) => {
                self.syntax = Syntax::Faulty;
                announced(piece)
            }
        }
    }

    fn arguments_of(&mut self, piece: &[u8]) -> Result<Next, Faulty> {
        let mut rest = piece;
        while let Some((first, behind)) = rest.split_first() {
            if *first != b' ' && self.arguments.len() == ARGUMENTS {
                return Err(Faulty);
            }
            rest = match first {
                b' ' => behind,
                b'(' => self.take(Argument::Open, behind),
                b')' => self.take(Argument::Close, behind),
                b'"' => {
                    let (text, behind) = quoted::read(behind)?;
                    if !matches!(behind.first(), None | Some(b' ' | b')')) {
                        return Err(Faulty);
                    }
                    self.take(Argument::Text(text.into_owned()), behind)
                }
                b'{' => {
                    let literal = line::literal(rest)
                        .filter(|literal| literal.at == 0)
                        .ok_or(Faulty)?;
                    self.take(Argument::Text(Zeroizing::default()), b"");
                    return Ok(Next::Literal(literal));
                }
                _ => {
                    let end = rest
                        .iter()
                        .position(|byte| !is_argument_byte(*byte))
                        .unwrap_or(rest.len());
                    if end == 0 || !matches!(rest.get(end), None | Some(b' ' | b'(' | b')')) {
                        return Err(Faulty);
                    }
                    self.take(Argument::Text(Zeroizing::new(rest[..end].to_vec())), &rest[end..])
                }
            };
        }
        Ok(Next::Complete)
    }

    fn take<'a>(&mut self, argument: Argument, behind: &'a [u8]) -> &'a [u8] {
        self.arguments.push(argument);
        behind
    }
}

/// Up to the first space, and what is behind it.
fn word(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(space) => (&text[..space], Some(&text[space + 1..])),
        None => (text, None),
    }
}

fn verb(name: &[u8]) -> Verb {
    match name.to_ascii_uppercase().as_slice() {
        b"CAPABILITY" => Verb::Capability,
        b"NOOP" => Verb::Noop,
        b"ID" => Verb::Id,
        b"LOGOUT" => Verb::Logout,
        b"STARTTLS" => Verb::StartTls,
        b"AUTHENTICATE" => Verb::Authenticate,
        b"LOGIN" => Verb::Login,
        _ => Verb::Other,
    }
}

fn announced(piece: &[u8]) -> Next {
    line::literal(piece).map_or(Next::Complete, Next::Literal)
}

fn is_atom_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// Wider than ASTRING-CHAR: `%` is in master logins, and clients send names and passwords unquoted.
fn is_argument_byte(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !matches!(byte, b'(' | b')' | b'{' | b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(piece: &[u8]) -> (Command, Next) {
        Command::begin(piece)
    }

    fn texts(piece: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (command, next) = begin(piece);
        (command.syntax == Syntax::Good && next == Next::Complete).then(|| {
            command
                .texts()
                .unwrap()
                .iter()
                .map(|text| text.to_vec())
                .collect()
        })
    }

    #[test]
    fn atoms_and_quoted_strings_are_arguments() {
        for (piece, expected) in [
            (&b"a LOGIN ann pw"[..], vec![&b"ann"[..], b"pw"]),
            (b"a login \"ann\" \"p\\\"w\\\\\"", vec![b"ann", b"p\"w\\"]),
            (b"a LOGIN \"\" x", vec![b"", b"x"]),
            (b"a LOGIN ann@x%root p]w*", vec![b"ann@x%root", b"p]w*"]),
            (b"a LOGIN  ann   pw ", vec![b"ann", b"pw"]),
            (b"a LOGIN \"a b\" \xc3\xa4", vec![b"a b", b"\xc3\xa4"]),
            (b"a NOOP", vec![]),
            (b"a NOOP ", vec![]),
        ] {
            assert_eq!(texts(piece).unwrap(), expected, "{}", piece.escape_ascii());
        }
    }

    #[test]
    fn faults_are_found() {
        for piece in [
            &b""[..],
            b"a",
            b" LOGIN a b",
            b"a  LOGIN a b",
            b"a+ NOOP",
            b"a LOG\"IN",
            b"a LOGIN \"ann",
            b"a LOGIN \"a\\x\" b",
            b"a LOGIN \"a\"b c",
            b"a LOGIN a{3}",
            b"a LOGIN {x} b",
            b"a LOGIN a\0b c",
            b"a LOGIN \"a\0b\" c",
            b"a LOGIN a\tb",
        ] {
            assert_eq!(begin(piece).0.syntax, Syntax::Faulty, "{}", piece.escape_ascii());
        }
        assert_eq!(
            begin(&[b"a ID (".to_vec(), b"(".repeat(300)].concat()).0.syntax,
            Syntax::Faulty
        );
        assert!(begin(&[&b"t".repeat(129)[..], b" NOOP"].concat()).0.tag.is_none());
        assert!(begin(&[&b"t".repeat(128)[..], b" NOOP"].concat()).0.tag.is_some());
    }

    #[test]
    fn a_command_name_of_any_atom_is_well_formed() {
        for piece in [
            &b"a X-FOO.2 bar"[..],
            b"a UID FETCH 1 (FLAGS)",
            b"a SELECT \"a",
            b"a x1",
        ] {
            let (command, next) = begin(piece);
            assert_eq!(
                (command.verb, command.syntax, next),
                (Verb::Other, Syntax::Good, Next::Complete)
            );
        }
    }

    #[test]
    fn a_literal_is_an_argument_and_the_command_goes_on_behind_it() {
        let (mut command, next) = begin(b"a LOGIN {3}");
        assert!(matches!(next, Next::Literal(Literal { size: 3, .. })));
        command.literal(b"an");
        command.literal(b"n");
        assert!(matches!(
            command.resume(b" {2+}"),
            Next::Literal(Literal { size: 2, .. })
        ));
        command.literal(b"pw");
        assert_eq!(command.resume(b""), Next::Complete);
        assert_eq!(command.texts().unwrap(), [&b"ann"[..], b"pw"]);
        assert_eq!(command.room(), LINE_LIMIT - 11 - 3 - 5 - 2);
    }

    #[test]
    fn a_literal_at_the_end_of_what_nobody_reads_is_still_seen() {
        for piece in [
            &b"a APPEND x {3+}"[..],
            b"a LOGIN \"x {3+}",
            b"( {3+}",
            b"a APPEND x ~{3+}",
        ] {
            assert!(
                matches!(begin(piece).1, Next::Literal(_)),
                "{}",
                piece.escape_ascii()
            );
        }
    }
}
