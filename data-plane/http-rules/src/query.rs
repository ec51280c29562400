//! The parameters of a query as the management API reads them (management API 1): `%XX` is a byte of UTF-8; `+` is a plus,
//! so that `ann+lists@example.org` works as it is. The first of several counts; one without a value is absent.

use percent_encoding::percent_decode_str;

/// What stands behind the question mark. Decoded when asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(String);

/// The value of a parameter is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not UTF-8")]
pub struct NotUtf8;

impl Query {
    /// As it stands in the request; without one, empty.
    #[must_use]
    pub fn new(query: &str) -> Self {
        Self(query.to_owned())
    }

    /// The value of a parameter, if it has one.
    ///
    /// # Errors
    /// What is there is not UTF-8.
    pub fn get(&self, name: &str) -> Result<Option<String>, NotUtf8> {
        let found = self
            .0
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, value)| !value.is_empty() && percent_decode_str(key).eq(name.bytes()));
        let Some((_, value)) = found else {
            return Ok(None);
        };
        match percent_decode_str(value).decode_utf8() {
            Ok(text) => Ok(Some(text.into_owned())),
            Err(_) => Err(NotUtf8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(query: &str) -> Result<Option<String>, NotUtf8> {
        Query::new(query).get("identifier")
    }

    #[test]
    fn a_plus_is_a_plus_and_escapes_are_bytes_of_utf8() {
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(get("identifier=ann+lists@x.example"), some("ann+lists@x.example"));
        assert_eq!(
            get("identifier=ann%2Blists%40x.example"),
            some("ann+lists@x.example")
        );
        assert_eq!(get("identifier=j%C3%B6rg"), some("jörg"));
        assert_eq!(get("%69dentifier=ann"), some("ann"));
        // The suffix of a master user is no escape, and need not be one.
        assert_eq!(get("identifier=ann@x.example%root"), some("ann@x.example%root"));
        assert_eq!(get("identifier=a=b"), some("a=b"));
        assert_eq!(get("identifier=%C3"), Err(NotUtf8));
    }

    #[test]
    fn the_first_of_several_counts() {
        assert_eq!(
            get("x=1&identifier=ann&identifier=bob"),
            Ok(Some("ann".to_owned()))
        );
    }

    #[test]
    fn a_parameter_without_a_value_is_absent() {
        for query in ["", "identifier", "identifier=", "Identifier=ann", "&&", "=ann"] {
            assert_eq!(get(query), Ok(None), "{query}");
        }
    }
}
