//! OAUTHBEARER (RFC 7628 §3.1) and XOAUTH2: whose login a frame is. The frame itself goes on unchanged.

use super::{Malformed, Named, Routing, token};

const SEPARATOR: u8 = 1;

/// `n,a=<saslname>,` 0x01, pairs each ended by 0x01, 0x01.
pub(super) fn bearer(frame: &[u8], jwt_claim: &str) -> Result<Named, Malformed> {
    let (header, pairs) = split_header(frame)?;
    let mut fields = header.split(|byte| *byte == b',');
    let (Some(binding), Some(name), Some(b""), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Malformed);
    };
    // No channel binding: we could not relay one, being in between.
    if !matches!(binding, b"n" | b"y") {
        return Err(Malformed);
    }
    let name = match name {
        b"" => None,
        _ => Some(saslname(name.strip_prefix(b"a=").ok_or(Malformed)?)?),
    };
    Ok(choose(name, bearer_token(pairs)?, jwt_claim))
}

/// `user=<name>` 0x01 `auth=Bearer <token>` 0x01 0x01.
pub(super) fn xoauth2(frame: &[u8], jwt_claim: &str) -> Result<Named, Malformed> {
    let (header, pairs) = split_header(frame)?;
    let name = header
        .split_at_checked(5)
        .filter(|(key, _)| key.eq_ignore_ascii_case(b"user="))
        .ok_or(Malformed)?
        .1;
    let name = std::str::from_utf8(name).map_err(|_| Malformed)?.to_owned();
    Ok(choose(Some(name), bearer_token(pairs)?, jwt_claim))
}

/// A name with `@` routes, else the token, else the bare name (behaviour §3). The backend may open the mailbox of either.
fn choose(name: Option<String>, bearer: &[u8], jwt_claim: &str) -> Named {
    let name = name.filter(|name| !name.is_empty());
    match (name, token::routing(bearer, jwt_claim)) {
        (Some(name), Routing::Login(token)) if name.contains('@') => Named::two(name, token),
        (Some(name), Routing::Login(token)) => Named::two(token, name),
        (Some(name), Routing::Absent(_)) => Named::only(Routing::Login(name)),
        (None, routing) => Named::only(routing),
    }
}

fn split_header(frame: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let end = frame
        .iter()
        .position(|byte| *byte == SEPARATOR)
        .ok_or(Malformed)?;
    Ok((&frame[..end], &frame[end + 1..]))
}

/// The token of the first `auth` pair. Every pair is ended, and so is their list.
fn bearer_token(pairs: &[u8]) -> Result<&[u8], Malformed> {
    let pairs = pairs.strip_suffix(&[SEPARATOR, SEPARATOR]).ok_or(Malformed)?;
    let mut auth = None;
    for pair in pairs.split(|byte| *byte == SEPARATOR) {
        let equals = pair.iter().position(|byte| *byte == b'=').ok_or(Malformed)?;
        if pair[..equals].eq_ignore_ascii_case(b"auth") && auth.is_none() {
            auth = Some(&pair[equals + 1..]);
        }
    }
    let (scheme, token) = auth.ok_or(Malformed)?.split_at_checked(7).ok_or(Malformed)?;
    let token = token.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty() {
        Ok(token)
    } else {
        Err(Malformed)
    }
}

