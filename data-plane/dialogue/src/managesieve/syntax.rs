//! The commands of a ManageSieve client before login, from a line gathered with its literals.

use super::token::{Token, Tokens};
use crate::quoted::{Faulty, Text};

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Capability,
    /// With the tag that is to be repeated.
    Noop(Option<Text<'a>>),
    Logout,
    StartTls,
    Authenticate {
        mechanism: Text<'a>,
        initial: Option<Text<'a>>,
    },
    /// With its attributes.
    Xclient(&'a [u8]),
    /// Well-formed, and not for now or nobody's.
    Other,
    /// No command at all, or with other arguments than it has.
    Faulty,
}

/// Reads all that was gathered.
pub(super) fn parse(gathered: &[u8]) -> Command<'_> {
    command(Tokens::new(gathered)).unwrap_or(Command::Faulty)
}

fn command(mut tokens: Tokens<'_>) -> Result<Command<'_>, Faulty> {
    let Some(Token::Atom(verb)) = tokens.next()? else {
        return Err(Faulty);
    };
    if !verb.iter().all(u8::is_ascii_alphanumeric) {
        return Err(Faulty);
    }
    let command = match verb.to_ascii_uppercase().as_slice() {
        b"CAPABILITY" => Command::Capability,
        b"NOOP" => Command::Noop(tokens.text_or_end()?),
        b"LOGOUT" => Command::Logout,
        b"STARTTLS" => Command::StartTls,
        b"AUTHENTICATE" => Command::Authenticate {
            mechanism: tokens.text()?,
            initial: tokens.text_or_end()?,
        },
        b"XCLIENT" => return Ok(Command::Xclient(tokens.rest())),
        // What it would hold is nobody's business.
        _ => return Ok(Command::Other),
    };
    tokens.end()?;
    Ok(command)
}

/// The response to a prompt: a string, or leniently the bare line.
pub(super) fn response(gathered: &[u8]) -> Result<Text<'_>, Faulty> {
    if !is_string(gathered) {
        return Ok(Text::Same(gathered.trim_ascii()));
    }
    let mut tokens = Tokens::new(gathered);
    let text = tokens.text()?;
    tokens.end()?;
    Ok(text)
}

fn is_string(gathered: &[u8]) -> bool {
    matches!(gathered.first(), Some(b'"' | b'{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_read_in_any_case_and_arguments_are_strings_of_both_kinds() {
        let text = |bytes| Text::Same(bytes);
        let authenticate = |mechanism, initial| Command::Authenticate { mechanism, initial };
        for (gathered, command) in [
            (&b"CAPABILITY\r\n"[..], Command::Capability),
            (b"capability \r\n", Command::Capability),
            (b"NOOP\r\n", Command::Noop(None)),
            (b"NOOP \"t\"\r\n", Command::Noop(Some(text(b"t")))),
            (b"noop {3+}\r\na\r\n\r\n", Command::Noop(Some(text(b"a\r\n")))),
            (b"LOGOUT\r\n", Command::Logout),
            (b"STARTTLS\r\n", Command::StartTls),
            (b"Authenticate \"plain\"\r\n", authenticate(text(b"plain"), None)),
            (
                b"AUTHENTICATE {5}\r\nPLAIN {4+}\r\nAGE=\r\n",
                authenticate(text(b"PLAIN"), Some(text(b"AGE="))),
            ),
            (
                b"AUTHENTICATE \"PLAIN\" \"\"\r\n",
                authenticate(text(b"PLAIN"), Some(text(b""))),
            ),
            (
                b"XCLIENT TTL=3 ADDR=::1\r\n",
                Command::Xclient(b" TTL=3 ADDR=::1"),
            ),
            (b"PUTSCRIPT \"a\" {3+}\r\nabc\r\n", Command::Other),
            (b"FOO \"\r\n", Command::Other),
            (b"\r\n", Command::Faulty),
            (b"\"NOOP\"\r\n", Command::Faulty),
            (b"NOOP t\r\n", Command::Faulty),
            (b"NOOP \"t\" \"u\"\r\n", Command::Faulty),
            (b"STARTTLS \"x\"\r\n", Command::Faulty),
            (b"AUTHENTICATE\r\n", Command::Faulty),
            (b"AUTHENTICATE PLAIN\r\n", Command::Faulty),
            (b"AUTHENTICATE \"PLAIN\r\n", Command::Faulty),
            (b"AUTHENTICATE \"PLAIN\" \"a\" \"b\"\r\n", Command::Faulty),
            (b"\x16\x03\x01\r\n", Command::Faulty),
        ] {
            assert_eq!(parse(gathered), command, "{}", gathered.escape_ascii());
        }
    }

    #[test]
    fn a_response_is_a_string_of_either_kind_or_a_bare_line() {
        for (gathered, expected) in [
            (&b"\"AGE=\"\r\n"[..], &b"AGE="[..]),
            (b"{4+}\r\nAGE=\r\n", b"AGE="),
            (b"{4}\r\nAGE=\r\n", b"AGE="),
            (b"AGE=\r\n", b"AGE="),
            (b"\"*\"\r\n", b"*"),
            (b"*\r\n", b"*"),
            (b"\"\"\r\n", b""),
            (b"\r\n", b""),
        ] {
            assert_eq!(response(gathered).unwrap().as_bytes(), expected);
        }
        for faulty in [&b"\"AGE=\r\n"[..], b"\"A\" \"B\"\r\n", b"{4+}\r\nAGE= x\r\n"] {
            assert_eq!(response(faulty), Err(Faulty));
        }
    }
}
