//! Whether a request's head has one meaning (behaviour 8.1). What the HTTP library refuses itself (obs-fold, names that are
//! no tokens, control bytes) does not come here.

use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, request};

use super::{BodyLength, Expectation, MOST_FIELDS, Opening, Received, Rest};
use crate::field;
use crate::refusal::Refusal;
use crate::via::Pseudonym;
use crate::websocket::{self, Upgrade};

pub(super) fn read(
    mut head: request::Parts,
    opening: Opening<'_>,
    pseudonym: &Pseudonym,
) -> Result<Received, Refusal> {
    check_version(head.version, opening)?;
    field::mark_secrets(&mut head.headers);
    if head.version == Version::HTTP_2 {
        // RFC 9113 §8.2.3: crumbs of one field, and counted as one.
        field::join(&mut head.headers, &COOKIE, b"; ");
    }
    if head.headers.len() > MOST_FIELDS {
        return Err(Refusal::TooManyFields);
    }
    let extended = check_method(&head.method, opening)?;
    check_names(&head.headers, head.version)?;
    let host = host(&head)?;
    check_target(&head)?;
    let body = body(&mut head.headers, opening)?;
    pseudonym.not_in(&head.headers)?;
    let upgrade = match (extended, body) {
        (Some(upgrade), _) => {
            head.method = Method::GET;
            Some(upgrade)
        }
        (None, BodyLength::None) if websocket::is_asked_for(&head.method, &head.headers) => {
            Some(Upgrade::Http1)
        }
        (None, _) => None,
    };
    Ok(Received {
        head,
        host,
        body: if upgrade.is_some() { BodyLength::None } else { body },
        upgrade,
    })
}

pub(super) fn expectation(headers: &HeaderMap) -> Expectation {
    if field::lists(headers, &EXPECT, "100-continue") {
        Expectation::Continue
    } else {
        Expectation::None
    }
}

fn check_version(version: Version, opening: Opening<'_>) -> Result<(), Refusal> {
    match (version, opening) {
        (Version::HTTP_11, Opening::Http1) | (Version::HTTP_2, Opening::Http2 { .. }) => Ok(()),
        _ => Err(Refusal::Version),
    }
}

/// CONNECT is for WebSockets over HTTP/2 only.
fn check_method(method: &Method, opening: Opening<'_>) -> Result<Option<Upgrade>, Refusal> {
    match (*method == Method::CONNECT, opening) {
        (
            true,
            Opening::Http2 {
                protocol: Some("websocket"),
                ..
            },
        ) => Ok(Some(Upgrade::Http2)),
        (
            true,
            Opening::Http2 {
                protocol: Some(_), ..
            },
        ) => Err(Refusal::ConnectProtocol),
        (true, _) => Err(Refusal::Connect),
        (false, _) => Ok(None),
    }
}

fn check_names(headers: &HeaderMap, version: Version) -> Result<(), Refusal> {
    if headers.get_all(AUTHORIZATION).into_iter().nth(1).is_some() {
        return Err(Refusal::TwoAuthorizations);
    }
    for (name, value) in headers {
        if is_lookalike(name) {
            return Err(Refusal::Lookalike);
        }
        let trailers_only = *name == TE && value.as_bytes().eq_ignore_ascii_case(b"trailers");
        if version == Version::HTTP_2
            && field::is_of_a_connection(name)
            && !trailers_only
            && !is_end_to_end(name)
        {
            return Err(Refusal::ConnectionField);
        }
    }
    Ok(())
}

/// Hop-by-hop in our list, and yet allowed in HTTP/2: they are stripped, not refused.
fn is_end_to_end(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "trailer" | "proxy-authorization" | "proxy-authenticate"
    )
}

/// Servers that hand fields on as variables read `_` as `-`.
fn is_lookalike(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.contains('_')
        && matches!(
            name.replace('_', "-").as_str(),
            "content-length" | "transfer-encoding" | "host" | "authorization"
        )
}

/// RFC 9112 §3.2, RFC 9113 §8.3.1: exactly one, and the target's authority where there is one.
fn host(head: &request::Parts) -> Result<HeaderValue, Refusal> {
    let mut fields = head.headers.get_all(HOST).into_iter();
    let (first, second) = (fields.next(), fields.next());
    let is_http2 = head.version == Version::HTTP_2;
    let host = match (head.uri.authority(), first, second) {
        (_, _, Some(_)) => return Err(Refusal::Host),
        (Some(authority), Some(host), None) => {
            if is_http2
                && !host
                    .as_bytes()
                    .eq_ignore_ascii_case(authority.as_str().as_bytes())
            {
                return Err(Refusal::Host);
            }
            // RFC 9112 §3.2.2: the Host beside an absolute target is ignored.
            HeaderValue::try_from(authority.as_str()).map_err(|_| Refusal::Host)?
        }
        (Some(authority), None, None) if is_http2 => {
            HeaderValue::try_from(authority.as_str()).map_err(|_| Refusal::Host)?
        }
        (None, Some(host), None) => host.clone(),
        (_, None, None) => return Err(Refusal::Host),
    };
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| Refusal::Host)?;
    if authority.as_str().contains('@') {
        return Err(Refusal::Host);
    }
    Ok(host)
}

fn check_target(head: &request::Parts) -> Result<(), Refusal> {
    let path = head.uri.path();
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(Refusal::Target);
    }
    match path {
        "*" if head.method == Method::OPTIONS && head.uri.query().is_none() => Ok(()),
        path if path.starts_with('/') => Ok(()),
        _ => Err(Refusal::Target),
    }
}

/// How long the body is, in one way only; afterwards the map has at most one Content-Length.
fn body(headers: &mut HeaderMap, opening: Opening<'_>) -> Result<BodyLength, Refusal> {
    let length = content_length(headers).map_err(|BadLength| Refusal::ContentLength)?;
    let coding = transfer_encoding(headers).map_err(|BadCoding| Refusal::TransferEncoding)?;
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(match (opening, coding, length) {
        (_, Coding::Chunked, Some(_)) => return Err(Refusal::TwoLengths),
        (Opening::Http1, Coding::Chunked, None) => BodyLength::Chunked,
        (Opening::Http1, Coding::None, None)
        | (
            Opening::Http2 {
                rest: Rest::Ended, ..
            },
            _,
            None,
        ) => BodyLength::None,
        (_, Coding::None, Some(length)) => BodyLength::Known(length),
        (
            Opening::Http2 {
                rest: Rest::Follows, ..
            },
            _,
            None,
        ) => BodyLength::Chunked,
    })
}

/// A Content-Length that is no number, or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadLength;

/// A Transfer-Encoding that is not exactly `chunked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadCoding;

/// Whether a body is chunked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    None,
    Chunked,
}

/// Digits only, and the same number in each field.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, BadLength> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let text = value.as_bytes();
        if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
            return Err(BadLength);
        }
        let number: u64 = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(BadLength)?;
        if length.replace(number).is_some_and(|other| other != number) {
            return Err(BadLength);
        }
    }
    Ok(length)
}

/// One field, and nothing but `chunked` in it.
pub(crate) fn transfer_encoding(headers: &HeaderMap) -> Result<Coding, BadCoding> {
    let mut values = headers.get_all(TRANSFER_ENCODING).into_iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(Coding::None),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Coding::Chunked),
        _ => Err(BadCoding),
    }
}
