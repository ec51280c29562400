//! The commands of a submission client, as far as they matter before login. One line, one command; nothing is
//! copied.

/// One command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// `EHLO` (`LHLO` is taken for it), with its argument.
    Ehlo(&'a [u8]),
    Helo(&'a [u8]),
    Noop,
    Rset,
    StartTls,
    /// The mechanism's name and what follows it.
    Auth {
        mechanism: &'a [u8],
        initial: Option<&'a [u8]>,
    },
    /// `MAIL`, `RCPT`, `DATA`: not before login.
    Transaction,
    /// `BDAT` and the octets that follow the line whatever we answer (RFC 3030 §2).
    Chunk(u64),
    /// With its attributes.
    Xclient(&'a [u8]),
    Quit,
    /// A command of the standard that has no place here.
    Misplaced,
    /// A command that is missing an argument or has one that it must not have.
    BadArgument,
    /// Well-formed, and nobody's.
    Unknown,
    /// No command at all.
    Unparsable,
}

/// Reads one line, without its end.
pub(super) fn parse(line: &[u8]) -> Command<'_> {
    if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Command::Unparsable;
    }
    let line = line.trim_ascii_end();
    let end = line
        .iter()
        .position(|byte| byte.is_ascii_whitespace())
        .unwrap_or(line.len());
    let (verb, argument) = (&line[..end], line[end..].trim_ascii_start());
    if verb.is_empty() || !verb.iter().all(u8::is_ascii_alphabetic) {
        return Command::Unparsable;
    }
    match verb.to_ascii_uppercase().as_slice() {
        b"EHLO" | b"LHLO" => with(argument, Command::Ehlo(argument)),
        b"HELO" => with(argument, Command::Helo(argument)),
        b"NOOP" => Command::Noop,
        b"RSET" => without(argument, Command::Rset),
        b"STARTTLS" => without(argument, Command::StartTls),
        b"QUIT" => Command::Quit,
        b"AUTH" => with(argument, auth(argument)),
        b"MAIL" | b"RCPT" | b"DATA" => Command::Transaction,
        b"BDAT" => chunk(argument),
        b"XCLIENT" => with(argument, Command::Xclient(argument)),
        b"VRFY" | b"EXPN" | b"HELP" | b"ETRN" | b"TURN" | b"ATRN" | b"BURL" | b"XFORWARD" | b"SEND"
        | b"SOML" | b"SAML" => Command::Misplaced,
        _ => Command::Unknown,
    }
}

fn with<'a>(argument: &[u8], command: Command<'a>) -> Command<'a> {
    if argument.is_empty() {
        Command::BadArgument
    } else {
        command
    }
}

fn without<'a>(argument: &[u8], command: Command<'a>) -> Command<'a> {
    if argument.is_empty() {
        command
    } else {
        Command::BadArgument
    }
}

fn auth(argument: &[u8]) -> Command<'_> {
    let end = argument
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(argument.len());
    let initial = argument[end..].trim_ascii_start();
    Command::Auth {
        mechanism: &argument[..end],
        initial: (!initial.is_empty()).then_some(initial),
    }
}

fn chunk(argument: &[u8]) -> Command<'_> {
    let digits = argument.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .map_or(Command::BadArgument, Command::Chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_read_in_any_case_and_blanks_around_arguments_do_not_matter() {
        let auth = |mechanism, initial| Command::Auth { mechanism, initial };
        for (line, command) in [
            (&b"EHLO me.example"[..], Command::Ehlo(b"me.example")),
            (b"ehlo  [127.0.0.1]  ", Command::Ehlo(b"[127.0.0.1]")),
            (b"LHLO x", Command::Ehlo(b"x")),
            (b"EHLO", Command::BadArgument),
            (b"helo x", Command::Helo(b"x")),
            (b"NOOP anything", Command::Noop),
            (b"RSET", Command::Rset),
            (b"STARTTLS", Command::StartTls),
            (b"STARTTLS now", Command::BadArgument),
            (b"auth plain", auth(b"plain", None)),
            (b"AUTH PLAIN AGE= ", auth(b"PLAIN", Some(b"AGE="))),
            (b"AUTH PLAIN =", auth(b"PLAIN", Some(b"="))),
            (b"AUTH", Command::BadArgument),
            (b"MAIL FROM:<a@x>", Command::Transaction),
            (b"BDAT 100 LAST", Command::Chunk(100)),
            (b"BDAT x", Command::BadArgument),
            (b"BDAT", Command::BadArgument),
            (b"BDAT 99999999999999999999999", Command::BadArgument),
            (b"XCLIENT TTL=3", Command::Xclient(b"TTL=3")),
            (b"QUIT", Command::Quit),
            (b"VRFY a", Command::Misplaced),
            (b"FOO bar", Command::Unknown),
            (b"", Command::Unparsable),
            (b"  ", Command::Unparsable),
            (b"\x16\x03\x01", Command::Unparsable),
            (b"EHLO a\0b", Command::Unparsable),
            (b"X-Y", Command::Unparsable),
        ] {
            assert_eq!(parse(line), command, "{}", line.escape_ascii());
        }
    }
}
