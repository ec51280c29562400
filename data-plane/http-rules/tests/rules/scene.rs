//! Heads as they come from a client and from a backend.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version, request, response};
use mailswitch_config::table::listener::InboundForwarded;
use mailswitch_http_rules::{
    Answer, BadAnswer, Exchange, Expect, LegVersion, Opening, Pseudonym, Received, Refusal, Rest, TellClient,
};

/// Fields as pairs.
pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

pub(crate) const HOST: (&str, &str) = ("Host", "mail.example");

pub(crate) fn ours() -> Pseudonym {
    Pseudonym::of(0x00c0_ffee)
}

pub(crate) fn map(fields: Fields<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a field name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("a field value"),
        );
    }
    map
}

/// `GET /path`.
pub(crate) fn head(line: &str, fields: Fields<'_>) -> request::Parts {
    let (method, target) = line.split_once(' ').expect("a method and a target");
    let request = Request::builder()
        .method(method)
        .uri(target)
        .body(())
        .expect("a head");
    let (mut head, ()) = request.into_parts();
    head.headers = map(fields);
    head
}

/// Over HTTP/1.1.
pub(crate) fn read(line: &str, fields: Fields<'_>) -> Result<Received, Refusal> {
    Received::read(head(line, fields), Opening::Http1, &ours())
}

/// Over HTTP/1.1, with a Host.
pub(crate) fn received(line: &str, fields: Fields<'_>) -> Received {
    read(line, &[&[HOST], fields].concat()).expect("an acceptable head")
}

/// Over HTTP/2.
pub(crate) fn read_http2(
    line: &str,
    fields: Fields<'_>,
    protocol: Option<&str>,
    rest: Rest,
) -> Result<Received, Refusal> {
    let mut head = head(line, fields);
    head.version = Version::HTTP_2;
    Received::read(head, Opening::Http2 { protocol, rest }, &ours())
}

/// What the backend gets of it, when nobody is trusted or told.
pub(crate) fn sent(request: &Received) -> request::Parts {
    sent_with(request, InboundForwarded::Off, TellClient::Leave, Expect::Forward)
}

pub(crate) fn sent_with(
    request: &Received,
    inbound: InboundForwarded,
    tell: TellClient,
    expect: Expect,
) -> request::Parts {
    request.outgoing(&Exchange {
        client: "192.0.2.7".parse().expect("an address"),
        inbound,
        tell,
        pseudonym: &ours(),
        leg: LegVersion::Http1(None),
        expect,
    })
}

/// All values of a field.
pub(crate) fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers
        .get_all(name)
        .into_iter()
        .map(|value| std::str::from_utf8(value.as_bytes()).expect("text"))
        .collect()
}

/// The names of all fields, sorted.
pub(crate) fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

pub(crate) fn answer_head(status: u16, fields: Fields<'_>) -> response::Parts {
    let (mut head, ()) = Response::builder()
        .status(status)
        .body(())
        .expect("a head")
        .into_parts();
    head.headers = map(fields);
    head
}

/// A backend's answer to a request.
pub(crate) fn answered(request: &Received, status: u16, fields: Fields<'_>) -> Result<Answer, BadAnswer> {
    Answer::read(answer_head(status, fields), request, None)
}
