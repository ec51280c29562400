//! What we answer ourselves, and how: `text/plain`, `<code> <reason>` (behaviour 8.1). The client reads no more than the
//! reason phrase; why it was refused is for the log.

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode, Version};

/// A request that is not passed on because of what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[must_use]
pub enum Refusal {
    /// Neither HTTP/1.1 nor HTTP/2.
    #[error("the version is neither HTTP/1.1 nor HTTP/2")]
    Version,
    /// CONNECT: we are no forward proxy.
    #[error("CONNECT is not served")]
    Connect,
    /// A CONNECT of RFC 8441 for something that is no WebSocket.
    #[error("the extended CONNECT is for another protocol than websocket")]
    ConnectProtocol,
    /// `*` of something else than OPTIONS, a target without a path, a user in the authority.
    #[error("the target is no path")]
    Target,
    /// Not exactly one, or not the authority of HTTP/2.
    #[error("there is not exactly one Host")]
    Host,
    /// Over a hundred.
    #[error("there are more than {} fields", crate::request::MOST_FIELDS)]
    TooManyFields,
    /// Digits, and the same ones in each field.
    #[error("Content-Length is no number, or two numbers")]
    ContentLength,
    /// Content-Length beside Transfer-Encoding.
    #[error("both Content-Length and Transfer-Encoding say how long the body is")]
    TwoLengths,
    /// Transfer-Encoding that is not exactly `chunked`.
    #[error("Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
    /// A field of HTTP/1.1 connections in HTTP/2 (RFC 9113 §8.2.2).
    #[error("a field of HTTP/1.1 connections stands in an HTTP/2 request")]
    ConnectionField,
    /// `Content_Length` and its like: some servers read `_` as `-`.
    #[error("a field's name differs from one that frames the message by an underscore only")]
    Lookalike,
    /// Two Authorization fields: we would route by one, the backend might look at the other.
    #[error("there are two Authorization fields")]
    TwoAuthorizations,
    /// A Basic credential that cannot be decoded: a backend might read somebody into it.
    #[error("the Basic credential is no base64")]
    BasicCredential,
    /// What names the account is no identifier.
    #[error(transparent)]
    Identifier(#[from] mailswitch_proto::identifier::InvalidIdentifier),
    /// What names the account is no UTF-8.
    #[error("what names the account is not UTF-8")]
    IdentifierEncoding,
    /// One account is meant; so many are an attack on the registry.
    #[error("it names more than a handful of accounts where one is expected")]
    TooManyNames,
    /// Our own pseudonym is in Via: we would talk to ourselves.
    #[error("the request has been here before: a loop between proxies")]
    Loop,
}

impl Refusal {
    /// What the client is told.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::TransferEncoding | Self::ConnectProtocol => StatusCode::NOT_IMPLEMENTED,
            Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Target
            | Self::Host
            | Self::ContentLength
            | Self::TwoLengths
            | Self::ConnectionField
            | Self::Lookalike
            | Self::TwoAuthorizations
            | Self::BasicCredential
            | Self::Identifier(_)
            | Self::IdentifierEncoding
            | Self::TooManyNames => StatusCode::BAD_REQUEST,
        }
    }
}

/// An answer of ours: the same shape for all of them. The connection is closed behind it (HTTP/2: the stream only).
#[must_use]
pub fn own_answer(status: StatusCode, version: Version) -> Response<String> {
    let text = status.canonical_reason().map_or_else(
        || status.as_u16().to_string(),
        |reason| format!("{} {reason}", status.as_u16()),
    );
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CONTENT_LENGTH, length);
    if version != Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
