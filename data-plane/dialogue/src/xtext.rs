//! xtext (RFC 3461 §4): how XCLIENT values are written so that no value can end its attribute.

/// Appends `value`; octets outside 0x21 to 0x7E, `+` and `=` become `+HH`.
pub(crate) fn encode(value: &[u8], into: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value {
        if byte.is_ascii_graphic() && !matches!(byte, b'+' | b'=') {
            into.push(*byte);
        } else {
            into.extend([b'+', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_end_an_attribute_is_written_in_hex() {
        for (value, text) in [
            (&b"mail.example.org"[..], &b"mail.example.org"[..]),
            (b"a b", b"a+20b"),
            (b"a+b=c", b"a+2Bb+3Dc"),
            (b"\r\n\x7f\xc3\xa4", b"+0D+0A+7F+C3+A4"),
            (b"IPV6:2001:db8::1", b"IPV6:2001:db8::1"),
        ] {
            let mut out = Vec::new();
            encode(value, &mut out);
            assert_eq!(out, text);
        }
    }
}
