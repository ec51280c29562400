//! Durations as they are written: blanks, a decimal integer, blanks, one unit of `ms s m h d`, blanks
//! (configuration section 1).

use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Nothing but blanks.
    #[error("is empty")]
    Empty,
    /// `"30"`.
    #[error("has no unit")]
    MissingUnit,
    /// `"10S"`, `"1h30m"`.
    #[error("has an unknown unit")]
    UnknownUnit,
    /// `"1.5s"`, `"-1s"`, `"s"`.
    #[error("does not start with a whole number")]
    BadNumber,
    /// More seconds than 64 bits hold.
    #[error("is too large")]
    Overflow,
}

/// Reads a duration.
///
/// # Errors
/// When the text does not follow the grammar.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let text = text.trim_matches([' ', '\t']);
    if text.is_empty() {
        return Err(InvalidDuration::Empty);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() || unit.starts_with(['.', ',']) {
        return Err(InvalidDuration::BadNumber);
    }
    let number: u64 = number.parse().map_err(|_| InvalidDuration::Overflow)?;
    let seconds_each = match unit.trim_start_matches([' ', '\t']) {
        "" => return Err(InvalidDuration::MissingUnit),
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(InvalidDuration::UnknownUnit),
    };
    number
        .checked_mul(seconds_each)
        .map(Duration::from_secs)
        .ok_or(InvalidDuration::Overflow)
}

/// Writes a duration in the largest unit that keeps it whole, so that `parse` reads it back.
#[must_use]
pub fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_millis() > 0 {
        return format!("{}ms", duration.as_millis());
    }
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_takes_one_integer_and_one_unit() {
        assert_eq!(parse("45s"), Ok(Duration::from_secs(45)));
        assert_eq!(parse(" 250 ms "), Ok(Duration::from_millis(250)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse("2d"), Ok(Duration::from_secs(172_800)));
    }

    #[test]
    fn each_mistake_has_its_own_name() {
        for (text, mistake) in [
            ("", InvalidDuration::Empty),
            ("  ", InvalidDuration::Empty),
            ("30", InvalidDuration::MissingUnit),
            ("1.5s", InvalidDuration::BadNumber),
            ("-1s", InvalidDuration::BadNumber),
            ("s", InvalidDuration::BadNumber),
            ("1h30m", InvalidDuration::UnknownUnit),
            ("10S", InvalidDuration::UnknownUnit),
            ("99999999999999999999s", InvalidDuration::Overflow),
            ("18446744073709551615d", InvalidDuration::Overflow),
        ] {
            assert_eq!(parse(text), Err(mistake), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0u64..1 << 50) {
            let duration = Duration::from_millis(millis);
            proptest::prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
