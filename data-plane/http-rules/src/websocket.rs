//! What an upgrade to a WebSocket is: RFC 6455 over HTTP/1.1, RFC 8441 over HTTP/2. Nothing else is upgraded to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method};
use sha1::{Digest as _, Sha1};

use crate::field;

/// How the client asks for a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// `Upgrade: websocket`: answered with 101.
    Http1,
    /// `CONNECT` with `:protocol = websocket`: answered with 200.
    Http2,
}

/// The key toward a backend for a client that has none: HTTP/2 does without (RFC 8441 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketKey(String);

impl WebSocketKey {
    /// From random bytes, new for each request.
    #[must_use]
    pub fn of(random: [u8; 16]) -> Self {
        Self(STANDARD.encode(random))
    }

    /// True when the backend's 101 is an answer to this key (RFC 6455 §4.1).
    #[must_use]
    pub fn is_answered_by(&self, accept: Option<&HeaderValue>) -> bool {
        // RFC 6455 §1.3.
        let digest = Sha1::digest(format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", self.0));
        accept.is_some_and(|accept| accept.as_bytes() == STANDARD.encode(digest).as_bytes())
    }
}

/// True for the fields of a client's wish for a WebSocket over HTTP/1.1.
pub(crate) fn is_asked_for(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::GET
        && field::lists(headers, &CONNECTION, "upgrade")
        && field::list(headers, &UPGRADE).count() == 1
        && field::lists(headers, &UPGRADE, "websocket")
}

/// Says so to the other side, behind the stripping of what belonged to the first connection.
pub(crate) fn ask_or_confirm(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// What a request over HTTP/2 did not have to say.
pub(crate) fn complete(headers: &mut HeaderMap, key: &WebSocketKey) {
    if let Ok(key) = HeaderValue::try_from(key.0.as_str()) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    headers
        .entry(SEC_WEBSOCKET_VERSION)
        .or_insert(HeaderValue::from_static("13"));
}

/// What an answer over HTTP/2 does not say.
pub(crate) fn leave_out_accept(headers: &mut HeaderMap) {
    headers.remove(SEC_WEBSOCKET_ACCEPT);
}
