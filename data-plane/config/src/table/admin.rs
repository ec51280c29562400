//! `[admin]`: the node's own management API (configuration 3.9).

use std::net::SocketAddr;
use std::time::Duration;

use crate::secret::Secret;

/// `[admin]`. Always TLS from the first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// One socket.
    pub bind: SocketAddr,
    /// From `PROXY_ADMIN_TOKEN`, else `bearer_token_file`, else `bearer_token`; at least `min_token_len` long.
    pub token: Secret,
    /// Failures of one address before it is locked out; at least 1.
    pub lockout_threshold: u32,
    /// How long.
    pub lockout_duration: Duration,
}

impl Admin {
    /// `min_token_len` when the file has none.
    pub const MIN_TOKEN_LEN: usize = 32;
    /// `lockout_threshold` when the file has none.
    pub const LOCKOUT_THRESHOLD: u32 = 5;
    /// `lockout_duration` when the file has none.
    pub const LOCKOUT_DURATION: Duration = Duration::from_secs(300);
}
