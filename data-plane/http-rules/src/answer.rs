//! A backend's answer: whether it has one meaning, and what of it goes to the client (behaviour 8.1, 8.3).

use std::fmt;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, TRAILER, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, response};

use crate::field;
use crate::request::Received;
use crate::request::reading::{self, Coding};
use crate::websocket::{self, Upgrade, WebSocketKey};

/// An answer that can be passed on.
pub struct Answer {
    /// The head for the client.
    pub head: response::Parts,
    /// How long its body is.
    pub body: AnswerBody,
    /// How it is passed on.
    pub kind: AnswerKind,
    /// Whether the backend's connection can be used again.
    pub backend: Afterwards,
}

impl fmt::Debug for Answer {
    /// Without its fields: a cookie is a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.head.status)
            .field("body", &self.body)
            .field("kind", &self.kind)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// How long an answer's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerBody {
    /// There is none, whatever its fields say.
    None,
    /// These bytes.
    Known(u64),
    /// It says itself when it ends.
    Chunked,
    /// It ends when the backend closes.
    UntilClose,
}

/// How an answer is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// 100 to 199 without 101: the answer itself is still to come.
    Interim,
    /// Silence for `relay_idle` ends it.
    Ordinary,
    /// Without an end of its own: silence for `bridge_idle` ends it.
    UntilClose,
    /// An event stream: the same, and what was sent of it is whole at any time.
    Events,
    /// The connection is a WebSocket from here on.
    Switched,
}

/// Whether a connection can be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// Yes.
    Keep,
    /// No.
    Close,
}

/// An answer that is none: the client gets 502, the backend's connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// 101 for a request that asked for nothing, or for something else than a WebSocket.
    #[error("the backend switches protocols without having been asked to")]
    Unasked101,
    /// The 101 is no answer to our key.
    #[error("the backend's 101 does not answer the WebSocket's key")]
    WebSocketKey,
    /// Content-Length is no number, or two.
    #[error("the backend's Content-Length is no number, or two numbers")]
    ContentLength,
    /// Both lengths.
    #[error("the backend's answer has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// A transfer coding that we cannot undo.
    #[error("the backend's Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
}

impl Answer {
    /// Of a backend's head. `key` is the one that was sent for a WebSocket over HTTP/2.
    ///
    /// # Errors
    /// When it could be read in another way than we do, or answers something that was not asked.
    pub fn read(
        mut head: response::Parts,
        request: &Received,
        key: Option<&WebSocketKey>,
    ) -> Result<Self, BadAnswer> {
        field::mark_secrets(&mut head.headers);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return switched(head, request, key);
        }
        let body = body(&head, request.method())?;
        let close = body == AnswerBody::UntilClose || field::lists(&head.headers, &CONNECTION, "close");
        let kind = kind(&head, body);
        let trailers = field::announced_trailers(&head.headers);
        field::strip_hop_by_hop(&mut head.headers);
        match body {
            AnswerBody::Chunked | AnswerBody::UntilClose => {
                if let (AnswerBody::Chunked, Some(trailers)) = (body, trailers) {
                    head.headers.insert(TRAILER, trailers);
                }
            }
            AnswerBody::Known(length) => {
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            AnswerBody::None => without_body(&mut head),
        }
        head.version = request.version();
        let mut answer = Self {
            head,
            body,
            kind,
            backend: if close {
                Afterwards::Close
            } else {
                Afterwards::Keep
            },
        };
        if close {
            answer.close_behind();
        }
        Ok(answer)
    }

    /// Tells an HTTP/1.1 client that this is the last answer of its connection.
    pub fn close_behind(&mut self) {
        if self.head.version != Version::HTTP_2 {
            self.head
                .headers
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

fn switched(
    mut head: response::Parts,
    request: &Received,
    key: Option<&WebSocketKey>,
) -> Result<Answer, BadAnswer> {
    let upgrade = request.upgrade().ok_or(BadAnswer::Unasked101)?;
    if !field::lists(&head.headers, &UPGRADE, "websocket") {
        return Err(BadAnswer::Unasked101);
    }
    if upgrade == Upgrade::Http2 {
        let accept = head.headers.get(SEC_WEBSOCKET_ACCEPT);
        if !key.is_some_and(|key| key.is_answered_by(accept)) {
            return Err(BadAnswer::WebSocketKey);
        }
    }
    field::strip_hop_by_hop(&mut head.headers);
    head.headers.remove(CONTENT_LENGTH);
    match upgrade {
        Upgrade::Http1 => websocket::ask_or_confirm(&mut head.headers),
        Upgrade::Http2 => {
            head.status = StatusCode::OK;
            websocket::leave_out_accept(&mut head.headers);
        }
    }
    head.version = request.version();
    Ok(Answer {
        head,
        body: AnswerBody::None,
        kind: AnswerKind::Switched,
        backend: Afterwards::Close,
    })
}

/// RFC 9112 §6.3.
fn body(head: &response::Parts, method: &Method) -> Result<AnswerBody, BadAnswer> {
    let length = reading::content_length(&head.headers).map_err(|_| BadAnswer::ContentLength)?;
    let coding = reading::transfer_encoding(&head.headers).map_err(|_| BadAnswer::TransferEncoding)?;
    let bodiless = *method == Method::HEAD
        || head.status.is_informational()
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        );
    match (coding, length) {
        (Coding::Chunked, Some(_)) => Err(BadAnswer::TwoLengths),
        _ if bodiless => Ok(AnswerBody::None),
        (Coding::Chunked, None) => Ok(AnswerBody::Chunked),
        (Coding::None, Some(length)) => Ok(AnswerBody::Known(length)),
        // HTTP/2 ends its streams itself.
        (Coding::None, None) if head.version == Version::HTTP_2 => Ok(AnswerBody::Chunked),
        (Coding::None, None) => Ok(AnswerBody::UntilClose),
    }
}

/// The length of what would have been there stays for HEAD and 304 (RFC 9110 §8.6).
fn without_body(head: &mut response::Parts) {
    match head.status {
        StatusCode::RESET_CONTENT => {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        status if status.is_informational() || status == StatusCode::NO_CONTENT => {
            head.headers.remove(CONTENT_LENGTH);
        }
        _ => {}
    }
}

fn kind(head: &response::Parts, body: AnswerBody) -> AnswerKind {
    if head.status.is_informational() {
        AnswerKind::Interim
    } else if body != AnswerBody::None && is_event_stream(&head.headers) {
        AnswerKind::Events
    } else if body == AnswerBody::UntilClose {
        AnswerKind::UntilClose
    } else {
        AnswerKind::Ordinary
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().split(|byte| *byte == b';').next())
        .is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}
