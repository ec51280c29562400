//! Growing a buffer without leaving copies of secrets behind: `Vec` frees its old storage as it is.

use zeroize::Zeroizing;

use crate::limits::{LINE_LIMIT, READ_SIZE};

/// What a line and one read may take: what is bounded by `LINE_LIMIT` takes no more than that.
const MOST: usize = LINE_LIMIT + READ_SIZE;

/// Appends; the storage that is given up is wiped first. Doubles, and the last time grows to the full size, so that a
/// long buffer and its successor do not stand side by side.
pub(crate) fn append(buffer: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    let needed = buffer.len() + bytes.len();
    if needed > buffer.capacity() {
        let doubled = needed.max(buffer.capacity() * 2);
        let size = if doubled > MOST / 2 { MOST } else { doubled };
        let mut grown = Zeroizing::new(Vec::with_capacity(needed.max(size)));
        grown.extend_from_slice(buffer);
        *buffer = grown;
    }
    buffer.extend_from_slice(bytes);
}

/// The parts, one behind the other.
pub(crate) fn concat(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut whole = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        whole.extend_from_slice(part);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appending_keeps_what_was_there() {
        let mut buffer = Zeroizing::new(Vec::new());
        for chunk in 0..100u8 {
            append(&mut buffer, &[chunk; 7]);
        }
        assert_eq!(buffer.len(), 700);
        assert!(
            buffer
                .chunks(7)
                .zip(0..)
                .all(|(seven, chunk)| seven == [chunk; 7])
        );
    }
}
