//! What the API answers when it refuses, and how answers look: JSON, or one short line (management API 1).

use std::fmt::Display;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A request that got no answer of its endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It could not be read.
    #[error("bad request")]
    BadRequest,
    /// Its head is longer than what is read.
    #[error("request head too large")]
    HeadTooLarge,
    /// No token, or another one.
    #[error("unauthorized")]
    Unauthorized,
    /// Its address has failed too often: until then, nothing.
    #[error("too many failures")]
    LockedOut(Duration),
    /// The path has another method.
    #[error("method not allowed")]
    Method(&'static str),
    /// There is no such path.
    #[error("not found")]
    NotFound,
    /// A parameter is absent.
    #[error("missing parameter: {0}")]
    Missing(&'static str),
    /// A parameter cannot be used, or what it asks for cannot be done.
    #[error("{0}")]
    Invalid(String),
    /// Somebody else changed what it would change.
    #[error("{0}")]
    Conflict(String),
    /// A store did not do what it was asked for.
    #[error("{0}")]
    Failed(String),
    /// Mappings are not written here.
    #[error("{0}")]
    ReadOnly(String),
    /// What it names is not there.
    #[error("{0}")]
    Unknown(String),
    /// There is nothing to read.
    #[error("reload failed: it is not known from which file this node was started")]
    NoFile,
    /// The process was told to stop.
    #[error("stopping")]
    Stopping,
    /// Nobody is admitted any more.
    #[error("draining")]
    Draining,
}

impl Refusal {
    pub(super) fn invalid(parameter: &str, why: impl Display) -> Self {
        Self::Invalid(format!("{parameter}: {why}"))
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest | Self::Missing(_) | Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::LockedOut(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ReadOnly(_) => StatusCode::NOT_IMPLEMENTED,
            Self::NotFound | Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::NoFile | Self::Stopping | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn field(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::Method(allowed) => Some((header::ALLOW, HeaderValue::from_static(allowed))),
            // Rounded up: who comes back then is let in.
            Self::LockedOut(remaining) => {
                let seconds = remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0);
                Some((header::RETRY_AFTER, HeaderValue::from(seconds)))
            }
            _ => None,
        }
    }

    /// As bytes, for where the HTTP library has no request to answer.
    pub(super) fn in_full(&self) -> Vec<u8> {
        let line = one_line(self);
        let mut head = format!("HTTP/1.1 {}\r\n", self.status());
        let mut fields = HeaderMap::new();
        fields.extend(self.field());
        fields.insert(header::CONTENT_TYPE, TEXT);
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(line.len()));
        fields.insert(header::CONNECTION, CLOSE);
        for (name, value) in &fields {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
        }
        format!("{head}\r\n{line}").into_bytes()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), line(&self)).into_response();
        response.headers_mut().extend(self.field());
        response
    }
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub(super) const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// One short line of text.
pub(super) fn line(text: impl Display) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], one_line(text)).into_response()
}

/// Whatever an error says in several lines.
fn one_line(text: impl Display) -> String {
    let text = text.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut line = lines.next().unwrap_or_default().to_owned();
    for more in lines {
        line.push_str("; ");
        line.push_str(more);
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_locked_out_is_told_when_to_come_back_and_not_a_moment_too_early() {
        let refusal = Refusal::LockedOut(Duration::from_millis(1_200));
        assert_eq!(refusal.into_response().headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn an_error_of_several_lines_is_one_line() {
        assert_eq!(
            one_line("reload failed:\n  node.toml:3: routing\n"),
            "reload failed:; node.toml:3: routing\n"
        );
    }

    #[test]
    fn what_the_library_has_no_request_for_is_answered_in_the_same_form() {
        let text = String::from_utf8(Refusal::BadRequest.in_full()).unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 12\r\n\
             connection: close\r\n\r\nbad request\n"
        );
    }
}
