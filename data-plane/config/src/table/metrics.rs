//! `[metrics]`: plain HTTP for `/metrics`, `/readyz` and `/healthz`. Without the table nothing is bound, so that a
//! file of the reference opens no port that it does not name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::read::{TableReader, value};

/// `[metrics]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// One socket, on the loopback unless the file says otherwise: there is no TLS and no token.
    pub bind: SocketAddr,
}

impl Metrics {
    /// `bind` of a node when the table has none.
    pub const NODE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
    /// `bind` of a control plane when the table has none.
    pub const CONTROL_PLANE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9181);
}

impl Metrics {
    pub(crate) fn read(mut table: TableReader<'_, '_>, absent: SocketAddr) -> Option<Self> {
        let bind = table
            .get("bind", |node| {
                value::parsed(node, "address with a port", "127.0.0.1:9180")
            })
            .unwrap_or(absent);
        let present = table.is_present();
        table.finish();
        present.then_some(Self { bind })
    }
}
