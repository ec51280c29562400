//! `[telemetry]`: where traces and metrics go, and how logs look (design section 8). The same table in a node's and
//! a control plane's file.

use crate::protocol::keyword;
use crate::read::{TableReader, url, value};

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// OTLP over gRPC, `http://HOST:4317`; none: nothing is sent.
    pub otlp_endpoint: Option<String>,
    /// How people's logins appear in logs, traces and `session list`.
    pub identifiers: Identifiers,
    /// Of the traces that start here, this share is kept; between 0 and 1. A caller's own choice wins.
    pub sample_ratio: f64,
    /// How lines on stdout look.
    pub log_format: LogFormat,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            identifiers: Identifiers::Redacted,
            sample_ratio: 1.0,
            log_format: LogFormat::Logfmt,
        }
    }
}

keyword! {
    /// How a login appears in logs and traces.
    Identifiers {
        /// A short prefix and a keyed tag: `al***#1a2b`.
        Redacted = "redacted",
        /// As it is.
        Plain = "plain",
    }
}

keyword! {
    /// How log lines look.
    LogFormat {
        /// `key=value` pairs.
        Logfmt = "logfmt",
        /// One JSON object a line.
        Json = "json",
    }
}

impl Telemetry {
    pub(crate) fn read(mut table: TableReader<'_, '_>) -> Self {
        let absent = Self::default();
        let telemetry = Self {
            otlp_endpoint: table.get("otlp_endpoint", |node| {
                url::http(node, &["http"], "http://collector.example.org:4317")
            }),
            identifiers: table.keyword("identifiers", absent.identifiers),
            sample_ratio: table
                .get("sample_ratio", value::ratio)
                .unwrap_or(absent.sample_ratio),
            log_format: table.keyword("log_format", absent.log_format),
        };
        table.finish();
        telemetry
    }
}
