//! A request's body on its way to the backend: what was read ahead to find the account, then the rest as it comes, with
//! the client slowed down by the backend (behaviour 8.1, 8.3).
//!
//! It waits for the backend's 100 where the client asked for one. How far it has come is shared with the exchange, which
//! decides what may be sent again and how long silence may last.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use http::HeaderName;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use mailswitch_http_rules::{BodyLength, relayed_trailers};
use tokio::sync::oneshot;
use tokio::time::Sleep;
use zeroize::Zeroizing;

use crate::sessions::Chunks;

/// A client that does not wait for the 100 it asked for would wait for us, and the backend for it. After this the body is
/// sent on unasked (RFC 9110 §10.1.1: nobody has to wait for ever).
const PATIENCE: Duration = Duration::from_secs(1);

/// The client's body failed. The client is gone, or what it sent is no body.
#[derive(Debug, thiserror::Error)]
#[error("the request's body ended early")]
pub(super) struct BodyFailed(#[source] hyper::Error);

/// What is left of a request's body.
pub(super) struct Rest {
    /// Read ahead, not yet sent on.
    ahead: Bytes,
    /// None: all of it was read ahead, or there is none.
    incoming: Option<Incoming>,
    trailers: Option<http::HeaderMap>,
    /// What routed the request stands in its head, and nowhere else.
    never_trails: Option<HeaderName>,
    length: BodyLength,
}

impl fmt::Debug for Rest {
    /// Without its bytes: a form's password is one of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest")
            .field("ahead", &self.ahead.len())
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Rest {
    /// As it came.
    pub(super) fn new(incoming: Incoming, length: BodyLength) -> Self {
        Self {
            ahead: Bytes::new(),
            // A length of nothing is not waited for, and can be sent again.
            incoming: (!matches!(length, BodyLength::None | BodyLength::Known(0))).then_some(incoming),
            trailers: None,
            never_trails: None,
            length,
        }
    }

    /// Nothing.
    pub(super) fn none() -> Self {
        Self {
            ahead: Bytes::new(),
            incoming: None,
            trailers: None,
            never_trails: None,
            length: BodyLength::None,
        }
    }

    /// Reads ahead until there are `cap` bytes, or all of it. What is given stays part of the body.
    pub(super) async fn read_ahead(&mut self, cap: usize) -> Result<Bytes, BodyFailed> {
        let mut ahead = Wiped::of(&std::mem::take(&mut self.ahead));
        while let Some(incoming) = self.incoming.as_mut().filter(|_| ahead.0.len() < cap) {
            match http_body_util::BodyExt::frame(incoming).await {
                Some(frame) => match frame.map_err(BodyFailed)?.into_data() {
                    Ok(data) => ahead.append(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                None => self.incoming = None,
            }
        }
        self.ahead = Bytes::from_owner(ahead.0);
        Ok(self.ahead.slice(..cap.min(self.ahead.len())))
    }

    /// The request was routed by this field.
    pub(super) fn was_routed_by(&mut self, field: &HeaderName) {
        self.never_trails = Some(field.clone());
    }

    /// Something of it is still at the client, or on its way from there.
    pub(super) fn is_unread(&self) -> bool {
        self.incoming.is_some()
    }

    /// A second body like this one, if nothing of it is still at the client.
    pub(super) fn again(&self) -> Option<Self> {
        self.incoming.is_none().then(|| Self {
            ahead: self.ahead.clone(),
            incoming: None,
            trailers: self.trailers.clone(),
            never_trails: self.never_trails.clone(),
            length: self.length,
        })
    }
}

/// What is collected of a body: a form's password may be in it. Wiped when the last part of it was sent on, and nowhere
/// left behind as it grows.
struct Wiped(Zeroizing<Vec<u8>>);

impl Wiped {
    fn of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.0.capacity() - self.0.len() < bytes.len() {
            let mut larger = Vec::with_capacity((self.0.len() + bytes.len()) * 2);
            larger.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(bytes);
    }
}

/// How far an upload has come.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    bytes: AtomicU64,
    moved_after_millis: AtomicU64,
    state: AtomicU8,
    /// The backend would take more, and the client has not sent it.
    waits_for_client: AtomicBool,
}

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadState {
    /// Not a byte was asked of the client.
    Waiting,
    /// It moves.
    Moving,
    /// All of it was handed on.
    Complete,
    /// The client's side failed.
    Failed,
}

impl Progress {
    fn new(state: UploadState) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            bytes: AtomicU64::new(0),
            moved_after_millis: AtomicU64::new(0),
            state: AtomicU8::new(state as u8),
            waits_for_client: AtomicBool::new(false),
        })
    }

    /// Bytes that were handed on.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When it last moved.
    pub(super) fn moved_at(&self) -> Instant {
        self.began + Duration::from_millis(self.moved_after_millis.load(Ordering::Relaxed))
    }

    /// Where it stands.
    pub(super) fn state(&self) -> UploadState {
        match self.state.load(Ordering::Acquire) {
            0 => UploadState::Waiting,
            1 => UploadState::Moving,
            2 => UploadState::Complete,
            _ => UploadState::Failed,
        }
    }

    /// True when it is the client whose next bytes are waited for, and not the backend that takes no more.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::Relaxed)
    }

    fn moved(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let after = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_after_millis.store(after, Ordering::Relaxed);
    }

    fn enters(&self, state: UploadState) {
        self.state.store(state as u8, Ordering::Release);
    }
}

