//! PLAIN (RFC 4616): `authzid NUL authcid NUL password`.

use super::{Malformed, Named};

/// The authentication identity routes, the authorization identity never does. Exactly two NULs; the first is UTF-8 and not
/// empty; the password is any bytes, and not empty.
pub(super) fn identities(frame: &[u8]) -> Result<Named, Malformed> {
    let mut parts = frame.split(|byte| *byte == 0);
    let (Some(authzid), Some(authcid), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed);
    };
    if authcid.is_empty() || password.is_empty() {
        return Err(Malformed);
    }
    let authcid = std::str::from_utf8(authcid).map_err(|_| Malformed)?;
    // One that is no text names nobody that could be held.
    let authzid = std::str::from_utf8(authzid).unwrap_or_default();
    Ok(Named::two(authcid.to_owned(), authzid.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::Routing;

    #[test]
    fn a_frame_has_two_nuls_a_name_and_a_password() {
        for (frame, name, also) in [
            (&b"\0ann\0pw"[..], "ann", None),
            (b"bob\0ann\0pw", "ann", Some("bob")),
            (b"ann\0ann\0pw", "ann", None),
            (b"\xff\0ann\0pw", "ann", None),
            (b"\0ann@x.example%root\0pw", "ann@x.example%root", None),
            (b"\0j\xc3\xbcrg\0\xff\xfe", "jürg", None),
        ] {
            let named = identities(frame).unwrap();
            assert_eq!(named.routing, Routing::Login(name.to_owned()));
            assert_eq!(named.also.as_deref(), also);
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
            assert!(identities(frame).is_err(), "{frame:?}");
        }
    }
}
