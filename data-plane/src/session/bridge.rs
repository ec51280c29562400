//! The bridge: bytes between two streams, as they come, both ways, uninterpreted (behaviour §6, promise Q2, Q3).
//!
//! What the client sent behind its login goes first. An idle bridge holds no buffer and no timer: `bridge_idle` is a
//! sweep over all connections, and the timer here exists only while a session drains. It stops for a reason, and
//! hands both legs to `ending`, which follows the backend's to its own end.

mod direction;
pub mod ending;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use self::direction::{Broken, Direction};
pub use self::ending::Stopped;
use crate::tls::Stream;

/// The least silence that counts as quiet: a client that thinks pauses longer, one that types does not.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// What the bridge is made of: both legs, signed in, and what was read on either and not yet delivered.
#[derive(Debug)]
pub struct Legs<C = Stream> {
    /// The client's connection; or what it is carried in (a stream of HTTP/2).
    pub client: C,
    /// The destination's.
    pub backend: Stream,
    /// What the client sent behind its login.
    pub first_to_backend: Vec<u8>,
    /// What the backend sent behind its answer.
    pub first_to_client: Vec<u8>,
    /// Measured when the backend leg was connected.
    pub round_trip: Duration,
}

/// Why a session ended, as logged and counted (behaviour §12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// One side closed, the other followed.
    Eof,
    /// `bridge_idle` without a byte.
    Idle,
    /// Its account is held.
    Hold,
    /// The node drains.
    Drain,
    /// An operator's kick.
    Kick,
    /// The process stops.
    Shutdown,
    /// Its leg was reset: the lease of its armed account lapsed, or the node is fenced.
    Reset,
    /// The client's connection failed.
    ClientError,
    /// The backend's connection failed.
    BackendError,
}

impl EndReason {
    /// As in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eof => "eof",
            Self::Idle => "idle",
            Self::Hold => "hold",
            Self::Drain => "drain",
            Self::Kick => "kick",
            Self::Shutdown => "shutdown",
            Self::Reset => "reset",
            Self::ClientError | Self::BackendError => "error",
        }
    }
}

/// What others want of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    Move,
    /// Stop at a quiet moment, at `until` anyway (Q3).
    Quiet {
        /// `drain_timeout` from when the hold was applied.
        until: Instant,
        /// Why.
        reason: EndReason,
    },
    /// Stop now.
    Stop(EndReason),
    /// Stop now, and reset the backend leg (promise Q2: a lapse, a drain that is forced).
    Reset(EndReason),
}

/// Whoever may end a bridge, and hears when bytes move.
pub trait Overseer {
    /// The wish in force; the task of `cx` is woken when it changes.
    fn wish(&self, cx: &Context<'_>) -> Wish;
    /// Looked at for each chunk: the lease that the session lives under is not over (promise L1).
    fn may_move(&self) -> bool;
    /// Bytes moved.
    fn moved(&self, now: Instant);
}

/// What a client's side is: bytes both ways.
pub trait ClientSide: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> ClientSide for C {}

/// Whoever has the session: its registration, its place among all connections.
pub trait Owner<C = Stream>: Overseer + Unpin + Send + 'static {
    /// Follows both legs to their ends.
    fn end(self, stopped: Stopped<C>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Which way bytes went last: silence behind a client's bytes is not quiet, the backend may be working on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    ToBackend,
    ToClient,
}

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who connected to us.
    Client,
    /// Whom we connected to.
    Backend,
}

/// Moves bytes until there is a reason to stop.
#[derive(Debug)]
struct Bridge<O, C> {
    // None once it failed or was reset, and when it has been handed on.
    client: Option<C>,
    backend: Option<Stream>,
    to_backend: Direction,
    to_client: Direction,
    timer: Option<Pin<Box<Sleep>>>,
    quiet_after: Duration,
    moved_at: Instant,
    last: Last,
    first_to_end: Option<Side>,
    overseer: O,
}

impl<O: Overseer, C: ClientSide> Bridge<O, C> {
    fn new(legs: Legs<C>, overseer: O) -> Self {
        let last = if legs.first_to_backend.is_empty() {
            Last::ToClient
        } else {
            Last::ToBackend
        };
        Self {
            client: Some(legs.client),
            backend: Some(legs.backend),
            to_backend: Direction::new(legs.first_to_backend),
            to_client: Direction::new(legs.first_to_client),
            timer: None,
            quiet_after: QUIET.max(legs.round_trip * 2),
            moved_at: Instant::now(),
            last,
            first_to_end: None,
            overseer,
        }
    }

