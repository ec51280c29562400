//! `[admin]`: the node's own management API (configuration 3.9).

use std::net::SocketAddr;
use std::time::Duration;

use crate::finding::Severity;
use crate::protocol::keyword;
use crate::read::{Files, Show, TableReader, value};
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

impl Admin {
    /// None when the table is absent, or when it cannot be used (then it is reported). `token` is
    /// `PROXY_ADMIN_TOKEN`.
    pub(crate) fn read(mut table: TableReader<'_, '_>, token: Option<&str>) -> Option<Self> {
        if !table.is_present() {
            return None;
        }
        let bind = table.require(
            "bind",
            "write one address with a port: \"127.0.0.1:9443\"",
            |node| value::parsed(node, "address with a port", "127.0.0.1:9443"),
        );
        table.keyword("tls", AdminTls::Implicit);
        let file = table.get("bearer_token_file", value::filled);
        let inline = table.get("bearer_token", value::secret);
        let min_token_len = table.number("min_token_len", Self::MIN_TOKEN_LEN, 0, MOST_TOKEN_BYTES);
        let lockout_threshold = table
            .number("lockout_threshold", Self::LOCKOUT_THRESHOLD, 0, u32::MAX)
            .max(1);
        let lockout_duration = table.duration("lockout_duration", Self::LOCKOUT_DURATION);
        let token = match (token, file) {
            (Some(token), _) => checked(
                &table,
                "PROXY_ADMIN_TOKEN",
                Secret::new(token.to_owned()),
                min_token_len,
            ),
            (None, Some(_)) if table.report.files == Files::Elsewhere => None,
            (None, Some(file)) => read_token(&table, &file)
                .and_then(|token| checked(&table, "bearer_token_file", token, min_token_len)),
            (None, None) => match inline {
                Some(token) => checked(&table, "bearer_token", token, min_token_len),
                None => {
                    if !table.report.has_errors_under(&table.place) {
                        table.report.missing(
                            &table.place,
                            "the management API has no token",
                            format!(
                                "set bearer_token_file to a file with at least {min_token_len} bytes, or \
                                 PROXY_ADMIN_TOKEN in the environment"
                            ),
                        );
                    }
                    None
                }
            },
        };
        table.finish();
        Some(Self {
            bind: bind?,
            token: token?,
            lockout_threshold,
            lockout_duration,
        })
    }
}

/// A token longer than this is a wrong file.
const MOST_TOKEN_BYTES: usize = 64 * 1024;

keyword! {
    /// The management API speaks nothing but TLS.
    AdminTls {
        /// From the first byte.
        Implicit = "implicit",
    }
}

fn read_token(table: &TableReader<'_, '_>, file: &str) -> Option<Secret> {
    match std::fs::read_to_string(file) {
        Ok(text) => Some(Secret::new(text.trim().to_owned())),
        Err(error) => {
            table.report.error(
                &table.at("bearer_token_file"),
                format!("this file cannot be read: {error}"),
                "name a file that the program's user may read",
            );
            None
        }
    }
}

/// Says how long a token has to be, never the token.
fn checked(table: &TableReader<'_, '_>, source: &str, token: Secret, least: usize) -> Option<Secret> {
    if token.expose().len() >= least && !token.expose().is_empty() {
        return Some(token);
    }
    let (place, show, what) = match source {
        "bearer_token_file" => (table.at(source), Show::Value, "the token in this file".to_owned()),
        "bearer_token" => (table.at(source), Show::Nothing, "this token".to_owned()),
        _ => (
            table.place.clone(),
            Show::Nothing,
            format!("the token in {source}"),
        ),
    };
    table.report.note(
        Severity::Error,
        &place,
        show,
        format!("{what} is shorter than {least} bytes (min_token_len)"),
        "make one with: openssl rand -hex 32".to_owned(),
    );
    None
}
