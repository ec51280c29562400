//! `[http]` and `[[http.route]]`: limits of HTTP, and where requests go (configuration 3.8).

use std::time::Duration;

use crate::name::DestinationName;
use crate::protocol::{choices, keyword};
use crate::read::{Node, TableReader, Wrong, glob, value};

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Bytes of a head, of a request or a response.
    pub max_head_size: usize,
    /// Bytes of a body that are buffered for `from = "body"`.
    pub body_extract_cap: usize,
    /// Idle time between requests.
    pub keepalive_timeout: Duration,
    /// Requests of one client connection; 0: no limit.
    pub max_keepalive_requests: u64,
    /// Silence allowed while a head or a body is moving.
    pub relay_idle: Duration,
    /// In the order of the file; the first match decides.
    pub routes: Vec<HttpRoute>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            max_head_size: 65_536,
            body_extract_cap: 65_536,
            keepalive_timeout: Duration::from_secs(75),
            max_keepalive_requests: 1000,
            relay_idle: Duration::from_secs(60),
            routes: Vec::new(),
        }
    }
}

/// `[[http.route]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRoute {
    /// Which of the file's routes it is, counted from 0.
    pub index: usize,
    /// `match`: a glob over the path (behaviour 8.2).
    pub pattern: String,
    /// Where its requests go.
    pub target: RouteTarget,
}

/// Where the requests of a route go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// `destination`: always there.
    Pinned(DestinationName),
    /// By the account that the request names; to the fallback when it names none.
    Extracted(Extract, RouteFallback),
    /// Neither is set: everything to the fallback.
    Fallback(RouteFallback),
}

/// `fallback`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteFallback {
    /// `routing.default_destination`.
    Default,
    /// This one.
    Destination(DestinationName),
}

/// `extract`: where in a request the account is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extract {
    /// Basic or Bearer.
    Authorization,
    /// The first parameter of this name.
    Query {
        /// Its decoded name.
        param: String,
    },
    /// The first field of this name.
    Header {
        /// Any case.
        header: String,
    },
    /// The first capture group over the start of the body.
    Body {
        /// A bytes regex that compiles and has a capture group (V19).
        regex: String,
    },
}

keyword! {
    /// `extract.from`.
    ExtractFrom {
        /// `Authorization`.
        Authorization = "authorization",
        /// A parameter.
        Query = "query",
        /// The body.
        Body = "body",
        /// A header field.
        Header = "header",
    }
}

impl Http {
    /// `[http]`, with `[[http.route]]` inside.
    pub(crate) fn read(mut table: TableReader<'_, '_>) -> Self {
        let absent = Self::default();
        let http = Self {
            max_head_size: table.number("max_head_size", absent.max_head_size, 1024, MOST_BYTES),
            body_extract_cap: table.number("body_extract_cap", absent.body_extract_cap, 0, MOST_BYTES),
            keepalive_timeout: table.duration("keepalive_timeout", absent.keepalive_timeout),
            max_keepalive_requests: table.number(
                "max_keepalive_requests",
                absent.max_keepalive_requests,
                0,
                i64::MAX.unsigned_abs(),
            ),
            relay_idle: table.time_for(
                "relay_idle",
                absent.relay_idle,
                "no request has time to be answered",
            ),
            routes: table
                .listed_tables("route")
                .into_iter()
                .enumerate()
                .map(|(index, route)| HttpRoute::read(index, route))
                .collect(),
        };
        table.finish();
        http
    }
}

/// A buffer above this is a mistake in the unit, and a way to exhaust memory.
const MOST_BYTES: usize = 64 * 1024 * 1024;

impl HttpRoute {
    fn read(index: usize, mut table: TableReader<'_, '_>) -> Self {
        let pattern = table.require(
            "match",
            "write a path pattern such as \"/jmap/**\"",
            glob::checked,
        );
        let destination = table.text("destination").map(DestinationName::from);
        let extract = Extract::read(table.table("extract"));
        let fallback = match table.text("fallback") {
            Some(name) => RouteFallback::Destination(name.into()),
            None => RouteFallback::Default,
        };
        table.finish();
        let target = match (destination, extract) {
            (Some(destination), _) => RouteTarget::Pinned(destination),
            (None, Some(extract)) => RouteTarget::Extracted(extract, fallback),
            (None, None) => RouteTarget::Fallback(fallback),
        };
        Self {
            index,
            // What was reported never leaves: the route is kept, so that its destinations are checked all the same.
            pattern: pattern.unwrap_or_default(),
            target,
        }
    }
}

impl Extract {
    fn read(mut table: TableReader<'_, '_>) -> Option<Self> {
        if !table.is_present() {
            return None;
        }
        let from = table.require(
            "from",
            &format!("write {}", choices::<ExtractFrom>()),
            value::keyword,
        );
        let param = table.text("param");
        let header = table.get("header", field_name);
        let regex = table.get("regex", regex);
        let missing = |key: &str, from: ExtractFrom| {
            if !table.report.has_errors_under(&table.at(key)) {
                table.report.missing(
                    &table.place,
                    format!("from = \"{from}\" needs {key}"),
                    format!("add {key}"),
                );
            }
        };
        let extract = match from {
            None => None,
            Some(ExtractFrom::Authorization) => Some(Self::Authorization),
            Some(from @ ExtractFrom::Query) => param.map_or_else(
                || {
                    missing("param", from);
                    None
                },
                |param| Some(Self::Query { param }),
            ),
            Some(from @ ExtractFrom::Header) => header.map_or_else(
                || {
                    missing("header", from);
                    None
                },
                |header| Some(Self::Header { header }),
            ),
            Some(from @ ExtractFrom::Body) => regex.map_or_else(
                || {
                    missing("regex", from);
                    None
                },
                |regex| Some(Self::Body { regex }),
            ),
        };
        table.finish();
        extract
    }
}

/// RFC 9110 §5.1: a token. Another one is never found in a request.
fn field_name(node: &Node) -> Result<String, Wrong> {
    let text = value::filled(node)?;
    let is_token = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if is_token {
        Ok(text)
    } else {
        Err(Wrong::new(
            "this is no name of a header field",
            "write the name alone, such as \"X-Account\"",
        ))
    }
}

fn regex(node: &Node) -> Result<String, Wrong> {
    let text = value::filled(node)?;
    let compiled = regex::bytes::Regex::new(&text).map_err(|error| {
        let why = match error {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            // The last line says what is wrong; those above draw the pattern again.
            error => error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .trim()
                .to_owned(),
        };
        Wrong::new(
            format!("this is no regular expression: {why}"),
            "correct it; see https://docs.rs/regex/1/regex/#syntax",
        )
    })?;
    if compiled.captures_len() < 2 {
        return Err(Wrong::new(
            "this regular expression has no capture group",
            "put parentheses around what names the account: \"client_id=([^&]+)\"",
        ));
    }
    Ok(text)
}
