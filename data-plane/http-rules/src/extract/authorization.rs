//! `Authorization`: Basic (RFC 7617) and Bearer (RFC 6750). Whether the credential is right, the backend decides.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use mailswitch_dialogue::Routing;
use mailswitch_dialogue::sasl::token;
use zeroize::Zeroizing;

use super::Extracted;
use crate::refusal::Refusal;

/// Padding may be missing, as many backends read it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Whom it names. Other schemes name nobody.
pub(super) fn login(headers: &HeaderMap, jwt_claim: &str) -> Result<Extracted, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).into_iter();
    let Some(value) = values.next() else {
        return Ok(Extracted::Absent);
    };
    if values.next().is_some() {
        return Err(Refusal::TwoAuthorizations);
    }
    let value = value.as_bytes().trim_ascii();
    let end = value
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(value.len());
    let (scheme, credential) = (&value[..end], value[end..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"basic") {
        basic(credential).map(Extracted::Login)
    } else if scheme.eq_ignore_ascii_case(b"bearer") {
        Ok(match token::routing(credential, jwt_claim) {
            Routing::Login(login) => Extracted::Login(login),
            Routing::Absent(_) => Extracted::Absent,
        })
    } else {
        Ok(Extracted::Absent)
    }
}

/// The user name: before the first colon, trimmed, lower-cased.
fn basic(credential: &[u8]) -> Result<String, Refusal> {
    let pair = LENIENT
        .decode(credential)
        .map(Zeroizing::new)
        .map_err(|_| Refusal::BasicCredential)?;
    let end = pair.iter().position(|byte| *byte == b':').unwrap_or(pair.len());
    let user = &pair[..end];
    // RFC 7617 §2 leaves the encoding open: what is no UTF-8 is what browsers sent before it, ISO-8859-1.
    let text = std::str::from_utf8(user).map_or_else(
        |_| user.iter().map(|byte| char::from(*byte)).collect(),
        str::to_owned,
    );
    Ok(text.trim().to_lowercase())
}
