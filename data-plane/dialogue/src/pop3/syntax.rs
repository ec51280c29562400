//! The commands of a POP3 client before login. One line, one command; nothing is copied.

/// One command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Capa,
    Noop,
    Utf8,
    Stls,
    /// The name, without the blanks around it.
    User(&'a [u8]),
    /// Everything behind the one blank: a password may begin and end with blanks (RFC 1939 §7).
    Pass(&'a [u8]),
    /// `AUTH` alone: which mechanisms there are.
    Mechanisms,
    /// The mechanism's name and what follows it.
    Auth {
        mechanism: &'a [u8],
        initial: Option<&'a [u8]>,
    },
    /// With its attributes.
    Xclient(&'a [u8]),
    Quit,
    /// A command that has an argument which it must not have.
    BadArgument,
    /// Well-formed, and not for now or nobody's: APOP too, as there is no stamp to answer to.
    Other,
    /// No command at all.
    Unparsable,
}

/// Reads one line, without its end.
pub(super) fn parse(line: &[u8]) -> Command<'_> {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (verb, behind) = (&line[..end], line.get(end + 1..).unwrap_or_default());
    if verb.eq_ignore_ascii_case(b"PASS") {
        return Command::Pass(behind);
    }
    if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Command::Unparsable;
    }
    if verb.is_empty()
        || !verb
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    {
        return Command::Unparsable;
    }
    let argument = behind.trim_ascii();
    match verb.to_ascii_uppercase().as_slice() {
        b"CAPA" => without(argument, Command::Capa),
        b"NOOP" => Command::Noop,
        b"UTF8" => without(argument, Command::Utf8),
        b"STLS" => without(argument, Command::Stls),
        b"USER" => Command::User(argument),
        b"AUTH" if argument.is_empty() => Command::Mechanisms,
        b"AUTH" => auth(argument),
        b"XCLIENT" => Command::Xclient(argument),
        b"QUIT" => Command::Quit,
        _ => Command::Other,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_read_in_any_case_and_a_password_is_all_behind_the_one_blank() {
        let auth = |mechanism, initial| Command::Auth { mechanism, initial };
        for (line, command) in [
            (&b"CAPA"[..], Command::Capa),
            (b"capa ", Command::Capa),
            (b"CAPA x", Command::BadArgument),
            (b"NOOP", Command::Noop),
            (b"UTF8", Command::Utf8),
            (b"UTF8 x", Command::BadArgument),
            (b"STLS", Command::Stls),
            (b"STLS x", Command::BadArgument),
            (b"USER ann@x.example", Command::User(b"ann@x.example")),
            (b"user  ann ", Command::User(b"ann")),
            (b"USER", Command::User(b"")),
            (b"PASS secret", Command::Pass(b"secret")),
            (b"pass   two blanks ", Command::Pass(b"  two blanks ")),
            (b"PASS \x01\xff\0", Command::Pass(b"\x01\xff\0")),
            (b"PASS", Command::Pass(b"")),
            (b"PASS ", Command::Pass(b"")),
            (b"AUTH", Command::Mechanisms),
            (b"AUTH ", Command::Mechanisms),
            (b"auth plain", auth(b"plain", None)),
            (b"AUTH PLAIN AGE= ", auth(b"PLAIN", Some(b"AGE="))),
            (b"AUTH PLAIN =", auth(b"PLAIN", Some(b"="))),
            (b"XCLIENT TTL=3 ADDR=::1", Command::Xclient(b"TTL=3 ADDR=::1")),
            (b"QUIT", Command::Quit),
            (b"APOP ann c4c9334bac560ecc979e58001b3e22fb", Command::Other),
            (b"STAT", Command::Other),
            (b"X-FOO", Command::Other),
            (b"", Command::Unparsable),
            (b" CAPA", Command::Unparsable),
            (b"\x16\x03\x01", Command::Unparsable),
            (b"USER a\0b", Command::Unparsable),
            (b"(CAPA)", Command::Unparsable),
        ] {
            assert_eq!(parse(line), command, "{}", line.escape_ascii());
        }
    }
}
