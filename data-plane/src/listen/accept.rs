//! The accept loop of one socket. Never stops by itself: without descriptors it pauses, sheds what waits, and goes
//! on when there are some again.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Limits, Occupied, Permit};
use crate::backend::announce::{ClientEnds, canonical};
use crate::report::{Report, Taken};

/// After an accept that failed for want of resources: long enough for some to come back.
const PAUSE: Duration = Duration::from_millis(100);

/// A client's connection, counted.
#[derive(Debug)]
pub struct Accepted {
    /// The connection; nothing was read.
    pub tcp: TcpStream,
    /// Its ends.
    pub ends: ClientEnds,
    /// Its place; held until it is closed.
    pub permit: Permit,
}

/// What a listener's sockets share.
#[derive(Debug)]
pub struct Entry {
    /// Connections of the listener.
    pub connections: Arc<AtomicUsize>,
    /// Connections that were closed because it was full.
    pub turned_away: AtomicUsize,
    /// `max_connections`.
    pub max_connections: AtomicUsize,
    /// Of the node.
    pub limits: Arc<Limits>,
    /// What is said to a client above the limits on clients; nothing where it waits for TLS.
    pub busy: &'static [u8],
    /// Where connections are counted.
    pub report: Arc<Report>,
    /// The listener's name.
    pub name: String,
    /// Its protocol's.
    pub protocol: &'static str,
}

/// Accepts until `stop`. `serve` must not block: it spawns.
pub async fn accept(
    socket: TcpListener,
    entry: Arc<Entry>,
    stop: CancellationToken,
    mut serve: impl FnMut(Accepted),
) {
    let mut reserve = Reserve::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((tcp, client)) => match admit(tcp, client, &entry) {
                Ok(accepted) => {
                    entry.report.connection(&entry.name, Taken::Yes);
                    serve(accepted);
                }
                Err(Refused::Gone) => {}
                Err(Refused::Full(limit)) => {
                    entry.report.connection(&entry.name, Taken::No(limit));
                    // A full listener is a metric, not silence; one line for each would be a flood.
                    let before = entry.turned_away.fetch_add(1, Ordering::Relaxed);
                    if before.is_power_of_two() || before == 0 {
                        tracing::warn!(
                            listener = entry.name,
                            protocol = entry.protocol,
                            peer = %canonical(client),
                            turned_away = before + 1,
                            "connection closed: {limit}"
                        );
                    }
                }
            },
            Err(error) if wants_resources(&error) => {
                tracing::warn!(%error, "cannot accept: pausing; raise the descriptor limit");
                reserve.shed(&socket).await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
            // The client was gone before it was accepted: not our concern (accept(2)).
            Err(error) => tracing::debug!(%error, "accept"),
        }
    }
}

enum Refused {
    /// It closed before we looked.
    Gone,
    /// No room: closed with no byte sent.
    Full(Occupied),
}

fn admit(tcp: TcpStream, client: std::net::SocketAddr, entry: &Entry) -> Result<Accepted, Refused> {
    let local = tcp.local_addr().map_err(|_| Refused::Gone)?;
    let ends = ClientEnds::new(client, local);
    // Greeting, replies and records are small and answered one by one: without this each waits 40 ms.
    tcp.set_nodelay(true).map_err(|_| Refused::Gone)?;
    let taken = entry.limits.take(
        &entry.connections,
        entry.max_connections.load(Ordering::Relaxed),
        ends.client.ip(),
    );
    match taken {
        Ok(permit) => Ok(Accepted { tcp, ends, permit }),
        Err(limit) => {
            // A full listener says nothing (configuration §3.3); whoever is one too many hears so. What a fresh
            // socket does not take at once is not said.
            if limit != Occupied::Listener {
                let _ = tcp.try_write(entry.busy);
            }
            Err(Refused::Full(limit))
        }
    }
}

fn wants_resources(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

/// A descriptor kept aside. When all others are taken, giving it up lets us accept and close what waits, so that
/// clients hear at once instead of waiting in the backlog.
struct Reserve(Option<File>);

impl Reserve {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// As many as can have waited, and no more: who connects faster than we close must not keep us from looking whether
    /// there is room again, or whether the node stops.
    async fn shed(&mut self, socket: &TcpListener) {
        self.0 = None;
        for _ in 0..super::BACKLOG {
            let accepted = tokio::time::timeout(Duration::from_millis(1), socket.accept()).await;
            let Ok(Ok((tcp, _))) = accepted else { break };
            drop(tcp);
        }
        *self = Self::new();
    }
}
