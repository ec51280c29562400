//! A TCP connection to a destination: its addresses in turn, from the configured source addresses (behaviour §4.3).
//!
//! Linger is zero from before the connect on (promise Q2): a leg that is dropped, and one whose process is killed, is
//! reset, so that the backend discards what is queued. An orderly end half-closes first.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use mailswitch_config::DestinationName;
use mailswitch_config::table::destination::Destination;
use nix::errno::Errno;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use super::loops::{Loop, OwnListeners};
use super::names::Names;

/// An address that has not answered by then gets company (RFC 8305 §5, Connection Attempt Delay).
const NEXT_ATTEMPT_AFTER: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("{host} cannot be resolved")]
    Resolve {
        /// As configured.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It leads back to us.
    #[error(transparent)]
    Loop(#[from] Loop),
    /// `source_ips` has no address of any family that the host has.
    #[error("source_ips holds no address of the families of {host}")]
    NoSourceAddress {
        /// As configured.
        host: String,
    },
    /// This machine cannot make a connection now: no descriptors, no ports, an address in `source_ips` that it does not
    /// have. It says nothing about the destination.
    #[error("this machine cannot make a connection to {address}{}", .from.map(|from| format!(" from {from}")).unwrap_or_default())]
    Ourselves {
        /// That was tried last.
        address: SocketAddr,
        /// Of `source_ips`.
        from: Option<IpAddr>,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No address accepted. The last one's reason.
    #[error("cannot connect to {address}")]
    Connect {
        /// That was tried last.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A connection to a backend.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub tcp: TcpStream,
    /// What the connect took: one round trip.
    pub round_trip: Duration,
}

/// Makes connections. One per node.
#[derive(Debug, Default)]
pub struct Dialler {
    names: Names,
    own: OwnListeners,
    turns: Mutex<HashMap<DestinationName, Turns>>,
}

/// How often a destination was dialled from its `source_ips`, by family: each goes round its own entries.
#[derive(Debug, Default)]
struct Turns {
    v4: usize,
    v6: usize,
}

impl Dialler {
    /// `own` are the addresses that must not be dialled.
    #[must_use]
    pub fn new(own: OwnListeners) -> Self {
        Self {
            own,
            ..Self::default()
        }
    }

    /// Connects to one of the destination's addresses. The caller bounds it in time.
    ///
    /// # Errors
    /// When none can be had.
    pub async fn connect(&self, destination: &Destination, port: u16) -> Result<Connected, DialError> {
        let host = || destination.host.to_string();
        let found = self.names.addresses(&destination.host).await;
        let found = found.map_err(|source| DialError::Resolve { host: host(), source })?;
        let mut targets = Vec::with_capacity(found.len());
        for &ip in found.iter() {
            let target = SocketAddr::new(ip, port);
            self.own.check(target)?;
            if let Some(source) = self.source_for(ip, destination) {
                targets.push((target, source));
            }
        }
        if targets.is_empty() {
            return Err(DialError::NoSourceAddress { host: host() });
        }
        first_to_connect(targets).await
    }

    /// The address to dial from, by turns. Outer none: there is no entry of the family.
    fn source_for(&self, target: IpAddr, destination: &Destination) -> Option<Option<IpAddr>> {
        let sources = &destination.source_ips;
        if sources.is_empty() {
            return Some(None);
        }
        let same_family = || {
            sources
                .iter()
                .filter(|source| source.is_ipv4() == target.is_ipv4())
        };
        let count = same_family().count();
        let turn = {
            let mut turns = self.turns.lock();
            let turns = turns.entry(destination.name.clone()).or_default();
            let turn = if target.is_ipv4() {
                &mut turns.v4
            } else {
                &mut turns.v6
            };
            std::mem::replace(turn, turn.wrapping_add(1))
        };
        same_family().nth(turn.checked_rem(count)?).copied().map(Some)
    }
}

/// Tries the addresses in order; each gets a head start before the next is tried beside it.
async fn first_to_connect(targets: Vec<(SocketAddr, Option<IpAddr>)>) -> Result<Connected, DialError> {
    let mut waiting = targets.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last_error = None;
    loop {
        if let Some((target, source)) = waiting.next() {
            attempts.push(attempt(target, source));
        }
        let more = waiting.len() > 0;
        let head_start = async {
            match more {
                true => tokio::time::sleep(NEXT_ATTEMPT_AFTER).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            attempted = attempts.next() => match attempted {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => last_error = Some(error),
                None => {}
            },
            () = head_start => {}
        }
        if attempts.is_empty()
            && waiting.len() == 0
            && let Some(error) = last_error.take()
        {
            return Err(error);
        }
    }
}

async fn attempt(address: SocketAddr, source: Option<IpAddr>) -> Result<Connected, DialError> {
    let connect = async || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        socket.set_nodelay(true)?;
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let start = Instant::now();
        let tcp = socket.connect(address).await?;
        Ok(Connected {
            tcp,
            round_trip: start.elapsed(),
        })
    };
    connect().await.map_err(|error| match is_our_own(&error) {
        true => DialError::Ourselves {
            address,
            from: source,
            source: error,
        },
        false => DialError::Connect {
            address,
            source: error,
        },
    })
}

/// Errors of socket(2), bind(2) and connect(2) that come about without a word of the other side.
fn is_our_own(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(
            Errno::EMFILE
                | Errno::ENFILE
                | Errno::ENOBUFS
                | Errno::ENOMEM
                | Errno::EADDRINUSE
                | Errno::EADDRNOTAVAIL
                | Errno::EACCES
                | Errno::EPERM
        )
    )
}

#[cfg(test)]
mod tests {
    use mailswitch_config::table::destination::{Host, Verification};
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    fn destination(host: IpAddr, source_ips: &[&str]) -> Destination {
        Destination {
            name: "legacy".into(),
            host: Host::Address(host),
            tls_server_name: None,
            verification: Verification::Platform,
            client_certificate: None,
            source_ips: source_ips
                .iter()
                .map(|ip| ip.parse().expect("an address"))
                .collect(),
            forwarded: false,
            hide_auth_errors: false,
            allow_plaintext_auth: true,
            endpoints: Default::default(),
        }
    }

    async fn backend() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("its address");
        (listener, address)
    }

    #[tokio::test]
    async fn connections_come_from_the_configured_addresses_by_turns() {
        let (listener, address) = backend().await;
        let destination = destination(address.ip(), &["127.0.0.7", "::1", "127.0.0.8"]);
        let dialler = Dialler::default();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let _connected = dialler
                .connect(&destination, address.port())
                .await
                .expect("a connection");
            seen.push(listener.accept().await.expect("a connection").1.ip().to_string());
        }
        seen.sort();
        assert_eq!(seen, ["127.0.0.7", "127.0.0.7", "127.0.0.8", "127.0.0.8"]);
    }

    #[test]
    fn each_destination_goes_round_its_own_addresses_of_each_family() {
        let addresses = [
            "192.0.2.1",
            "2001:db8::1",
            "192.0.2.2",
            "2001:db8::2",
            "2001:db8::3",
        ];
        let legacy = destination(IpAddr::from([192, 0, 2, 9]), &addresses);
        let mut other = legacy.clone();
        other.name = "other".into();
        let dialler = Dialler::default();
        let mut seen = Vec::new();
        for target in ["192.0.2.9", "2001:db8::9"].repeat(3) {
            // Both families in one dial, and another destination in between, take nobody's turn.
            let target = target.parse().expect("an address");
            dialler.source_for(target, &other);
            let source = dialler.source_for(target, &legacy).flatten();
            seen.push(source.expect("an address").to_string());
        }
        let expected = [
            "192.0.2.1",
            "2001:db8::1",
            "192.0.2.2",
            "2001:db8::2",
            "192.0.2.1",
            "2001:db8::3",
        ];
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_source_address_that_this_machine_does_not_have_is_our_own_fault_and_is_named() {
        let (_listener, address) = backend().await;
        let error = Dialler::default()
            .connect(&destination(address.ip(), &["192.0.2.77"]), address.port())
            .await
            .expect_err("it cannot be bound");
        assert!(matches!(error, DialError::Ourselves { .. }), "{error:?}");
        assert!(error.to_string().contains("192.0.2.77"), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_listener_of_ours_is_a_loop() {
        let (_listener, address) = backend().await;
        let own = OwnListeners::new(vec![address]);
        let by_name = Destination {
            host: Host::Name("localhost".to_owned()),
            ..destination(address.ip(), &[])
        };
        let dialled = Dialler::new(own).connect(&by_name, address.port()).await;
        assert!(matches!(dialled, Err(DialError::Loop(_))), "{dialled:?}");
    }

    #[tokio::test]
    async fn without_a_source_address_of_the_family_nothing_is_dialled() {
        let (_listener, address) = backend().await;
        let error = Dialler::default()
            .connect(&destination(address.ip(), &["::1"]), address.port())
            .await;
        assert!(
            matches!(error, Err(DialError::NoSourceAddress { .. })),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_stop_the_next_one() {
        let (gone, refuses) = backend().await;
        drop(gone);
        let (_listener, answers) = backend().await;
        let connected = first_to_connect(vec![(refuses, None), (answers, None)])
            .await
            .expect("a connection");
        assert_eq!(connected.tcp.peer_addr().expect("its address"), answers);
        let error = first_to_connect(vec![(refuses, None)])
            .await
            .expect_err("nobody answers");
        assert!(error.to_string().contains(&refuses.to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_leg_that_is_dropped_is_reset_so_that_the_backend_discards_what_is_queued() {
        let (listener, address) = backend().await;
        let dialler = Dialler::default();
        let connected = dialler
            .connect(&destination(address.ip(), &[]), address.port())
            .await;
        let (mut seen, _) = listener.accept().await.expect("a connection");
        drop(connected.expect("a connection"));
        let error = seen.read(&mut [0]).await.expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
