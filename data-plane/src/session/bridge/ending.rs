//! How both legs of a bridge end (promise Q2, design section 6), and those of a login that gets no bridge.
//!
//! Toward the backend: half-close, read and discard until its own end, however long that takes: whoever waits decides
//! when it is stuck. Toward the client: what is left for it, close_notify, half-close, read and discard for a
//! moment, close, so that it reads the last line even when it has sent more.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::direction::Direction;
use super::{ClientSide, EndReason, Side};
use crate::tls::Stream;

/// A client that has not read its last line by then does not read.
const CLIENT_MAY_TAKE: Duration = Duration::from_secs(2);

/// A bridge that moves nothing any more.
#[derive(Debug)]
#[must_use = "both legs are still open"]
pub struct Stopped<C = Stream> {
    /// Why.
    pub reason: EndReason,
    /// Bytes that the client sent, those behind its login included.
    pub to_backend: u64,
    /// Bytes that the backend sent.
    pub to_client: u64,
    /// Which of both said nothing more first; none: neither did.
    pub first_to_end: Option<Side>,
    /// None when it failed.
    pub client: Option<C>,
    /// None when it was reset.
    pub backend: Option<Stream>,
    /// Read from the backend, not yet written to the client.
    pub(super) rest: Direction,
}

impl<C: ClientSide> Stopped<C> {
    /// The ends of both legs, to be awaited side by side: neither waits for the other.
    pub fn into_ends(self) -> (impl Future<Output = ()> + Send, impl Future<Output = ()> + Send) {
        let Self {
            reason,
            client,
            backend,
            mut rest,
            ..
        } = self;
        let client_end = async move {
            if let Some(mut client) = client {
                let rest_written = poll_fn(|cx| rest.poll_finish_writing(cx, &mut client));
                let written = tokio::time::timeout(CLIENT_MAY_TAKE, rest_written).await;
                if let Ok(Ok(())) = written {
                    end_client(client).await;
                }
            }
        };
        let backend_end = async move {
            if let Some(mut backend) = backend {
                follow_backend(&mut backend).await;
                if reason == EndReason::Eof {
                    // Both have ended by themselves: what the client sent last may still be on its way to a backend
                    // that closed its own half first, and a reset would discard it. In every other case it is to be
                    // discarded (promise Q2).
                    let _ = SockRef::from(backend.tcp()).set_linger(None);
                }
            }
        };
        (client_end, backend_end)
    }
}

/// Half-closes a backend leg and reads until the backend's own end. Dropped before that, the leg is reset: linger is
/// zero since the dial.
pub async fn end_backend(mut backend: Stream) {
    follow_backend(&mut backend).await;
}

/// Below the encryption, where the connection is: a record that cannot be read is not the backend's end, its FIN or its
/// reset is.
async fn follow_backend(stream: &mut Stream) {
    if stream.shutdown().await.is_err() {
        // No close_notify can be said any more. Of a connection that is over this fails, too, and is seen below.
        let _ = SockRef::from(stream.tcp()).shutdown(std::net::Shutdown::Write);
    }
    let tcp = stream.tcp();
    let mut scratch = [0; 1024];
    while tcp.readable().await.is_ok() {
        match tcp.try_read(&mut scratch) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Says nothing more to the client: half-closes, lets it read what was said, closes.
pub async fn end_client(mut client: impl AsyncRead + AsyncWrite + Unpin) {
    let followed = async {
        if client.shutdown().await.is_ok() {
            let mut scratch = [0; 1024];
            while client.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
        }
    };
    // Too slow or gone: closed all the same.
    let _ = tokio::time::timeout(CLIENT_MAY_TAKE, followed).await;
}
