//! Whose login it is: the raw routing identifier (behaviour §3), also from bearer tokens.
//!
//! Signatures are not checked here: the backend does that, and a token with a false name only finds a backend that
//! refuses it. The identifier is not cut, checked or normalised here (`mailswitch_proto::identifier`).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// What a login routes by.
#[derive(Clone, PartialEq, Eq)]
pub enum Routing {
    /// As presented.
    Login(String),
    /// It has none: the default destination, unregistered, if `routing.unidentified` allows that.
    Absent(NoIdentifier),
}

impl fmt::Debug for Routing {
    /// Redacted: identifiers are people's addresses, and a password may stand in the wrong field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login(_) => f.write_str("Routing::Login(…)"),
            Self::Absent(why) => write!(f, "Routing::Absent({why:?})"),
        }
    }
}

/// Why a token names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentifier {
    /// `sw1.` without a footer that is an address.
    #[error("the token starts as sw1 and has no readable footer")]
    BrokenFooter,
    /// Nothing that we can read.
    #[error("the token is opaque")]
    Opaque,
    /// A JWT, and none of the claims is an address.
    #[error("the token has no claim that is an address")]
    NoClaim,
}

/// Claims that are looked at after `oauth.jwt_username_claim`, in this order.
const CLAIMS: [&str; 5] = ["email", "preferred_username", "upn", "unique_name", "sub"];

/// The account that a bearer token names.
#[must_use]
pub fn routing(token: &[u8], jwt_claim: &str) -> Routing {
    let found = match token.strip_prefix(b"sw1.") {
        Some(rest) => sw1(rest).ok_or(NoIdentifier::BrokenFooter),
        None => jwt(token, jwt_claim),
    };
    match found {
        Ok(login) => Routing::Login(login),
        Err(why) => Routing::Absent(why),
    }
}

/// The footer of `sw1.BODY.FOOTER`: base64url of the address.
fn sw1(rest: &[u8]) -> Option<String> {
    let dot = rest.iter().position(|byte| *byte == b'.')?;
    let footer = URL_SAFE_NO_PAD.decode(&rest[dot + 1..]).ok()?;
    String::from_utf8(footer).ok().filter(|login| !login.is_empty())
}

fn jwt(token: &[u8], jwt_claim: &str) -> Result<String, NoIdentifier> {
    let segment = token
        .split(|byte| *byte == b'.')
        .nth(1)
        .ok_or(NoIdentifier::Opaque)?;
    let payload = Zeroizing::new(
        URL_SAFE_NO_PAD
            .decode(segment)
            .map_err(|_| NoIdentifier::Opaque)?,
    );
    let claims: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&payload).map_err(|_| NoIdentifier::Opaque)?;
    std::iter::once(jwt_claim)
        .chain(CLAIMS)
        .filter_map(|claim| claims.get(claim)?.as_str())
        .find(|value| value.contains('@'))
        .map(str::to_owned)
        .ok_or(NoIdentifier::NoClaim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt_of(payload: &str) -> String {
        format!("eyJhbGciOiJub25lIn0.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    fn login(text: &str) -> Routing {
        Routing::Login(text.to_owned())
    }

    #[test]
    fn a_footer_names_the_account_and_a_broken_one_is_not_tried_as_a_jwt() {
        let footer = URL_SAFE_NO_PAD.encode("ann@x.example");
        assert_eq!(
            routing(format!("sw1.b0dy.{footer}").as_bytes(), "email"),
            login("ann@x.example")
        );
        assert_eq!(
            routing(format!("sw1..{footer}").as_bytes(), "email"),
            login("ann@x.example")
        );
        let payload = URL_SAFE_NO_PAD.encode(r#"{"email":"eve@x.example"}"#);
        for token in [
            "sw1.body".to_owned(),
            "sw1.body.".to_owned(),
            "sw1.body.!!".to_owned(),
            format!("sw1.body.{footer}=="),
            format!("sw1.body.{}", URL_SAFE_NO_PAD.encode([0xff, 0xfe])),
            format!("sw1.{payload}.c2ln.x"),
        ] {
            assert_eq!(
                routing(token.as_bytes(), "email"),
                Routing::Absent(NoIdentifier::BrokenFooter),
                "{token}"
            );
        }
    }

    #[test]
    fn the_first_claim_that_is_an_address_wins() {
        for (payload, claim, expected) in [
            (r#"{"sub":"s@x","email":"e@x"}"#, "email", login("e@x")),
            (r#"{"sub":"s@x","email":"e@x","who":"w@x"}"#, "who", login("w@x")),
            (
                r#"{"sub":"s@x","upn":"u@x","email":"none"}"#,
                "email",
                login("u@x"),
            ),
            (
                r#"{"unique_name":"n@x","preferred_username":"p@x"}"#,
                "who",
                login("p@x"),
            ),
            (r#"{"email":["e@x"],"sub":"s@x"}"#, "email", login("s@x")),
            (
                r#"{"sub":"4711"}"#,
                "email",
                Routing::Absent(NoIdentifier::NoClaim),
            ),
            (r#"["e@x"]"#, "email", Routing::Absent(NoIdentifier::Opaque)),
            ("no json", "email", Routing::Absent(NoIdentifier::Opaque)),
        ] {
            assert_eq!(routing(jwt_of(payload).as_bytes(), claim), expected, "{payload}");
        }
    }

    #[test]
    fn an_opaque_token_names_nobody() {
        for token in [&b""[..], b"ya29.!!!", b"opaque", b"\xff.\xff.\xff"] {
            assert_eq!(routing(token, "email"), Routing::Absent(NoIdentifier::Opaque));
        }
    }
}
