//! The parameters of a request: its query, and nothing else (management API 1). `%XX` is a byte of UTF-8; `+` is a plus,
//! so that `ann+lists@example.org` works as it is. The first of several counts; one without a value is absent.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::answer::Refusal;

/// Decoded when asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(String);

impl Parameters {
    /// # Errors
    /// What is there is not UTF-8.
    pub(super) fn get(&self, name: &'static str) -> Result<Option<String>, Refusal> {
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
            Err(_) => Err(Refusal::invalid(name, "this is not UTF-8")),
        }
    }

    /// # Errors
    /// As `get`; also when it is absent.
    pub(super) fn need(&self, name: &'static str) -> Result<String, Refusal> {
        self.get(name)?.ok_or(Refusal::Missing(name))
    }
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.uri.query().unwrap_or_default().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(query: &str) -> Result<Option<String>, Refusal> {
        Parameters(query.to_owned()).get("identifier")
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
        assert_eq!(
            get("identifier=%C3"),
            Err(Refusal::invalid("identifier", "this is not UTF-8"))
        );
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
        let missing = Parameters::default().need("identifier");
        assert_eq!(missing, Err(Refusal::Missing("identifier")));
    }
}
