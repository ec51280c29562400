//! Lines and literals as they stand in the input; nothing is consumed here.

use crate::input::Input;

/// A line in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// Bytes without the line end.
    pub(crate) text: usize,
    /// Bytes with it.
    pub(crate) whole: usize,
}

/// No line end within the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// The line at the front of the input, of at most `limit` bytes without its end; `None`: it is not all there. The
/// end is CRLF, a bare LF is tolerated (behaviour §4).
pub(crate) fn find(input: &mut Input, limit: usize) -> Result<Option<Line>, TooLong> {
    let Some(feed) = input.find_line_feed() else {
        // One more than the limit may be the CR of the end that is not there yet.
        return if input.len() > limit + 1 {
            Err(TooLong)
        } else {
            Ok(None)
        };
    };
    let text = if feed > 0 && input.unread()[feed - 1] == b'\r' {
        feed - 1
    } else {
        feed
    };
    if text > limit {
        Err(TooLong)
    } else {
        Ok(Some(Line {
            text,
            whole: feed + 1,
        }))
    }
}

/// A literal announced at the end of a line (RFC 9051 §4.3, RFC 7888).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Literal {
    /// Its length as announced; a length that does not fit counts as the largest there is.
    pub(crate) size: usize,
    /// Whether the sender waits before it goes on.
    pub(crate) sync: Sync,
    /// Where the announcement starts in the line.
    pub(crate) at: usize,
}

/// Who waits for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// `{n}`: the sender waits for a continuation.
    Waits,
    /// `{n+}`: it does not.
    Flows,
}

/// The literal that a line announces, if it ends with `{n}` or `{n+}`.
pub(crate) fn literal(line: &[u8]) -> Option<Literal> {
    let inner = line.strip_suffix(b"}")?;
    let (inner, sync) = match inner.strip_suffix(b"+") {
        Some(inner) => (inner, Sync::Flows),
        None => (inner, Sync::Waits),
    };
    let digits = inner
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let at = inner.len().checked_sub(digits + 1)?;
    if digits == 0 || inner[at] != b'{' {
        return None;
    }
    let size = inner[at + 1..].iter().fold(0usize, |size, digit| {
        size.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
    });
    Some(Literal { size, sync, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(bytes: &[u8], limit: usize) -> Result<Option<Line>, TooLong> {
        let mut input = Input::new();
        input.push(bytes);
        find(&mut input, limit)
    }

    #[test]
    fn a_line_ends_with_crlf_or_a_bare_lf() {
        assert_eq!(find_in(b"ab\r\nc", 9), Ok(Some(Line { text: 2, whole: 4 })));
        assert_eq!(find_in(b"ab\nc", 9), Ok(Some(Line { text: 2, whole: 3 })));
        assert_eq!(find_in(b"\n", 9), Ok(Some(Line { text: 0, whole: 1 })));
        assert_eq!(find_in(b"ab\r", 9), Ok(None));
        assert_eq!(find_in(b"", 9), Ok(None));
    }

    #[test]
    fn the_limit_counts_the_text_without_its_end() {
        assert_eq!(find_in(b"abc\r\n", 3), Ok(Some(Line { text: 3, whole: 5 })));
        assert_eq!(find_in(b"abcd\r\n", 3), Err(TooLong));
        assert_eq!(find_in(b"abc\r", 3), Ok(None));
        assert_eq!(find_in(b"abcde", 3), Err(TooLong));
    }

    #[test]
    fn literals_are_announced_at_the_end_of_a_line() {
        let waits = |size, at| {
            Some(Literal {
                size,
                sync: Sync::Waits,
                at,
            })
        };
        assert_eq!(literal(b"a LOGIN {3}"), waits(3, 8));
        assert_eq!(literal(b"{0}"), waits(0, 0));
        assert_eq!(
            literal(b"x {12+}"),
            Some(Literal {
                size: 12,
                sync: Sync::Flows,
                at: 2
            })
        );
        assert_eq!(literal(b"{99999999999999999999999}"), waits(usize::MAX, 0));
        for line in [&b"{}"[..], b"{+}", b"{3", b"3}", b"{a3}", b"{3} ", b"}", b""] {
            assert_eq!(literal(line), None);
        }
    }
}