    fn poll_reason(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        let wish = self.overseer.wish(cx);
        match wish {
            Wish::Move | Wish::Quiet { .. } => {}
            Wish::Stop(reason) => return Poll::Ready(reason),
            Wish::Reset(reason) => {
                // Linger is zero since the dial: closing resets.
                self.backend = None;
                return Poll::Ready(reason);
            }
        }
        match self.poll_move(cx) {
            Poll::Pending if !self.overseer.may_move() => {
                self.backend = None;
                Poll::Ready(EndReason::Reset)
            }
            Poll::Pending => self.poll_quiet(cx, wish),
            ready => ready,
        }
    }

    fn stop(self, reason: EndReason) -> (O, Stopped<C>) {
        let stopped = Stopped {
            reason,
            to_backend: self.to_backend.moved(),
            to_client: self.to_client.moved(),
            first_to_end: self.first_to_end,
            client: self.client,
            backend: self.backend,
            rest: self.to_client,
        };
        (self.overseer, stopped)
    }

    /// Moves what can be moved now, both ways.
    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        let (Some(client), Some(backend)) = (&mut self.client, &mut self.backend) else {
            return Poll::Ready(EndReason::Eof);
        };
        let before = (self.to_backend.moved(), self.to_client.moved());
        let overseer = &self.overseer;
        let may_move = || overseer.may_move();
        let up = self.to_backend.poll_move(cx, client, backend, may_move);
        let down = self.to_client.poll_move(cx, backend, client, may_move);
        let after = (self.to_backend.moved(), self.to_client.moved());
        if self.first_to_end.is_none() {
            self.first_to_end = match (&up, &down) {
                _ if self.to_client.reader_has_ended() => Some(Side::Backend),
                (_, Poll::Ready(Err(Broken::Reader))) => Some(Side::Backend),
                _ if self.to_backend.reader_has_ended() => Some(Side::Client),
                (Poll::Ready(Err(Broken::Reader)), _) => Some(Side::Client),
                _ => None,
            };
        }
        if before != after {
            self.moved_at = Instant::now();
            self.overseer.moved(self.moved_at);
            // Both at once: which was last is not known, so it is not quiet.
            self.last = if before.0 == after.0 {
                Last::ToClient
            } else {
                Last::ToBackend
            };
        }
        match (up, down) {
            (Poll::Ready(Err(Broken::Reader)), _) | (_, Poll::Ready(Err(Broken::Writer))) => {
                self.client = None;
                Poll::Ready(EndReason::ClientError)
            }
            // Not yet its end, if it was the encryption that failed: it is followed like any other.
            (_, Poll::Ready(Err(Broken::Reader))) => Poll::Ready(EndReason::BackendError),
            (Poll::Ready(_), Poll::Ready(Ok(()))) => Poll::Ready(EndReason::Eof),
            // What the backend said before it went is still to be read: its own direction finds its end.
            (Poll::Ready(Err(Broken::Writer)), Poll::Pending) => {
                self.to_backend.give_up();
                Poll::Pending
            }
            (_, _) => Poll::Pending,
        }
    }

    /// Ready when a drain is wanted and this is the moment. Looks back: whoever has been quiet for long enough ends
    /// at once.
    fn poll_quiet(&mut self, cx: &mut Context<'_>, wish: Wish) -> Poll<EndReason> {
        let Wish::Quiet { until, reason } = wish else {
            self.timer = None;
            return Poll::Pending;
        };
        let may_be_quiet =
            self.last == Last::ToClient && !self.to_client.holds_bytes() && !self.to_backend.holds_bytes();
        let at = if may_be_quiet {
            until.min(self.moved_at + self.quiet_after)
        } else {
            until
        };
        if Instant::now() >= at {
            return Poll::Ready(reason);
        }
        let at = tokio::time::Instant::from_std(at);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).map(|()| reason)
    }
}

/// The task of a bridged session: the bridge, then the end of both its legs. The bridge's memory ends with it, and
/// what ending takes exists only then.
pub struct Task<O, C = Stream>(Stage<O, C>);

// In line: an idle session is to be one allocation, and it is in this variant for nearly all of its life.
enum Stage<O, C> {
    Moving(Bridge<O, C>),
    Ending(Pin<Box<dyn Future<Output = ()> + Send>>),
    Over,
}

impl<O: Owner<C>, C: ClientSide> Task<O, C> {
    /// Nothing has moved yet.
    pub fn new(legs: Legs<C>, owner: O) -> Self {
        Self(Stage::Moving(Bridge::new(legs, owner)))
    }
}

impl<O: Owner<C>, C: ClientSide> Future for Task<O, C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Moving(bridge) = &mut self.0 {
            let reason = ready!(bridge.poll_reason(cx));
            if let Stage::Moving(bridge) = std::mem::replace(&mut self.0, Stage::Over) {
                let (owner, stopped) = bridge.stop(reason);
                self.0 = Stage::Ending(owner.end(stopped));
            }
        }
        if let Stage::Ending(ending) = &mut self.0 {
            ready!(ending.as_mut().poll(cx));
            self.0 = Stage::Over;
        }
        Poll::Ready(())
    }
}
