//! HTTP: each request goes where its account is (behaviour section 8, promise A3). `serve` is a client's connection,
//! `request` the life of one request on it; the rest is a file per stage:
//!
//! accept -> PROXY header -> TLS (as of mail) -> `serve` -> `request`: `identify` -> register -> admit, whose leg is made by
//! `path` (from the `pool`, or a new `leg`) -> `exchange` -> `relay`, or `upgrade` -> `over`.
//!
//! What a request means and what of it is passed on is in the crate `http-rules`; messages are read and written by hyper.
//! Neither a credential, a cookie nor a query leaves these files but to the backend.

mod answer;
mod busy;
mod connection;
mod download;
mod exchange;
mod identify;
mod leg;
mod lent;
mod limits;
mod over;
mod path;
mod pool;
mod pressed;
mod relay;
mod request;
mod serve;
mod upgrade;
mod upload;

pub(crate) use serve::serve;

/// Said to a client above the limits on clients, where that can be said in clear.
pub(crate) const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 23\r\n\r\n503 Service Unavailable";
