//! An answer's body on its way to the client: words of ours, or the backend's frames as the exchange hands them on, one
//! at a time, so that a slow client slows the backend down.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use mailswitch_http_rules::AnswerBody;
use tokio::sync::mpsc;

use super::busy::Busy;

/// The answer was broken off: the client must not take it for complete.
#[derive(Debug, thiserror::Error)]
#[error("the answer was broken off")]
pub(super) struct BrokenOff;

/// What the relay puts frames into. Dropped, the answer is complete, unless it was broken off.
#[derive(Debug)]
pub(super) struct Frames {
    sender: mpsc::Sender<Result<Frame<Bytes>, BrokenOff>>,
    broken: Arc<AtomicBool>,
}

impl Frames {
    /// Waits until the client has taken what went before. None: it is gone.
    pub(super) async fn room(&self) -> Option<mpsc::Permit<'_, Result<Frame<Bytes>, BrokenOff>>> {
        self.sender.reserve().await.ok()
    }

    /// Ends when the client has gone.
    pub(super) async fn gone(&self) {
        self.sender.closed().await;
    }

    /// The last frame, if there is one: the answer is complete. There is room for it.
    pub(super) fn last(self, frame: Option<Frame<Bytes>>) {
        if let Some(frame) = frame {
            // Whoever has gone does not want it.
            let _ = self.sender.try_send(Ok(frame));
        }
    }

    /// The client is to know that the answer is not complete.
    pub(super) fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

/// A body for the client. As long as it lives its request is open.
#[derive(Debug)]
pub(super) struct Download {
    source: Source,
    _busy: Option<Busy>,
}

#[derive(Debug)]
enum Source {
    Words(Bytes),
    Relayed {
        frames: mpsc::Receiver<Result<Frame<Bytes>, BrokenOff>>,
        broken: Arc<AtomicBool>,
        length: AnswerBody,
        passed: u64,
    },
}

impl Download {
    /// Words of ours; empty for none.
    pub(super) fn words(words: impl Into<Bytes>) -> Self {
        Self {
            source: Source::Words(words.into()),
            _busy: None,
        }
    }

    /// What the backend says.
    pub(super) fn relayed(length: AnswerBody) -> (Self, Frames) {
        let (sender, frames) = mpsc::channel(1);
        let broken = Arc::new(AtomicBool::new(false));
        let to_client = Frames {
            sender,
            broken: Arc::clone(&broken),
        };
        let download = Self {
            source: Source::Relayed {
                frames,
                broken,
                length,
                passed: 0,
            },
            _busy: None,
        };
        (download, to_client)
    }

    /// The request is open until this is gone.
    pub(super) fn keeping(self, busy: Busy) -> Self {
        Self {
            _busy: Some(busy),
            ..self
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.source {
            Source::Words(words) if words.is_empty() => Poll::Ready(None),
            Source::Words(words) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(words))))),
            Source::Relayed {
                frames,
                broken,
                passed,
                ..
            } => {
                let frame = match ready!(frames.poll_recv(cx)) {
                    None if broken.load(Ordering::Acquire) => Some(Err(BrokenOff)),
                    frame => frame,
                };
                if let Some(Ok(frame)) = &frame {
                    *passed += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Words(words) => words.is_empty(),
            Source::Relayed { length, passed, .. } => match length {
                AnswerBody::None => true,
                AnswerBody::Known(length) => passed == length,
                AnswerBody::Chunked | AnswerBody::UntilClose => false,
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Words(words) => SizeHint::with_exact(words.len() as u64),
            Source::Relayed { length, passed, .. } => match length {
                AnswerBody::None => SizeHint::with_exact(0),
                AnswerBody::Known(length) => SizeHint::with_exact(length.saturating_sub(*passed)),
                AnswerBody::Chunked | AnswerBody::UntilClose => SizeHint::default(),
            },
        }
    }
}
