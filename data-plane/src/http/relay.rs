//! The body of an answer, from the backend to the client, frame by frame as it comes (behaviour 8.3). Nothing is collected,
//! so event streams are not delayed and a slow client slows its backend down.
//!
//! It ends with the answer, with its client, with silence, or by order: an ordinary answer is not broken off by a drain
//! before its deadline, an event stream at its first quiet moment (promise A3, Q3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming};
use mailswitch_http_rules::{Afterwards, AnswerBody, AnswerKind, relayed_trailers};

use super::connection::Connection;
use super::download::Frames;
use super::leg::Leg;
use super::limits::after;
use super::over::Over;
use super::pressed::{Moment, breaks_off, drained};
use super::upload::{Progress, UploadState};
use crate::session::admit::Guard;
use crate::session::bridge::{EndReason, QUIET};
use crate::sessions::{End, Order};

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) leg: Leg,
    pub(super) guard: Guard,
    pub(super) body: Incoming,
    pub(super) to_client: Frames,
    pub(super) progress: Arc<Progress>,
    pub(super) over: Over,
    pub(super) length: AnswerBody,
    pub(super) kind: AnswerKind,
    pub(super) afterwards: Afterwards,
    /// For how long its leg may be idle.
    pub(super) kept_for: Duration,
}

/// How long an answer may be silent.
#[derive(Debug, Clone, Copy)]
struct Patience {
    idle: Duration,
    quiet: Duration,
}

/// How the moving ended.
enum Ended {
    /// The answer is complete.
    Complete,
    /// The client knows that it is not.
    BrokenOff(EndReason),
    /// An event stream ended at a quiet moment: its client comes again.
    Quietly(EndReason),
}

/// The moving part.
struct Moving {
    moved_at: Instant,
    passed: u64,
    /// Read, and not yet taken by the client.
    held: Option<Frame<Bytes>>,
}

impl Relay {
    pub(super) async fn run(mut self: Box<Self>, connection: &Connection) {
        let node = &connection.front.node;
        let http = &node.policy().fleet.http;
        let (relay_idle, keepalive) = (http.relay_idle, http.keepalive_timeout);
        let patience = Patience {
            idle: match self.kind {
                AnswerKind::UntilClose | AnswerKind::Events => node.machine().server.bridge_idle,
                _ => relay_idle,
            },
            quiet: QUIET.max(self.leg.round_trip * 2),
        };
        let mut moving = Moving {
            moved_at: Instant::now(),
            passed: 0,
            held: None,
        };
        let ended = self.relay(&mut moving, patience).await;
        let last = moving.held.take().filter(|_| matches!(ended, Ended::Complete));
        moving.passed += last
            .as_ref()
            .and_then(Frame::data_ref)
            .map_or(0, |data| data.len() as u64);
        let Self {
            leg,
            guard,
            to_client,
            progress,
            over,
            afterwards,
            kept_for,
            ..
        } = *self;
        let (sent, passed) = (progress.bytes(), moving.passed);
        let reason = match ended {
            Ended::Complete => EndReason::Eof,
            Ended::Quietly(reason) => reason,
            Ended::BrokenOff(reason) => {
                to_client.break_off();
                reason
            }
        };
        let complete = matches!(ended, Ended::Complete) && progress.state() == UploadState::Complete;
        if complete && afterwards == Afterwards::Keep {
            // Before the client knows that it is complete, so that its next request finds the connection.
            connection
                .pool
                .keep(leg, guard.into_idle(), kept_for.min(keepalive));
            to_client.last(last);
            over.tell(End::HandedOn, reason, sent, passed);
        } else {
            to_client.last(last);
            over.end(guard, leg.end(), reason, sent, passed).await;
        }
    }

    async fn relay(&mut self, moving: &mut Moving, patience: Patience) -> Ended {
        if self.length == AnswerBody::None {
            return Ended::Complete;
        }
        loop {
            let registered = self.guard.registered();
            let order = registered.order();
            let (end, until) = self.end_at(order, moving, patience);
            if until <= Instant::now() {
                return end;
            }
            tokio::select! {
                biased;
                _ = registered.order_other_than(order) => {}
                room = self.to_client.room(), if moving.held.is_some() => match room {
                    // The last one is for behind the keeping.
                    Some(_) if self.body.is_end_stream() => return Ended::Complete,
                    Some(room) => {
                        if let Some(frame) = moving.held.take() {
                            moving.passed += frame.data_ref().map_or(0, |data| data.len() as u64);
                            room.send(Ok(frame));
                        }
                        moving.moved_at = Instant::now();
                    }
                    None => return Ended::BrokenOff(EndReason::ClientError),
                },
                frame = self.body.frame(), if moving.held.is_none() => match frame {
                    Some(Ok(frame)) => {
                        moving.held = Some(frame.into_trailers().map_or_else(
                            |data| data,
                            |trailers| Frame::trailers(relayed_trailers(&trailers)),
                        ));
                        moving.moved_at = Instant::now();
                    }
                    Some(Err(error)) => {
                        self.over.debug(&error, "the backend's answer ended early");
                        return Ended::BrokenOff(EndReason::BackendError);
                    }
                    None => return Ended::Complete,
                },
                () = self.to_client.gone() => return Ended::BrokenOff(EndReason::ClientError),
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// What ends it first if nothing moves, and when.
    fn end_at(&self, order: Order, moving: &Moving, patience: Patience) -> (Ended, Instant) {
        let moved_at = moving.moved_at.max(self.progress.moved_at());
        let idle = (Ended::BrokenOff(EndReason::Idle), after(moved_at, patience.idle));
        let pressed = match (order, self.kind, &moving.held) {
            // Its last bytes went to the client: silence is quiet, looking back.
            (Order::Drain { cause, deadline }, AnswerKind::Events, None) => {
                let quiet_at = moving.moved_at + patience.quiet;
                Some((Ended::Quietly(drained(cause)), quiet_at.min(deadline)))
            }
            _ => breaks_off(order).map(|Moment { at, reason }| (Ended::BrokenOff(reason), at)),
        };
        match pressed {
            Some(pressed) if pressed.1 < idle.1 => pressed,
            _ => idle,
        }
    }
}
