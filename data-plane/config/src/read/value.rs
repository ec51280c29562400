//! One value: from what stands in the file to what it means, or what is wrong with it.

use std::time::Duration;

use super::document::{Node, Value};
use super::report::Show;
use crate::duration::{self, InvalidDuration};
use crate::protocol::{Keyword, choices};
use crate::secret::Secret;

/// Why a value cannot stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) remedy: String,
    pub(crate) show: Show,
}

impl Wrong {
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: remedy.into(),
            show: Show::Value,
        }
    }

    /// Of a value that no message may show, or only so.
    pub(crate) fn showing(self, show: Show) -> Self {
        Self { show, ..self }
    }
}

/// A token or password.
pub(crate) fn secret(node: &Node) -> Result<Secret, Wrong> {
    filled(node)
        .map(Secret::new)
        .map_err(|wrong| wrong.showing(Show::Nothing))
}

/// A text.
pub(crate) fn string(node: &Node) -> Result<String, Wrong> {
    match &node.value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(Wrong::new(
            format!("{} stands where a string belongs", kind(node)),
            "write it between quotation marks",
        )),
    }
}

/// What is wrong with a text that has nothing in it.
pub(crate) const EMPTY: &str = "this is empty";

/// A text with something in it.
pub(crate) fn filled(node: &Node) -> Result<String, Wrong> {
    match string(node)? {
        text if text.trim().is_empty() => Err(Wrong::new(EMPTY, "write a value, or remove the key")),
        text => Ok(text),
    }
}

/// A switch.
pub(crate) fn boolean(node: &Node) -> Result<bool, Wrong> {
    match node.value {
        Value::Boolean(value) => Ok(value),
        _ => Err(Wrong::new(
            format!("{} stands where a switch belongs", kind(node)),
            "write true or false, without quotation marks",
        )),
    }
}

/// A whole number of a range.
pub(crate) fn integer<T>(node: &Node, least: T, most: T) -> Result<T, Wrong>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy,
{
    let number = match node.value {
        Value::Integer(number) => number,
        _ => {
            return Err(Wrong::new(
                format!("{} stands where a whole number belongs", kind(node)),
                format!("write a number from {least} to {most}, without quotation marks"),
            ));
        }
    };
    number
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            Wrong::new(
                "this number is out of range",
                format!("write a number from {least} to {most}"),
            )
        })
}

/// A number between 0 and 1.
pub(crate) fn ratio(node: &Node) -> Result<f64, Wrong> {
    let number = match node.value {
        Value::Float(number) => Some(number),
        Value::Integer(Some(0)) => Some(0.0),
        Value::Integer(Some(1)) => Some(1.0),
        _ => None,
    };
    number
        .filter(|number| (0.0..=1.0).contains(number))
        .ok_or_else(|| Wrong::new("this is no share of a whole", "write a number from 0.0 to 1.0"))
}

/// Longer than anything runs; added to a clock, the 64 bits of the grammar would not fit into it.
const A_CENTURY: Duration = Duration::from_secs(36_525 * 86_400);

/// A duration, of at most a century.
pub(crate) fn duration(node: &Node) -> Result<Duration, Wrong> {
    let remedy = "write a whole number and one unit of ms, s, m, h or d, such as \"30s\"";
    let text = match &node.value {
        Value::String(text) => text,
        _ => {
            return Err(Wrong::new(
                format!("{} stands where a duration belongs", kind(node)),
                remedy,
            ));
        }
    };
    let parsed = duration::parse(text).map(|duration| duration.min(A_CENTURY));
    parsed.map_err(|mistake| {
        let remedy = match mistake {
            InvalidDuration::MissingUnit => {
                format!("write \"{}s\" or another unit of ms, s, m, h or d", text.trim())
            }
            InvalidDuration::Overflow => "write a shorter one".to_owned(),
            _ => remedy.to_owned(),
        };
        Wrong::new(format!("this duration {mistake}"), remedy)
    })
}

/// One of the values of an enumeration.
pub(crate) fn keyword<K: Keyword>(node: &Node) -> Result<K, Wrong> {
    let text = string(node)?;
    K::from_keyword(&text).ok_or_else(|| {
        let all: Vec<&str> = K::ALL.iter().map(|value| value.as_str()).collect();
        let remedy = match nearest(&text, all) {
            Some(near) => format!("did you mean \"{near}\"? It can be {}", choices::<K>()),
            None => format!("write {}", choices::<K>()),
        };
        Wrong::new("this value is unknown here", remedy)
    })
}

/// Anything that reads itself from a text.
pub(crate) fn parsed<T: std::str::FromStr>(node: &Node, what: &str, example: &str) -> Result<T, Wrong> {
    string(node)?.parse().map_err(|_| {
        Wrong::new(
            format!("this is no {what}"),
            format!("write it like \"{example}\""),
        )
    })
}

/// The known word that was probably meant: at most one mistake in three letters.
pub(crate) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let lower = written.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= word.chars().count().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// What a value is, for a message.
pub(crate) fn kind(node: &Node) -> &'static str {
    match node.value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "a switch",
        Value::Other(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
