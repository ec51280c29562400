//! Fields that are a list, fields that belong to one connection, and what of them is never taken away (behaviour 8.1).

use std::borrow::Cow;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Of one connection, never passed on.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    KEEP_ALIVE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HTTP2_SETTINGS,
];

/// Never taken away because `Connection` names them: who does that wants a message with another meaning.
const NEVER_NAMED: [HeaderName; 6] = [HOST, CONTENT_LENGTH, AUTHORIZATION, COOKIE, CONTENT_TYPE, EXPECT];

/// Not in trailers (RFC 9110 §6.5.1): they frame, route, authenticate or tell how to read what came before.
const NEVER_TRAILING: [&str; 31] = [
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "host",
    "if",
    "if-match",
    "if-none-match",
    "if-range",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-real-ip",
];

/// The elements of a list, over all fields of the name, trimmed, without empty ones.
pub(crate) fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// True when a list has this element, in any case.
pub(crate) fn lists(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    list(headers, name).any(|found| found.eq_ignore_ascii_case(element.as_bytes()))
}

/// Makes one field of all fields of the name, in their order, with this one as the last.
pub(crate) fn append(headers: &mut HeaderMap, name: &HeaderName, last: &HeaderValue) {
    headers.append(name, last.clone());
    join(headers, name, b", ");
}

/// Makes one field of all fields of the name, in their order.
pub(crate) fn join(headers: &mut HeaderMap, name: &HeaderName, between: &[u8]) {
    let mut values = headers.get_all(name).into_iter();
    let (Some(first), Some(second)) = (values.next(), values.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for value in std::iter::once(second).chain(values) {
        joined.extend_from_slice(between);
        joined.extend_from_slice(value.as_bytes());
    }
    // What is legal in each of them is legal in all of them together.
    if let Ok(mut joined) = HeaderValue::from_bytes(&joined) {
        joined.set_sensitive(first.is_sensitive());
        headers.insert(name, joined);
    }
}

/// Takes away what belongs to the connection that the message came over, also what `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = list(headers, &CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !NEVER_NAMED.contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Marks what holds a credential: `Debug` hides it, and HTTP/2 keeps it out of its compression tables (RFC 7541 §7.1.3).
pub(crate) fn mark_secrets(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if [AUTHORIZATION, COOKIE, SET_COOKIE].contains(name) {
            value.set_sensitive(true);
        }
    }
}

/// True for a field that belongs to one HTTP/1.1 connection.
pub(crate) fn is_of_a_connection(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// The names in `Trailer` that may come, as one field: it is what makes the HTTP library send them on.
pub(crate) fn announced_trailers(headers: &HeaderMap) -> Option<HeaderValue> {
    let names: Vec<String> = list(headers, &TRAILER)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(may_trail)
        .map(|name| name.as_str().to_owned())
        .collect();
    (!names.is_empty())
        .then(|| HeaderValue::try_from(names.join(", ")).ok())
        .flatten()
}

fn may_trail(name: &HeaderName) -> bool {
    let dashed = dashed(name);
    let says_who = dashed.starts_with("x-forwarded-") || dashed.starts_with("proxy-");
    !is_of_a_connection(name) && !says_who && !NEVER_TRAILING.contains(&dashed.as_ref())
}

/// As CGI and WSGI read it: `X_Forwarded_For` is the same variable there.
pub(crate) fn dashed(name: &HeaderName) -> Cow<'_, str> {
    match name.as_str() {
        name if name.contains('_') => name.replace('_', "-").into(),
        name => name.into(),
    }
}

/// The trailers that are passed on, in either direction: all but those that frame, route or authenticate.
#[must_use]
pub fn relayed_trailers(trailers: &HeaderMap) -> HeaderMap {
    let mut relayed = HeaderMap::with_capacity(trailers.len());
    for (name, value) in trailers {
        if may_trail(name) {
            relayed.append(name.clone(), value.clone());
        }
    }
    relayed
}
