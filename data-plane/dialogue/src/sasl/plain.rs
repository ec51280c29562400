//! PLAIN (RFC 4616): `authzid NUL authcid NUL password`.

use super::Malformed;

/// The authentication identity. Exactly two NULs; the identity is UTF-8 and not empty; the password is any bytes,
/// and not empty. The authorization identity never routes.
pub(super) fn authcid(frame: &[u8]) -> Result<&str, Malformed> {
    let mut parts = frame.split(|byte| *byte == 0);
    let (Some(_authzid), Some(authcid), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed);
    };
    if authcid.is_empty() || password.is_empty() {
        return Err(Malformed);
    }
    std::str::from_utf8(authcid).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_two_nuls_a_name_and_a_password() {
        for (frame, name) in [
            (&b"\0ann\0pw"[..], "ann"),
            (b"bob\0ann\0pw", "ann"),
            (b"\0ann@x.example%root\0pw", "ann@x.example%root"),
            (b"\0j\xc3\xbcrg\0\xff\xfe", "jürg"),
        ] {
            assert_eq!(authcid(frame), Ok(name));
        }
        for frame in [
            &b""[..],
            b"\0",
            b"\0\0",
            b"ann\0pw",
            b"\0ann\0",
            b"\0\0pw",
            b"\0ann\0p\0w",
            b"\0an\0n\0pw",
            b"\0\xff\0pw",
        ] {
            assert_eq!(authcid(frame), Err(Malformed), "{frame:?}");
        }
    }
}
