//! The token that a request has to show (RFC 6750), kept and compared as a digest: how long a comparison takes says
//! nothing about the token, its length included.

use axum::http::{HeaderMap, header};
use mailswitch_config::secret::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The digest of the token.
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn new(token: &Secret) -> Self {
        Self(digest(token.expose().as_bytes()))
    }

    /// Whether a request shows it.
    pub(super) fn is_shown_by(&self, fields: &HeaderMap) -> bool {
        let mut shown = fields.get_all(header::AUTHORIZATION).iter();
        // Two would leave open which one counts.
        let (Some(value), None) = (shown.next(), shown.next()) else {
            return false;
        };
        bearer(value.as_bytes()).is_some_and(|token| digest(token).ct_eq(&self.0).into())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// What stands behind the scheme, in whatever case that is.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    let token = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME) && rest.starts_with(b" ") && !token.is_empty()).then_some(token)
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn shown(values: &[&str]) -> bool {
        let mut fields = HeaderMap::new();
        for value in values {
            fields.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        Token::new(&Secret::new(TOKEN.to_owned())).is_shown_by(&fields)
    }

    #[test]
    fn the_scheme_is_compared_without_regard_to_case_and_the_token_with_it() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert!(shown(&[&format!("{scheme} {TOKEN}")]), "{scheme}");
        }
        for wrong in [
            TOKEN.to_uppercase(),
            TOKEN[1..].to_owned(),
            format!("{TOKEN}0"),
            String::new(),
            "x".to_owned(),
        ] {
            assert!(!shown(&[&format!("Bearer {wrong}")]), "{wrong}");
        }
    }

    #[test]
    fn other_schemes_no_scheme_and_two_fields_show_nothing() {
        assert!(!shown(&[]));
        for wrong in [
            TOKEN.to_owned(),
            format!("Basic {TOKEN}"),
            format!("Bearer{TOKEN}"),
            "Bearer".to_owned(),
        ] {
            assert!(!shown(&[&wrong]), "{wrong}");
        }
        let right = format!("Bearer {TOKEN}");
        assert!(!shown(&[&right, &right]));
    }

    #[test]
    fn the_token_is_not_in_what_debug_shows() {
        let token = Token::new(&Secret::new(TOKEN.to_owned()));
        assert_eq!(format!("{token:?}"), "Token");
    }
}