/// Whom the body waits for.
#[derive(Debug)]
enum Gate {
    Open,
    /// The backend's 100, or patience.
    Closed(oneshot::Receiver<()>, Pin<Box<Sleep>>),
}

/// The body that the backend gets.
#[derive(Debug)]
pub(super) struct Upload {
    rest: Rest,
    chunks: Chunks,
    sent: u64,
    gate: Gate,
    progress: Arc<Progress>,
}

/// Opens a body's gate; dropped without, patience does.
pub(super) type GoOn = oneshot::Sender<()>;

impl Upload {
    /// Goes at once.
    pub(super) fn new(rest: Rest, chunks: Chunks) -> Self {
        let nothing = rest.incoming.is_none() && rest.ahead.is_empty() && rest.trailers.is_none();
        let state = if nothing {
            UploadState::Complete
        } else {
            UploadState::Waiting
        };
        Self {
            rest,
            chunks,
            sent: 0,
            gate: Gate::Open,
            progress: Progress::new(state),
        }
    }

    /// Waits for the backend's 100.
    pub(super) fn gated(rest: Rest, chunks: Chunks) -> (Self, GoOn) {
        let (go_on, gate) = oneshot::channel();
        let mut upload = Self::new(rest, chunks);
        upload.gate = Gate::Closed(gate, Box::pin(tokio::time::sleep(PATIENCE)));
        (upload, go_on)
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// For another attempt: nothing of it has left.
    pub(super) fn into_rest(self) -> Rest {
        self.rest
    }

    fn hand_on(&mut self, data: Bytes) -> Frame<Bytes> {
        self.sent += data.len() as u64;
        self.progress.moved(data.len());
        // Behind a length that is known nobody asks for more.
        if matches!(self.rest.length, BodyLength::Known(length) if self.sent >= length) {
            self.progress.enters(UploadState::Complete);
        }
        Frame::data(data)
    }

    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Gate::Closed(go_on, patience) = &mut self.gate {
            // A dropped sender leaves it to patience: an answer may be on its way.
            let told = matches!(go_on.poll_unpin(cx), Poll::Ready(Ok(())));
            if !told {
                ready!(patience.as_mut().poll(cx));
            }
            self.gate = Gate::Open;
        }
        Poll::Ready(())
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        ready!(self.poll_gate(cx));
        if !self.chunks.may_move() {
            // Promise L1. Its request is broken off, and takes the leg along.
            return Poll::Pending;
        }
        let this = &mut *self;
        let progress = Arc::clone(&this.progress);
        if progress.state() == UploadState::Waiting {
            progress.enters(UploadState::Moving);
        }
        if !this.rest.ahead.is_empty() {
            let ahead = std::mem::take(&mut this.rest.ahead);
            return Poll::Ready(Some(Ok(this.hand_on(ahead))));
        }
        if let Some(incoming) = &mut this.rest.incoming {
            let polled = Pin::new(incoming).poll_frame(cx);
            progress
                .waits_for_client
                .store(polled.is_pending(), Ordering::Relaxed);
            match ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        return Poll::Ready(Some(Ok(this.hand_on(data))));
                    }
                    Err(frame) => this.rest.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => {
                    progress.enters(UploadState::Failed);
                    return Poll::Ready(Some(Err(BodyFailed(error))));
                }
                None => {}
            }
            this.rest.incoming = None;
        }
        progress.enters(UploadState::Complete);
        let trailers = this.rest.trailers.take().map(|all| {
            let mut relayed = relayed_trailers(&all);
            if let Some(never) = &this.rest.never_trails {
                relayed.remove(never);
            }
            Ok(Frame::trailers(relayed))
        });
        Poll::Ready(trailers)
    }

    fn is_end_stream(&self) -> bool {
        self.progress.state() == UploadState::Complete && self.rest.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest.length {
            BodyLength::None => SizeHint::with_exact(0),
            BodyLength::Known(length) => SizeHint::with_exact(length.saturating_sub(self.sent)),
            BodyLength::Chunked => SizeHint::default(),
        }
    }
}
