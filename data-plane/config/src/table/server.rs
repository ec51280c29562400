//! `[server]`: process-wide limits (configuration 3.1).

use std::time::Duration;

use crate::read::{Node, TableReader, Wrong, value};

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

impl Server {
    pub(crate) fn read(mut table: TableReader<'_, '_>) -> Self {
        let absent = Self::default();
        let server = Self {
            threads: table.number("threads", absent.threads, 0, MAX_THREADS),
            hostname: table.get("hostname", hostname),
            shutdown_grace: table.duration("shutdown_grace", absent.shutdown_grace),
            bridge_idle: table.time_for(
                "bridge_idle",
                absent.bridge_idle,
                "every session is closed as soon as it is signed in",
            ),
            backend_timeout: table.time_for(
                "backend_timeout",
                absent.backend_timeout,
                "no backend has time to answer: no login gets through",
            ),
            backend_connect_retries: table.number(
                "backend_connect_retries",
                absent.backend_connect_retries,
                0,
                u32::MAX,
            ),
            host_down_threshold: table.number("host_down_threshold", absent.host_down_threshold, 0, u32::MAX),
            host_down_min_clients: table.number(
                "host_down_min_clients",
                absent.host_down_min_clients,
                0,
                u32::MAX,
            ),
            host_down_cooldown: table.duration("host_down_cooldown", absent.host_down_cooldown),
            proxy_ttl: table.number("proxy_ttl", absent.proxy_ttl, 0, u32::MAX),
            log_level: log_level(&mut table).unwrap_or(absent.log_level),
        };
        table.finish();
        server
    }
}

/// More threads than any machine has processors.
pub(crate) const MAX_THREADS: usize = 4096;

/// The names of the levels.
const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];

/// None: it is absent, or no level. A single word that is none would be a filter for lines of that one target, and silence
/// all others, this warning among them.
pub(crate) fn log_level(table: &mut TableReader<'_, '_>) -> Option<String> {
    let level = table.text("log_level")?;
    let is_filter =
        level.bytes().any(|byte| !byte.is_ascii_alphanumeric()) || level.starts_with("mailswitch");
    if is_filter || LEVELS.iter().any(|known| known.eq_ignore_ascii_case(&level)) {
        return Some(level);
    }
    let meant = value::nearest(&level, LEVELS).map_or_else(
        || "write trace, debug, info, warn or error".to_owned(),
        |known| format!("did you mean \"{known}\"?"),
    );
    let message = "this is no level; it is taken for \"info\"";
    table.report.warning(&table.at("log_level"), message, meant);
    None
}

/// It stands in greetings and in EHLO: a blank or a control byte there would be another word or line.
fn hostname(node: &Node) -> Result<String, Wrong> {
    let text = value::filled(node)?;
    if text.len() <= 255 && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        Ok(text)
    } else {
        Err(Wrong::new(
            "this is no host name",
            "write one of at most 255 bytes, in ASCII, without blanks, such as \"mail.example.org\"",
        ))
    }
}
