//! A request goes to its backend and the head of the answer comes back (behaviour 8.3).
//!
//! From here on nothing is taken back (promise A3): a hold waits for the answer. What may be sent a second time is what not
//! a byte was said about and what nobody minds twice; a POST is neither.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, COOKIE, Entry};
use http::uri::Scheme;
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use mailswitch_config::{Protocol, TlsMode};
use mailswitch_http_rules::{
    Afterwards, Answer, AnswerBody, AnswerKind, Expect, Expectation, LegVersion, Received, Replay,
    TellClient, Upgrade, WebSocketKey,
};
use parking_lot::Mutex;

use super::answer::ToClient;
use super::connection::Connection;
use super::leg::{Leg, Served, Unanswered};
use super::limits::after;
use super::over::Over;
use super::path::LegError;
use super::pressed::broken_off;
use super::relay::Relay;
use super::upgrade::Switched;
use super::upload::{Progress, Rest, Upload, UploadState};
use crate::route::Route;
use crate::session::admit::{Admitted, Guard};
use crate::session::bridge::EndReason;
use crate::sessions::{Chunks, End};
use crate::tls::HttpVersion;

/// What goes from attempt to attempt.
#[derive(Debug)]
pub(super) struct Going {
    pub(super) to_client: ToClient,
    pub(super) rest: Rest,
    /// HTTP/2: the stream behind an extended CONNECT.
    pub(super) upgraded: OnUpgrade,
}

impl Going {
    /// Ends when the client has gone, also one whose body nobody reads now: the library sees the end only behind it.
    pub(super) async fn client_gone(&mut self, connection: &Connection) {
        let unread = self.rest.is_unread();
        tokio::select! {
            () = self.to_client.gone() => {}
            () = connection.activity.client_left(), if unread => {}
        }
    }
}

/// How an exchange went on.
#[derive(Debug)]
pub(super) enum Exchanged {
    /// The client has its answer, or is gone.
    Over,
    /// The body follows.
    Relaying(Box<Relay>),
    /// The connection is a WebSocket.
    Switched(Box<Switched>),
    /// The client knows nothing, and nothing was done: from the beginning, on another connection.
    Again(Box<Going>),
}

/// A request on its leg.
struct Sent<'a> {
    leg: Leg,
    guard: Guard,
    route: Route,
    request: &'a Received,
    connection: &'a Arc<Connection>,
    going: Going,
    progress: Arc<Progress>,
    /// Its body once more.
    spare: Option<Rest>,
    key: Option<WebSocketKey>,
    since: Instant,
    read_before: u64,
}

/// What ended the wait for the head.
enum Head {
    Came(Response<Incoming>),
    Failed(Box<Unanswered>),
    ClientGone,
    Silent,
    BrokenOff(EndReason),
}

pub(super) async fn exchange(
    admitted: Admitted<Leg, ()>,
    request: &Received,
    expect: Expect,
    going: Going,
    connection: &Arc<Connection>,
) -> Exchanged {
    let Admitted {
        mut leg,
        route,
        guard,
        ..
    } = admitted;
    let Going {
        to_client,
        rest,
        upgraded,
    } = going;
    let spare = match Replay::of(request) {
        Replay::Possible | Replay::WithItsBody => rest.again(),
        Replay::Never => None,
    };
    let key = (request.upgrade() == Some(Upgrade::Http2)).then(|| WebSocketKey::of(rand::random()));
    let upload = Sending {
        rest,
        expect,
        chunks: guard.registered().chunks(),
    };
    let (outgoing, progress) = outgoing(request, upload, key.as_ref(), &leg, connection);
    let read_before = leg.read();
    let answer = leg.send(outgoing);
    let mut sent = Sent {
        leg,
        guard,
        route,
        request,
        connection,
        going: Going {
            to_client,
            rest: Rest::none(),
            upgraded,
        },
        progress,
        spare,
        key,
        since: Instant::now(),
        read_before,
    };
    let head = sent.head(answer).await;
    match head {
        Head::Came(response) => sent.answered(response, expect).await,
        Head::Failed(error) => sent.unanswered(*error).await,
        Head::ClientGone => sent.over(EndReason::ClientError).await,
        Head::Silent if sent.progress.waits_for_client() => sent.late().await,
        Head::Silent => sent.unusable(LegError::Silent).await,
        Head::BrokenOff(reason) => sent.broken_off(reason).await,
    }
}

/// The body that goes with it.
struct Sending {
    rest: Rest,
    expect: Expect,
    chunks: Chunks,
}

