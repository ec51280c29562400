//! A client's connection, from its first head to its end: HTTP/1.1 or HTTP/2, as the handshake chose (behaviour 8.1, 8.3,
//! §11). The library reads and writes messages; when the connection has been too slow, when the node stops, and how it is
//! closed is decided here.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mailswitch_config::table::http::Http;
use mailswitch_http_rules::own_answer;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::busy::{Activity, Heads, Late, Patience};
use super::connection::{Connection, Requests};
use super::lent::{Lent, Loan};
use super::limits;
use super::upgrade::ClientHalf;
use crate::drive::Leg;
use crate::session::bridge::ending::end_client;
use crate::session::{Client, Front, answer::MAY_TAKE, control};
use crate::tls::{HttpVersion, Stream};

/// A client that has no request open and does not close behind a GOAWAY is not waited for.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves a client's connection to its end.
pub(crate) async fn serve(leg: Leg, client: Client, front: &Arc<Front>) {
    let (Some(stream), _nothing) = leg.into_parts() else {
        return;
    };
    let version = stream.http_version();
    let (lent, loan) = Lent::new(stream);
    let activity = Activity::new(Arc::clone(loan.traffic()));
    let Client {
        id,
        ends,
        permit,
        connection: control,
    } = client;
    let connection = Connection::new(front, ends, id, permit, &activity);
    let http = front.node.policy();
    let http = &http.fleet.http;
    let patience = Patience {
        first_head: front.listener.preauth_timeout,
        next_head: http.relay_idle.max(front.listener.preauth_timeout),
        idle: http.keepalive_timeout,
        chatter: limits::idle_chatter(http),
    };
    let served = Served {
        lent,
        loan,
        connection: &connection,
        activity: &activity,
        patience,
        control: &control,
        http,
    };
    let closing = match version {
        HttpVersion::Http1 => served.http1().await,
        HttpVersion::Http2 => served.http2().await,
    };
    connection.pool.close();
    tracing::debug!(requests = activity.begun(), "the client's connection is over");
    match closing {
        Closing::Switched(stream, rest, taker) => {
            let half = ClientHalf {
                stream,
                rest,
                connection: control,
                permit: connection.permit.lock().take(),
            };
            // Its request may have been broken off meanwhile: then it is closed.
            let _ = taker.send(half);
        }
        Closing::Say(mut stream, status) => {
            let words = in_full(status);
            if let Ok(Ok(())) = timeout(MAY_TAKE, stream.write_all(words.as_bytes())).await {
                end_client(stream).await;
            }
        }
        Closing::Close(stream) => end_client(stream).await,
        Closing::Gone => {}
    }
}

/// How a connection is closed.
enum Closing {
    /// It is a WebSocket from here on.
    Switched(Stream, bytes::Bytes, oneshot::Sender<ClientHalf>),
    /// With a last word.
    Say(Stream, StatusCode),
    Close(Stream),
    Gone,
}

struct Served<'a> {
    lent: Lent,
    loan: Loan,
    connection: &'a Arc<Connection>,
    activity: &'a Arc<Activity>,
    patience: Patience,
    control: &'a control::Connection,
    http: &'a Http,
}

impl Served<'_> {
    async fn http1(mut self) -> Closing {
        let mut builder = http1::Builder::new();
        limits::bound_http1(&mut builder, self.http);
        let mut connection = builder
            // Ours are more exact (`busy.rs`), and say 408.
            .header_read_timeout(None)
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(self.lent), Requests(Arc::clone(self.connection)));
        let late = {
            let mut late = pin!(self.activity.late(self.patience, Heads::Visible));
            let mut stopping = false;
            loop {
                tokio::select! {
                    biased;
                    ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
                        if let Err(error) = ended {
                            tracing::debug!(error = crate::error_chain(&error), "the client's connection ended");
                        }
                        break None;
                    }
                    () = self.control.control().told_to_end(), if !stopping => {
                        stopping = true;
                        // Idle, it is closed at once; else behind the answer that it waits for, which says so.
                        pin_mut(&mut connection).graceful_shutdown();
                    }
                    late = &mut late => break Some(late),
                }
            }
        };
        let taker = self.connection.switching.lock().take();
        // The library's buffer, then the connection itself.
        let rest = connection.into_parts().read_buf;
        let Some(stream) = self.loan.returned().await else {
            return Closing::Gone;
        };
        match (late, taker) {
            (None, Some(taker)) => Closing::Switched(stream, rest, taker),
            (Some(Late::Head), _) if !self.loan.traffic().is_stalled() => {
                Closing::Say(stream, StatusCode::REQUEST_TIMEOUT)
            }
            _ => Closing::Close(stream),
        }
    }

    async fn http2(mut self) -> Closing {
        {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            limits::bound(&mut builder, self.http);
            let connection =
                builder.serve_connection(TokioIo::new(self.lent), Requests(Arc::clone(self.connection)));
            let mut connection = pin!(connection);
            let mut late = pin!(self.activity.late(self.patience, Heads::Hidden));
            let mut over = pin!(self.activity.idle_for(FAREWELL));
            let mut ending = false;
            loop {
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => {
                        if let Err(error) = ended {
                            tracing::debug!(error = crate::error_chain(&error), "the client's connection ended");
                        }
                        break;
                    }
                    // GOAWAY; the streams that are open go on.
                    () = self.control.control().told_to_end(), if !ending => {
                        ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    () = self.connection.enough.notified(), if !ending => {
                        ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    late = &mut late, if !ending => {
                        match late {
                            // It may not even have begun to speak HTTP/2, or speaks without asking for anything.
                            Late::Head | Late::Chatter => break,
                            Late::Idle => {}
                        }
                        ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    // It does not take our farewell.
                    () = &mut over, if ending => break,
                }
            }
        }
        match self.loan.returned().await {
            Some(stream) => Closing::Close(stream),
            None => Closing::Gone,
        }
    }
}

fn pin_mut<T: Unpin>(value: &mut T) -> std::pin::Pin<&mut T> {
    std::pin::Pin::new(value)
}

/// An answer of ours in its bytes, for where the library cannot say it.
fn in_full(status: StatusCode) -> String {
    let answer = own_answer(status, http::Version::HTTP_11);
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in answer.headers() {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    text.push_str("\r\n");
    text.push_str(answer.body());
    text
}
