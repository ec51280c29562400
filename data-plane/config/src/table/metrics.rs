//! `[metrics]`: plain HTTP for `/metrics`, `/readyz` and `/healthz`. Without the table nothing is bound, so that a
//! file of the reference opens no port that it does not name.

use std::net::{Ipv4Addr, SocketAddr};

/// `[metrics]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// One socket, on the loopback unless the file says otherwise: there is no TLS and no token.
    pub bind: SocketAddr,
}

impl Metrics {
    /// `bind` of a node when the table has none.
    pub const NODE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
    /// `bind` of a control plane when the table has none.
    pub const CONTROL_PLANE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9181);
}
