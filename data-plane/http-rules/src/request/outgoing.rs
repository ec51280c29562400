//! The head that a backend gets (behaviour 8.3): what the client said, without what belonged to its connection, and with
//! who it is.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRAILER, TRANSFER_ENCODING};
use http::uri::{Parts as UriParts, PathAndQuery};
use http::{HeaderMap, HeaderValue, Request, Uri, Version, request};

use super::{BodyLength, Exchange, Expect, LegVersion, Received};
use crate::websocket::{self, Upgrade};
use crate::{TellClient, field, forwarded};

pub(super) fn outgoing(request: &Received, exchange: &Exchange<'_>) -> request::Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = request.head.method.clone();
    let mut headers = request.head.headers.clone();
    let trailers = field::announced_trailers(&headers);
    field::strip_hop_by_hop(&mut headers);
    forwarded::inbound(&mut headers, exchange.inbound);
    if exchange.tell == TellClient::Append {
        forwarded::tell(&mut headers, exchange.client);
    }
    exchange.pseudonym.add_to(&mut headers, request.head.version);
    if exchange.expect == Expect::Answered {
        headers.remove(EXPECT);
    }
    frame(&mut headers, request.body, exchange.leg);
    if let (BodyLength::Chunked, Some(trailers)) = (request.body, trailers) {
        headers.insert(TRAILER, trailers);
    }
    address(&mut head, &mut headers, request, exchange.leg);
    head.headers = headers;
    head
}

/// How long the body is, in one way only.
fn frame(headers: &mut HeaderMap, body: BodyLength, leg: LegVersion<'_>) {
    headers.remove(CONTENT_LENGTH);
    match (body, leg) {
        (BodyLength::None, _) | (BodyLength::Chunked, LegVersion::Http2(_)) => {}
        (BodyLength::Known(length), _) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        (BodyLength::Chunked, LegVersion::Http1(_)) => {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

/// Where to: the origin form and Host, or the pseudo fields of HTTP/2.
fn address(head: &mut request::Parts, headers: &mut HeaderMap, request: &Received, leg: LegVersion<'_>) {
    let path = request
        .head
        .uri
        .path_and_query()
        // The empty path behind an authority is written as nothing at all, once it stands alone.
        .filter(|path| path.as_str() != "/")
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    match leg {
        LegVersion::Http1(key) => {
            headers.insert(HOST, request.host.clone());
            head.version = Version::HTTP_11;
            head.uri = Uri::from(path);
            if let Some(upgrade) = request.upgrade {
                websocket::ask_or_confirm(headers);
                if let (Upgrade::Http2, Some(key)) = (upgrade, key) {
                    websocket::complete(headers, key);
                }
            }
        }
        LegVersion::Http2(scheme) => {
            headers.remove(HOST);
            head.version = Version::HTTP_2;
            let mut parts = UriParts::default();
            parts.scheme = Some(scheme.clone());
            parts.authority = request.host.as_bytes().try_into().ok();
            parts.path_and_query = Some(path);
            head.uri = Uri::from_parts(parts).unwrap_or_default();
        }
    }
}
