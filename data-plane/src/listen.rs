//! The sockets of clients: binding them, and accepting on them within limits (configuration §3.3).
//!
//! Everything is bound before anything is served, and one failure is fatal: a node that silently lacks a port is
//! worse than one that does not start.

mod accept;
mod limits;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mailswitch_config::ListenerName;
use mailswitch_config::table::listener::{Ipv6Socket, Listener, ipv6_socket};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::hand_over::Inherited;
pub use accept::{Accepted, Entry, accept};
pub use limits::{Limits, Occupied, Permit, Room};

/// Connections that wait for `accept`. A backlog of 128 is a second of latency in a burst; the system caps it at
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A socket that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listener.{listener} cannot listen on {address}")]
pub struct BindError {
    listener: ListenerName,
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// A bound socket and the listener that it belongs to.
#[derive(Debug)]
pub struct Bound {
    /// Its table.
    pub listener: Arc<Listener>,
    /// As bound: with the port that the system chose where the file says 0.
    pub address: SocketAddr,
    /// To accept on.
    pub socket: TcpListener,
}

/// Binds every listener's sockets, but for those that were `inherited`. `others` are the further addresses of the file (admin, metrics): they count
/// for whether an IPv6 socket is dual-stack.
///
/// # Errors
/// The first socket that cannot be had, with the system's reason.
pub fn bind_all(
    listeners: &[Listener],
    others: &[SocketAddr],
    inherited: &Inherited,
) -> Result<Vec<Bound>, BindError> {
    let addresses = || {
        let all = listeners.iter().flat_map(|listener| &listener.bind);
        all.chain(others).copied()
    };
    let mut bound = Vec::new();
    for listener in listeners {
        let shared = Arc::new(listener.clone());
        for &address in &listener.bind {
            let socket = match inherited.take(address) {
                Some(socket) => adopt(socket),
                None => bind(address, ipv6_socket(address.port(), addresses())),
            };
            let socket = socket.map_err(|source| BindError {
                listener: listener.name.clone(),
                address,
                source,
            })?;
            bound.push(Bound {
                listener: Arc::clone(&shared),
                address: socket.local_addr().unwrap_or(address),
                socket,
            });
        }
    }
    Ok(bound)
}

pub(crate) fn adopt(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

pub(crate) fn bind(address: SocketAddr, ipv6: Ipv6Socket) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6 == Ipv6Socket::Only)?;
    }
    // A restarted node takes its ports over from connections that are still closing.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
