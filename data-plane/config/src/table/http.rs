//! `[http]` and `[[http.route]]`: limits of HTTP, and where requests go (configuration 3.8).

use std::time::Duration;

use crate::name::DestinationName;
use crate::protocol::keyword;

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
