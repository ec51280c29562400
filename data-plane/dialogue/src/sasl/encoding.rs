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

/// Before the last piece nothing is padding.
const UNPADDED: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// What is decoded at once: whole groups. A response may be as long as a line, and is not copied to be decoded.
const PIECE: usize = 1024;

/// A byte that is no base64, or a lone last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadBase64;

/// Blanks and tabs are ignored.
pub(super) fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadBase64> {
    // Room for all of it: a vector that grows leaves copies behind.
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
    let mut piece = Zeroizing::new([0; PIECE]);
    let mut filled = 0;
    for byte in text.iter().filter(|byte| !matches!(byte, b' ' | b'\t')) {
        if filled == PIECE {
            append(&UNPADDED, &*piece, &mut decoded)?;
            filled = 0;
        }
        piece[filled] = *byte;
        filled += 1;
    }
    append(&LENIENT, &piece[..filled], &mut decoded)?;
    Ok(decoded)
}

fn append(engine: &GeneralPurpose, piece: &[u8], decoded: &mut Vec<u8>) -> Result<(), BadBase64> {
    engine.decode_vec(piece, decoded).map_err(|_| BadBase64)
}

/// In its canonical form.
pub(crate) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_decoded_as_if_it_were_one_piece() {
        for length in [767, 768, 769, 1535, 1536, 1537, 49_152] {
            let bytes: Vec<u8> = (0..length).map(|n| (n * 7 % 251) as u8).collect();
            let text = encode(&bytes);
            assert_eq!(decode(text.as_bytes()).unwrap().to_vec(), bytes, "{length}");
            let unpadded = text.trim_end_matches('=');
            assert_eq!(decode(unpadded.as_bytes()).unwrap().to_vec(), bytes);
            let blanks: String = text.chars().flat_map(|letter| [letter, ' ']).collect();
            assert_eq!(decode(blanks.as_bytes()).unwrap().to_vec(), bytes);
            assert!(decoded_in_room(&text));
            for spoilt in [
                format!("{}={}", &text[..1000], &text[1001..]),
                format!("{}=", *text),
                format!("{}==", *text),
                format!("{unpadded}==="),
            ] {
                assert_eq!(decode(spoilt.as_bytes()), Err(BadBase64), "{length}");
            }
        }
    }

    /// Its storage never grew.
    fn decoded_in_room(text: &str) -> bool {
        decode(text.as_bytes()).is_ok_and(|decoded| decoded.capacity() <= text.len() / 4 * 3 + 3)
    }

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
