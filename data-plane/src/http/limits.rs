//! How much one HTTP/2 connection may make us hold or do, each bound with the attack that it stops.

use std::time::{Duration, Instant};

use hyper::server::conn::{http1, http2::Builder};
use hyper_util::rt::TokioTimer;
use mailswitch_config::table::http::Http;

/// More fields are an attack on whoever keeps them (behaviour 8.1).
pub(super) const MOST_FIELDS: usize = 100;
/// Each is a session with a leg of its own: one connection must not take a node's descriptors (RFC 9113 §10.5).
const MOST_STREAMS: u32 = 100;
/// Requests of one connection that are not over at their backends. A stream that was reset is none of the open ones any
/// more, and its leg is still followed to its end: without this a client that opens and resets would hold a leg for each.
pub(super) const MOST_UNFINISHED: usize = 2 * MOST_STREAMS as usize;
/// Rapid reset (CVE-2023-44487): streams that were reset before they were served. Beyond this the connection is closed.
const MOST_RESET_PENDING: usize = 20;
/// Streams that we reset because of what was sent on them.
const MOST_LOCAL_RESETS: usize = 256;
/// Bytes that a client may have us keep for one stream that it does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// A client that sends a body faster than its backend takes it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A client that is gone without a word, while a stream of it is open.
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// What a connection of HTTP/1.1 is read into: a head has to fit, and whoever has not signed in gets no more (behaviour
/// §7.3).
pub(super) fn read_buffer(http: &Http) -> usize {
    http.max_head_size.max(64 * 1024)
}

/// Bytes of a connection of HTTP/2 that asks for nothing: pings, settings, frames that mean nothing (CVE-2019-9512, -9515,
/// -9518). Each is answered before the next is read, so none is kept; this ends the work. The largest head fits into it.
pub(super) fn idle_chatter(http: &Http) -> u64 {
    (http.max_head_size.max(64 * 1024) * 2) as u64
}

/// A time of the configuration from now on. What is longer than any connection lives is for ever: the clock ends
/// somewhere, too.
pub(super) fn after(since: Instant, time: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    since + time.min(FOR_EVER)
}

/// A client's connection of HTTP/1.1.
pub(super) fn bound_http1(builder: &mut http1::Builder, http: &Http) {
    builder
        .max_headers(MOST_FIELDS)
        .max_header_size(http.max_head_size)
        .max_buf_size(read_buffer(http));
}

/// The size of heads bounds CONTINUATION frames, too: the library counts both.
pub(super) fn bound<E>(builder: &mut Builder<E>, http: &Http) {
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(MOST_STREAMS)
        .max_pending_accept_reset_streams(MOST_RESET_PENDING)
        .max_local_error_reset_streams(MOST_LOCAL_RESETS)
        .max_header_list_size(u32::try_from(http.max_head_size).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWERED_WITHIN);
}
