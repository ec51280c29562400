//! Whether a request may be sent a second time, when the backend closed an idle connection under it (behaviour 8.3).
//!
//! "A POST is never executed twice" rests on this file: what is not known to be repeatable is not repeated.

use http::Method;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};

use crate::field;
use crate::request::{BodyLength, Received};

/// Whether a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// It changes nothing, or the same once more, and has no body.
    Possible,
    /// So is this one, if its body can be sent again from its first byte.
    WithItsBody,
    /// Nobody may send it twice.
    Never,
}

impl Replay {
    /// Of a request.
    #[must_use]
    pub fn of(request: &Received) -> Self {
        let repeatable = (is_safe(request.method())
            || (is_idempotent(request.method()) && !is_conditional(request)))
            && !is_another_method(request);
        match (repeatable, request.body()) {
            (false, _) => Self::Never,
            (true, BodyLength::None | BodyLength::Known(0)) => Self::Possible,
            (true, BodyLength::Known(_) | BodyLength::Chunked) => Self::WithItsBody,
        }
    }
}

/// Reads only (RFC 9110 §9.2.1; RFC 4918, 3253, 5323 for the methods of DAV).
fn is_safe(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH"
    )
}

/// Twice is as once (RFC 9110 §9.2.2). MOVE and the like are, too, but their second answer is an error.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::PUT | Method::DELETE)
}

/// Web frameworks run what these name instead of the method: a GET may be a POST.
fn is_another_method(request: &Received) -> bool {
    const FIELDS: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
    let in_query = request
        .query()
        .is_some_and(|query| form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "_method"));
    in_query
        || request
            .headers()
            .keys()
            .any(|name| FIELDS.contains(&field::dashed(name).as_ref()))
}

/// Its second answer could be a wrong 412: the first one had been executed, and changed what the condition asks for.
fn is_conditional(request: &Received) -> bool {
    [
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
        IF_RANGE,
    ]
    .iter()
    .any(|name| request.headers().contains_key(name))
        || request.headers().contains_key("if")
}
