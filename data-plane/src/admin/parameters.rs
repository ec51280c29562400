//! The parameters of a request: its query, and nothing else (management API 1). How it is read is in the crate `http-rules`,
//! which is fuzzed; what is refused is said here.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use mailswitch_http_rules::Query;

use super::answer::Refusal;

/// Decoded when asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(Query);

impl Parameters {
    /// # Errors
    /// What is there is not UTF-8.
    pub(super) fn get(&self, name: &'static str) -> Result<Option<String>, Refusal> {
        self.0
            .get(name)
            .map_err(|not_utf8| Refusal::invalid(name, not_utf8))
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
        Ok(Self(Query::new(parts.uri.query().unwrap_or_default())))
    }
}