fn outgoing(
    request: &Received,
    sending: Sending,
    key: Option<&WebSocketKey>,
    leg: &Leg,
    connection: &Connection,
) -> (Request<Upload>, Arc<Progress>) {
    let Sending { rest, expect, chunks } = sending;
    let front = &connection.front;
    let destination = &leg.backend.destination;
    let scheme = match destination.endpoint(Protocol::Http).map(|endpoint| endpoint.tls) {
        Some(TlsMode::Plain) => Scheme::HTTP,
        _ => Scheme::HTTPS,
    };
    let mut head = request.outgoing(&mailswitch_http_rules::Exchange {
        client: connection.ends.client.ip(),
        inbound: front.listener.forwarded,
        tell: if destination.forwarded {
            TellClient::Append
        } else {
            TellClient::Leave
        },
        pseudonym: &front.node.pseudonym,
        leg: match leg.version() {
            HttpVersion::Http1 => LegVersion::Http1(key),
            HttpVersion::Http2 => LegVersion::Http2(&scheme),
        },
        expect,
    });
    for name in [AUTHORIZATION, COOKIE] {
        if let Entry::Occupied(mut values) = head.headers.entry(name) {
            // Never shown, and never indexed on a leg of HTTP/2 (RFC 7541 §7.1).
            values.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
    if request.expectation() == Expectation::Continue && expect == Expect::Forward {
        let (upload, go_on) = Upload::gated(rest, chunks);
        let progress = upload.progress();
        let mut outgoing = Request::from_parts(head, upload);
        let go_on = Mutex::new(Some(go_on));
        hyper::ext::on_informational(&mut outgoing, move |interim| {
            if interim.status() == StatusCode::CONTINUE
                && let Some(go_on) = go_on.lock().take()
            {
                let _ = go_on.send(());
            }
        });
        (outgoing, progress)
    } else {
        let upload = Upload::new(rest, chunks);
        let progress = upload.progress();
        (Request::from_parts(head, upload), progress)
    }
}

impl Sent<'_> {
    async fn head(&mut self, answer: impl Future<Output = Result<Response<Incoming>, Unanswered>>) -> Head {
        let patience = self.connection.front.node.policy().fleet.http.relay_idle;
        let silent = silent(&self.progress, self.since, patience);
        let pressed = broken_off(self.guard.registered());
        tokio::select! {
            biased;
            reason = pressed => Head::BrokenOff(reason),
            answered = answer => match answered {
                Ok(response) => Head::Came(response),
                Err(error) => Head::Failed(Box::new(error)),
            },
            () = self.going.to_client.gone() => Head::ClientGone,
            () = silent => Head::Silent,
        }
    }

    async fn answered(self, response: Response<Incoming>, expect: Expect) -> Exchanged {
        let (head, body) = response.into_parts();
        let kept_for = kept_for(&head.headers);
        let mut answer = match Answer::read(head, self.request, self.key.as_ref()) {
            Ok(answer) => answer,
            Err(error) => return self.unusable(error.into()).await,
        };
        let Self {
            leg,
            guard,
            route,
            connection,
            going,
            progress,
            since,
            ..
        } = self;
        let over = Over::new(&guard, &route, since, answer.head.status);
        if answer.kind == AnswerKind::Switched {
            return match Switched::begin(answer, leg, guard, route, going, connection).await {
                Some(switched) => Exchanged::Switched(Box::new(switched)),
                None => Exchanged::Over,
            };
        }
        let awaited = self.request.expectation() == Expectation::Continue && expect == Expect::Forward;
        if awaited && progress.state() == UploadState::Waiting {
            // The body was not asked for, and cannot be told from a next request any more.
            answer.backend = Afterwards::Close;
        }
        if answer.backend == Afterwards::Close {
            // Whoever closes has a reason; the client learns it as it would without us (behaviour 8.3).
            answer.close_behind();
        }
        let (length, kind, afterwards) = (answer.body, answer.kind, answer.backend);
        let complete = matches!(length, AnswerBody::None | AnswerBody::Known(0))
            && progress.state() == UploadState::Complete;
        if complete && afterwards == Afterwards::Keep {
            // Before the client knows that it is complete, so that its next request finds the connection.
            let keepalive = connection.front.node.policy().fleet.http.keepalive_timeout;
            drop(body);
            connection
                .pool
                .keep(leg, guard.into_idle(), kept_for.min(keepalive));
            let reason = going
                .to_client
                .relay(answer)
                .map_or(EndReason::ClientError, |_all| EndReason::Eof);
            over.tell(End::HandedOn, reason, progress.bytes(), 0);
            return Exchanged::Over;
        }
        match going.to_client.relay(answer) {
            Ok(to_client) => Exchanged::Relaying(Box::new(Relay {
                leg,
                guard,
                body,
                to_client,
                progress,
                over,
                length,
                kind,
                afterwards,
                kept_for,
            })),
            Err(_gone) => {
                over.end(guard, leg.end(), EndReason::ClientError, progress.bytes(), 0)
                    .await;
                Exchanged::Over
            }
        }
    }

    /// The library gave the request up: the backend closed, said nonsense, or the client's body failed.
    async fn unanswered(mut self, mut error: Unanswered) -> Exchanged {
        if let Some(unsent) = error.take_message().filter(|_| self.leg.served == Served::Before) {
            // Not a byte of it has left.
            return self.again(unsent.into_body().into_rest());
        }
        if self.progress.state() == UploadState::Failed {
            tracing::debug!(
                error = crate::error_chain(error.error()),
                "the request's body failed"
            );
            return self.clients_fault(StatusCode::BAD_REQUEST).await;
        }
        let untouched = self.leg.served == Served::Before && self.leg.read() == self.read_before;
        if let Some(spare) = self.spare.take().filter(|_| untouched) {
            return self.again(spare);
        }
        self.unusable(LegError::Lost(error.into_error())).await
    }

    /// The client stopped in the middle of its body. The backend waits for it as we do, and is not to blame: clients that
    /// lose their network would mark it down for all.
    async fn late(self) -> Exchanged {
        tracing::debug!("the client sent nothing of its body within http.relay_idle");
        self.clients_fault(StatusCode::REQUEST_TIMEOUT).await
    }

    async fn clients_fault(self, status: StatusCode) -> Exchanged {
        let over = Over::new(&self.guard, &self.route, self.since, status);
        self.going.to_client.answer(status);
        let sent = self.progress.bytes();
        over.end(self.guard, self.leg.end(), EndReason::ClientError, sent, 0)
            .await;
        Exchanged::Over
    }

    async fn unusable(self, error: LegError) -> Exchanged {
        let connection = self.connection;
        let destination = &self.route.destination;
        let client = connection.ends.client.ip();
        let backends = connection.front.node.backends();
        backends.no_answer(destination, Protocol::Http, client, &error);
        tracing::warn!(
            destination = destination.as_str(),
            stage = error.stage(),
            cause = crate::error_chain(&error),
            "backend unavailable"
        );
        let status = error.status();
        let over = Over::new(&self.guard, &self.route, self.since, status);
        self.going.to_client.answer(status);
        let sent = self.progress.bytes();
        over.end(self.guard, self.leg.end(), EndReason::BackendError, sent, 0)
            .await;
        Exchanged::Over
    }

    /// The client has heard nothing. What nobody minds twice waits for the hold and goes on behind it, or looks again like a
    /// login that is kicked; of anything else nobody knows whether it was done, and no answer of ours may invite the client
    /// to send it again.
    async fn broken_off(mut self, reason: EndReason) -> Exchanged {
        let moves = matches!(
            reason,
            EndReason::Hold | EndReason::Drain | EndReason::Reset | EndReason::Kick
        );
        if let Some(spare) = self.spare.take().filter(|_| moves) {
            return self.again(spare);
        }
        let status = StatusCode::BAD_GATEWAY;
        let over = Over::new(&self.guard, &self.route, self.since, status);
        self.going.to_client.answer(status);
        over.end(self.guard, self.leg.end(), reason, self.progress.bytes(), 0)
            .await;
        Exchanged::Over
    }

    async fn over(self, reason: EndReason) -> Exchanged {
        let over = Over::new(&self.guard, &self.route, self.since, StatusCode::OK);
        over.end(self.guard, self.leg.end(), reason, self.progress.bytes(), 0)
            .await;
        Exchanged::Over
    }

    fn again(self, rest: Rest) -> Exchanged {
        tracing::debug!("sent again on another connection");
        let (guard, leg_ends) = (self.guard, self.leg.end());
        tokio::spawn(async move { guard.end_leg(leg_ends).await });
        Exchanged::Again(Box::new(Going { rest, ..self.going }))
    }
}

/// How long the backend keeps an idle connection, as far as it says: a request that meets its end there may be lost.
/// It is closed by us before that, also where nothing is said (nginx: 75 s): a POST cannot be sent again.
fn kept_for(headers: &HeaderMap) -> Duration {
    const LONGEST: Duration = Duration::from_secs(60);
    const AHEAD: Duration = Duration::from_secs(1);
    let value = headers.get("keep-alive").and_then(|value| value.to_str().ok());
    let timeout = value
        .and_then(|value| {
            value
                .split(',')
                .find_map(|parameter| parameter.trim().strip_prefix("timeout="))
        })
        .and_then(|seconds| seconds.parse().ok());
    timeout.map_or(LONGEST, |said| {
        Duration::from_secs(said).saturating_sub(AHEAD).min(LONGEST)
    })
}

/// Ends when nothing has moved for that long, neither up nor down.
async fn silent(progress: &Progress, since: Instant, patience: Duration) {
    loop {
        let until = after(progress.moved_at().max(since), patience);
        if until <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(until.into()).await;
    }
}
