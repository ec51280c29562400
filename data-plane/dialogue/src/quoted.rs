//! Quoted strings, which IMAP and ManageSieve write alike (RFC 9051 §9, RFC 5804 §4).

use zeroize::Zeroizing;

/// No closing quote, another escape than `\"` and `\\`, or a byte that no line holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Faulty;

/// What stands between the quotes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Text<'a> {
    /// As it is on the wire.
    Same(&'a [u8]),
    /// Without its escapes.
    Unescaped(Zeroizing<Vec<u8>>),
}

impl Text<'_> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Same(bytes) => bytes,
            Self::Unescaped(bytes) => bytes,
        }
    }

    /// As large as it is and no larger: a line may hold many.
    pub(crate) fn into_owned(self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Same(bytes) => Zeroizing::new(bytes.to_vec()),
            Self::Unescaped(bytes) => bytes,
        }
    }
}

/// `text` begins behind the opening quote: the string, and what is behind the closing one.
pub(crate) fn read(text: &[u8]) -> Result<(Text<'_>, &[u8]), Faulty> {
    let mut escaped = false;
    let mut escapes = 0;
    let end = text.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        escapes += usize::from(escaped);
        closes
    });
    let (inside, behind) = end.map(|end| (&text[..end], &text[end + 1..])).ok_or(Faulty)?;
    // A NUL must not reach the backend's parser; CR cannot be in a line that others see as one.
    if inside.iter().any(|byte| matches!(byte, b'\0' | b'\r')) {
        return Err(Faulty);
    }
    if escapes == 0 {
        return Ok((Text::Same(inside), behind));
    }
    let mut value = Zeroizing::new(Vec::with_capacity(inside.len() - escapes));
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        value.push(match byte {
            b'\\' => *bytes
                .next()
                .filter(|next| matches!(next, b'"' | b'\\'))
                .ok_or(Faulty)?,
            _ => *byte,
        });
    }
    Ok((Text::Unescaped(value), behind))
}

/// Appends the text between quotes, escaped; it holds no line end.
pub(crate) fn write(text: &[u8], into: &mut Vec<u8>) {
    into.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            into.push(b'\\');
        }
        into.push(*byte);
    }
    into.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_what_is_behind_is_left() {
        for (text, value, behind) in [
            (&b"\" x"[..], &b""[..], &b" x"[..]),
            (b"ann\"", b"ann", b""),
            (b"a\\\"b\\\\\")", b"a\"b\\", b")"),
            (b"\xc3\xa4\x01\"\"", b"\xc3\xa4\x01", b"\""),
        ] {
            let (read, rest) = read(text).unwrap();
            assert_eq!((read.as_bytes(), rest), (value, behind));
            let mut written = Vec::new();
            write(value, &mut written);
            assert_eq!(written[1..], text[..text.len() - behind.len()]);
        }
        for text in [&b""[..], b"ann", b"ann\\\"", b"a\\n\"", b"a\0\"", b"a\r\""] {
            assert_eq!(read(text), Err(Faulty), "{}", text.escape_ascii());
        }
    }
}
