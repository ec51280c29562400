//! `[server]`: process-wide limits (configuration 3.1).

use std::time::Duration;

/// `[server]` of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Worker threads of the runtime; 0: one per processor.
    pub threads: usize,
    /// The name in greetings and in what is forwarded; none: the address of the local socket in greetings, and
    /// `proxy` as the last-resort argument of EHLO toward backends.
    pub hostname: Option<String>,
    /// Drain time after the stop signal.
    pub shutdown_grace: Duration,
    /// A bridge with no byte in either direction for this long is closed.
    pub bridge_idle: Duration,
    /// One budget from connect to handshake, retries included; a second, equal one for the answer to the login.
    pub backend_timeout: Duration,
    /// Extra attempts after a failure that can be retried.
    pub backend_connect_retries: u32,
    /// Consecutive failures that open the breaker; 0: no breaker.
    pub host_down_threshold: u32,
    /// Distinct client addresses that a streak of client-attributed failures must span; 0: failures alone count.
    pub host_down_min_clients: u32,
    /// How long a destination is marked down before one probe.
    pub host_down_cooldown: Duration,
    /// First hop count of XCLIENT and ID.
    pub proxy_ttl: u32,
    /// `info`, or a filter such as `info,mailswitch=debug`. `RUST_LOG` replaces it.
    pub log_level: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            threads: 0,
            hostname: None,
            shutdown_grace: Duration::from_secs(30),
            bridge_idle: Duration::from_secs(1800),
            backend_timeout: Duration::from_secs(10),
            backend_connect_retries: 1,
            host_down_threshold: 5,
            host_down_min_clients: 2,
            host_down_cooldown: Duration::from_secs(30),
            proxy_ttl: 7,
            log_level: "info".to_owned(),
        }
    }
}
