//! Connections as the kernel knows them: whose end is still open, who still dials. It knows them before any log does.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::place::Place;

const ESTABLISHED: &str = "01";
const SYN_SENT: &str = "02";
/// The other side has said its last, this one has not.
const CLOSE_WAIT: &str = "08";

/// How many connections a server has on this port that it has not ended: it may still be at work for them.
pub fn open_at(server: SocketAddr) -> Result<usize> {
    open_at_any(&[server])
}

/// The same on all of these ports, at one moment.
pub fn open_at_any(servers: &[SocketAddr]) -> Result<usize> {
    let at: Vec<String> = servers.iter().map(|server| hex(*server)).collect::<Result<_>>()?;
    count(|local, _, state| {
        (state == ESTABLISHED || state == CLOSE_WAIT) && at.iter().any(|port| port == local)
    })
}

/// How many clients dial this port, and have no answer.
pub fn dialling(server: SocketAddr) -> Result<usize> {
    let at = hex(server)?;
    count(|_, remote, state| remote == at && state == SYN_SENT)
}

/// By the local address, the remote one, and the state.
fn count(matching: impl Fn(&str, &str, &str) -> bool) -> Result<usize> {
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let matches = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        Some(matching(words.next()?, words.next()?, words.next()?))
    };
    Ok(table.lines().filter(|line| matches(line) == Some(true)).count())
}

/// As the table writes it.
fn hex(server: SocketAddr) -> Result<String> {
    let IpAddr::V4(address) = server.ip() else {
        anyhow::bail!("{server} is no IPv4 address");
    };
    let address = u32::from_ne_bytes(address.octets());
    Ok(format!("{address:08X}:{:04X}", server.port()))
}

/// A port whose queue is full: whoever dials it waits, as for a host that is gone.
#[derive(Debug)]
pub struct Full {
    pub address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Full {
    pub fn start(place: &Place) -> Result<Self> {
        let address = place.port(place.server())?;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&address.into())?;
        socket.listen(0)?;
        let patience = Duration::from_millis(300);
        let queue: Vec<TcpStream> =
            std::iter::from_fn(|| TcpStream::connect_timeout(&address, patience).ok())
                .take(16)
                .collect();
        ensure!(queue.len() < 16, "{address} is never full");
        let listener = TcpListener::from(socket);
        listener.local_addr().context("it listens")?;
        Ok(Self {
            address,
            _listener: listener,
            _queue: queue,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_open_until_its_server_has_ended_it() -> Result<()> {
        let place = Place::new()?;
        let server = place.port(place.server())?;
        let listener = TcpListener::bind(server)?;
        let client = TcpStream::connect(server)?;
        let (served, _) = listener.accept()?;
        assert_eq!(open_at(server)?, 1);
        drop(client);
        assert_eq!(open_at(server)?, 1);
        drop(served);
        assert_eq!(open_at(server)?, 0);
        Ok(())
    }
}
