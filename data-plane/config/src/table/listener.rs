//! `[listener.*]`: the sockets of clients (configuration 3.3).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::cidr::{Cidr, InvalidCidr};
use crate::name::ListenerName;
use crate::protocol::{Protocol, TlsMode, choices, keyword};
use crate::read::{Node, TableReader, Wrong, value};

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
    /// Over all its sockets; more are closed without a byte. With 0 all are, which is worth a warning.
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

impl Listener {
    pub(crate) fn read(name: ListenerName, mut table: TableReader<'_, '_>) -> Option<Self> {
        let protocol = table.require(
            "protocol",
            &format!("write {}", choices::<Protocol>()),
            value::keyword,
        );
        let bind = read_bind(&mut table);
        let tls = table.require("tls", &format!("write {}", choices::<TlsMode>()), value::keyword);
        let proxy_protocol = table.keyword("proxy_protocol", ProxyProtocol::Off);
        let proxy_trusted = table.list("proxy_trusted", range).unwrap_or_default();
        let max_connections = table.number("max_connections", Self::MAX_CONNECTIONS, 0, MOST_CONNECTIONS);
        if max_connections == 0 {
            table.report.warning(
                &table.at("max_connections"),
                format!("listener \"{name}\" closes every connection at once"),
                "write how many it may have, or remove the listener",
            );
        }
        let preauth_timeout = table.time_for(
            "preauth_timeout",
            Self::PREAUTH_TIMEOUT,
            &format!("nobody has time to sign in at listener \"{name}\""),
        );
        let max_auth_attempts = table
            .number("max_auth_attempts", Self::MAX_AUTH_ATTEMPTS, 0, u32::MAX)
            .max(1);
        let forwarded = table.keyword("forwarded", InboundForwarded::Off);
        table.finish();
        Some(Self {
            name,
            protocol: protocol?,
            bind,
            tls: tls?,
            proxy_protocol,
            proxy_trusted,
            max_connections,
            preauth_timeout,
            max_auth_attempts,
            forwarded,
        })
    }
}

/// More sockets than a process can have.
const MOST_CONNECTIONS: usize = 1 << 30;

fn read_bind(table: &mut TableReader<'_, '_>) -> Vec<SocketAddr> {
    let remedy = "write at least one address with its port: [\"0.0.0.0:993\", \"[::]:993\"]";
    if !table.has("bind") {
        table
            .report
            .missing(&table.at("bind"), "this listener has no address", remedy);
        return Vec::new();
    }
    let binds = table.list("bind", |node| {
        value::parsed(
            node,
            "address with a port",
            "0.0.0.0:993\", or for IPv6 \"[::]:993",
        )
    });
    if binds.as_ref().is_some_and(Vec::is_empty) && !table.report.has_errors_under(&table.at("bind")) {
        table
            .report
            .error(&table.at("bind"), "this listener has no address", remedy);
    }
    binds.unwrap_or_default()
}

fn range(node: &Node) -> Result<Cidr, Wrong> {
    value::string(node)?.parse().map_err(|mistake: InvalidCidr| {
        Wrong::new(
            format!("this address range {mistake}"),
            "write an address, or a network such as \"192.0.2.0/24\" or \"2001:db8::/32\"",
        )
    })
}
