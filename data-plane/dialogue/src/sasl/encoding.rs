//! Base64 (RFC 4648 §4) as clients send it, and as we send it on.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Padding may be missing, also behind a final partial group.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A byte that is no base64, or a lone last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadBase64;

/// Blanks and tabs are ignored.
pub(super) fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadBase64> {
    let mut packed = Zeroizing::new(Vec::with_capacity(text.len()));
    packed.extend(text.iter().filter(|byte| !matches!(byte, b' ' | b'\t')));
    LENIENT
        .decode(&*packed)
        .map(Zeroizing::new)
        .map_err(|_| BadBase64)
}

/// In its canonical form.
pub(crate) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_and_blanks_do_not_matter_and_foreign_bytes_do() {
        for text in [
            &b"AGFubgBwdw=="[..],
            b"AGFubgBwdw",
            b"AGFub gBw\tdw==",
            b" AGFubgBwdw=",
        ] {
            assert_eq!(
                decode(text).map(|bytes| bytes.to_vec()),
                Ok(b"\0ann\0pw".to_vec()),
                "{text:?}"
            );
        }
        assert_eq!(decode(b"").map(|bytes| bytes.to_vec()), Ok(vec![]));
        for text in [
            &b"AGFu*gBwdw=="[..],
            b"A",
            b"AGFub",
            b"AGF-",
            b"=AGFubg",
            b"AG\0F",
            b"AGFubgBwdw===",
            b"AA==AA==",
        ] {
            assert_eq!(decode(text), Err(BadBase64), "{text:?}");
        }
    }
}