/// `=2C` is a comma, `=3D` an equals sign, every other `=` is an error (RFC 5801 §4).
fn saslname(name: &[u8]) -> Result<String, Malformed> {
    let text = std::str::from_utf8(name).map_err(|_| Malformed)?;
    let mut parts = text.split('=');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).ok_or(Malformed)?;
        decoded.push(match code {
            "2C" | "2c" => ',',
            "3D" | "3d" => '=',
            _ => return Err(Malformed),
        });
        decoded.push_str(rest);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::sasl::NoIdentifier;

    fn login(text: &str) -> Result<Routing, Malformed> {
        Ok(Routing::Login(text.to_owned()))
    }

    #[test]
    fn the_name_of_an_oauthbearer_frame_routes_when_it_is_an_address_else_the_token_else_the_bare_name() {
        let jwt = format!("h.{}.s", URL_SAFE_NO_PAD.encode(r#"{"email":"tok@x.example"}"#));
        let frame = |header: &str, token: &str| {
            format!("{header}\x01host=x\x01port=993\x01auth=Bearer {token}\x01\x01")
        };
        for (frame, routing) in [
            (frame("n,a=ann@x.example,", "opaque"), login("ann@x.example")),
            (frame("n,a=ann@x.example,", &jwt), login("ann@x.example")),
            (
                frame("n,a=a=2Cb=3Dc@x.example,", "opaque"),
                login("a,b=c@x.example"),
            ),
            (frame("n,a=ann,", &jwt), login("tok@x.example")),
            (frame("n,a=ann,", "opaque"), login("ann")),
            (frame("n,,", &jwt), login("tok@x.example")),
            (frame("y,,", &jwt), login("tok@x.example")),
            (frame("n,,", "opaque"), Ok(Routing::Absent(NoIdentifier::Opaque))),
            (
                "n,a=a@x,\x01AUTH=bearer one\x01auth=Bearer two\x01\x01".to_owned(),
                login("a@x"),
            ),
        ] {
            let named = bearer(frame.as_bytes(), "email").map(|named| named.routing);
            assert_eq!(named, routing, "{frame:?}");
        }
    }

    #[test]
    fn a_frame_without_a_token_or_with_another_shape_is_malformed() {
        for frame in [
            "",
            "n,a=a@x,",
            "n,a=a@x,\x01\x01",
            "n,a=a@x,\x01auth=Bearer \x01\x01",
            "n,a=a@x,\x01auth=Basic abc\x01\x01",
            "n,a=a@x,\x01host=x\x01\x01",
            "n,a=a@x,\x01auth=Bearer tok\x01",
            "n,a=a@x,\x01auth=Bearer tok",
            "n,a=a@x,\x01nonsense\x01auth=Bearer tok\x01\x01",
            "n,a=a=ZZ@x,\x01auth=Bearer tok\x01\x01",
            "n,a@x,\x01auth=Bearer tok\x01\x01",
            "p=tls-unique,a=a@x,\x01auth=Bearer tok\x01\x01",
            "n,a=a@x\x01auth=Bearer tok\x01\x01",
        ] {
            assert!(bearer(frame.as_bytes(), "email").is_err(), "{frame:?}");
        }
        for frame in [
            "",
            "user=a@x",
            "user=a@x\x01auth=Bearer \x01\x01",
            "auth=Bearer tok\x01\x01",
            "us\x01auth=Bearer t\x01\x01",
        ] {
            assert!(xoauth2(frame.as_bytes(), "email").is_err(), "{frame:?}");
        }
    }

    #[test]
    fn the_user_of_an_xoauth2_frame_routes_likewise() {
        let jwt = format!("h.{}.s", URL_SAFE_NO_PAD.encode(r#"{"email":"tok@x.example"}"#));
        let frame = |user: &str, token: &str| format!("user={user}\x01auth=Bearer {token}\x01\x01");
        for (user, token, routing, also) in [
            ("ann@x", "opaque", login("ann@x"), None),
            ("ann@x", &jwt, login("ann@x"), Some("tok@x.example")),
            ("ann", &jwt, login("tok@x.example"), Some("ann")),
            ("", &jwt, login("tok@x.example"), None),
            ("tok@x.example", &jwt, login("tok@x.example"), None),
            ("ann", "opaque", login("ann"), None),
            ("", "opaque", Ok(Routing::Absent(NoIdentifier::Opaque)), None),
        ] {
            let named = xoauth2(frame(user, token).as_bytes(), "email").unwrap();
            assert_eq!(Ok(named.routing), routing, "{user} {token}");
            assert_eq!(named.also.as_deref(), also, "{user} {token}");
        }
    }
}
