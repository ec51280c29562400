//! Names, addresses and connections of a leg: every address of the host is tried, because a session may meet any.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures::future::join_all;
use mailswitch_config::table::destination::{Destination, Host};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// A host that does not answer at all.
pub(crate) const CONNECT: Duration = Duration::from_secs(4);
/// More addresses than a mail system has; bounds what a wrong name can make us do.
const MOST_ADDRESSES: usize = 8;

/// One address, tried from one source address.
#[derive(Debug)]
pub(crate) struct Tried {
    pub(crate) target: SocketAddr,
    /// Of `source_ips`; none: the system's choice.
    pub(crate) source: Option<IpAddr>,
    pub(crate) result: io::Result<Connected>,
}

#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) tcp: TcpStream,
    pub(crate) took: Duration,
}

/// The addresses of a host.
pub(crate) async fn resolve(host: &Host) -> io::Result<Vec<IpAddr>> {
    let name = match host {
        Host::Address(address) => return Ok(vec![*address]),
        Host::Name(name) => name,
    };
    let found = timeout(CONNECT, tokio::net::lookup_host((name.as_str(), 0))).await;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for found in found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        let address = found.ip().to_canonical();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.truncate(MOST_ADDRESSES);
    match addresses.is_empty() {
        true => Err(io::ErrorKind::NotFound.into()),
        false => Ok(addresses),
    }
}

/// Connects to every address, from every source address of its family.
pub(crate) async fn connect_all(destination: &Destination, addresses: &[IpAddr], port: u16) -> Vec<Tried> {
    let pairs = addresses.iter().flat_map(|address| {
        let target = SocketAddr::new(*address, port);
        let sources = destination.source_ips.iter();
        let sources = sources.filter(|source| source.is_ipv4() == address.is_ipv4());
        let mut sources: Vec<_> = sources.copied().map(Some).collect();
        if destination.source_ips.is_empty() {
            sources.push(None);
        }
        sources.into_iter().map(move |source| (target, source))
    });
    join_all(pairs.map(async |(target, source)| Tried {
        target,
        source,
        result: connect(target, source).await,
    }))
    .await
}

/// One connection.
pub(crate) async fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<Connected> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let start = Instant::now();
    let connected = timeout(CONNECT, socket.connect(target)).await;
    Ok(Connected {
        tcp: connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??,
        took: start.elapsed(),
    })
}

/// The one of our own sockets that a connection to `target` would reach (behaviour §7.4).
pub(crate) fn own_socket(target: SocketAddr, binds: &[SocketAddr]) -> Option<SocketAddr> {
    let ip = target.ip().to_canonical();
    let reaches = |bind: &&SocketAddr| {
        let own = bind.ip().to_canonical();
        bind.port() == target.port() && (own == ip || (own.is_unspecified() && is_local(ip)))
    };
    binds.iter().find(reaches).copied()
}

/// Whether an address is this machine's.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    if ip.is_loopback() || ip.is_unspecified() {
        return true;
    }
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return false;
    };
    interfaces
        .filter_map(|interface| interface.address)
        .any(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))) == Some(ip)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_listen_on_is_ours_and_another_port_is_not() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let binds = [at("192.0.2.10:993"), at("0.0.0.0:143")];
        assert_eq!(own_socket(at("192.0.2.10:993"), &binds), Some(binds[0]));
        assert_eq!(own_socket(at("127.0.0.9:143"), &binds), Some(binds[1]));
        assert_eq!(own_socket(at("192.0.2.11:143"), &binds), None);
        assert_eq!(own_socket(at("192.0.2.10:994"), &binds), None);
    }
}
