//! `[listener.*]`: the sockets of clients (configuration 3.3).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::cidr::Cidr;
use crate::name::ListenerName;
use crate::protocol::{Protocol, TlsMode, keyword};

/// `[listener.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its key in the file.
    pub name: ListenerName,
    /// What it speaks.
    pub protocol: Protocol,
    /// At least one.
    pub bind: Vec<SocketAddr>,
    /// The client leg.
    pub tls: TlsMode,
    /// Whether a PROXY header is read.
    pub proxy_protocol: ProxyProtocol,
    /// Who may send one; not empty unless `proxy_protocol` is off. Also whose hop counts are believed.
    pub proxy_trusted: Vec<Cidr>,
    /// Over all its sockets; more are closed without a byte.
    pub max_connections: usize,
    /// Bounds the PROXY header, the TLS handshake, and the whole dialogue before login, each.
    pub preauth_timeout: Duration,
    /// Failed attempts after which the connection is closed.
    pub max_auth_attempts: u32,
    /// HTTP: what becomes of inbound `Forwarded` and `X-Forwarded-For`.
    pub forwarded: InboundForwarded,
}

impl Listener {
    /// `max_connections` when the file has none.
    pub const MAX_CONNECTIONS: usize = 8192;
    /// `preauth_timeout` when the file has none.
    pub const PREAUTH_TIMEOUT: Duration = Duration::from_secs(30);
    /// `max_auth_attempts` when the file has none.
    pub const MAX_AUTH_ATTEMPTS: u32 = 3;

    /// True when an address may announce clients.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.proxy_trusted.iter().any(|range| range.contains(address))
    }
}

keyword! {
    /// Whether a PROXY header (v1 or v2) stands before everything else.
    ProxyProtocol {
        /// Bytes are application data.
        Off = "off",
        /// From a trusted peer it is adopted when there is one.
        Optional = "optional",
        /// A connection without one from a trusted peer is closed.
        Required = "required",
    }
}

keyword! {
    /// What an HTTP listener does with a client's own `Forwarded` and `X-Forwarded-For`.
    InboundForwarded {
        /// Removed.
        Off = "off",
        /// Kept, and appended to.
        Trust = "trust",
    }
}

/// Whether an IPv6 socket also takes IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6Socket {
    /// `IPV6_V6ONLY` is set.
    Only,
    /// Dual-stack.
    Dual,
}

/// How to bind an IPv6 address: alone when any configured bind has an IPv4 address with the same port, so that
/// `0.0.0.0:P` together with `[::]:P` works (configuration 3.3).
#[must_use]
pub fn ipv6_socket(port: u16, binds: impl IntoIterator<Item = SocketAddr>) -> Ipv6Socket {
    if binds
        .into_iter()
        .any(|bind| bind.is_ipv4() && bind.port() == port)
    {
        Ipv6Socket::Only
    } else {
        Ipv6Socket::Dual
    }
}
