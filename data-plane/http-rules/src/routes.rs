//! Where a request goes by its path (behaviour 8.2): the first route in the file's order whose pattern matches.

use mailswitch_config::DestinationName;
use mailswitch_config::pattern::{self, InvalidPattern};
use mailswitch_config::table::http::{Http, HttpRoute, RouteFallback, RouteTarget};
use regex::bytes::Regex;

use crate::extract::{Extractor, InvalidExtractor};

/// All routes, ready to match.
#[derive(Debug, Clone, Default)]
pub struct Routes(Vec<Route>);

/// One `[[http.route]]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Which of the file's routes it is, counted from 0.
    pub index: usize,
    /// Where its requests go.
    pub target: Target,
    pattern: Regex,
}

/// Where the requests of a route go.
#[derive(Debug, Clone)]
pub enum Target {
    /// Always there; no mapping is looked up.
    Pinned(DestinationName),
    /// By the account that the request names. It names none: to the fallback. It names one without a mapping: to the
    /// default destination, *not* to the fallback.
    ByAccount(Extractor, RouteFallback),
    /// Always to the fallback.
    Fallback(RouteFallback),
}

/// A route that cannot be used. The check of a file (V19) finds all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("http.route {index} cannot be used: {why}")]
pub struct InvalidRoute {
    index: usize,
    #[source]
    why: WhyInvalid,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum WhyInvalid {
    #[error("its match is no pattern: {0}")]
    Pattern(#[from] InvalidPattern),
    #[error(transparent)]
    Extractor(#[from] InvalidExtractor),
}

impl Routes {
    /// Of a checked configuration.
    ///
    /// # Errors
    /// When a pattern or a regular expression cannot be read.
    pub fn compile(http: &Http) -> Result<Self, InvalidRoute> {
        http.routes
            .iter()
            .map(Route::compile)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The route of a path as received, without its query. None: 404.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Route> {
        let bare = without_trailing_slashes(path);
        self.0
            .iter()
            .find(|route| route.matches(path) || (bare != path && route.matches(bare)))
    }
}

/// `/` stays `/`.
fn without_trailing_slashes(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.starts_with('/') => "/",
        bare => bare,
    }
}

impl Route {
    fn compile(route: &HttpRoute) -> Result<Self, InvalidRoute> {
        let invalid = |why| InvalidRoute {
            index: route.index,
            why,
        };
        let pattern = pattern::compile(&route.pattern).map_err(|error| invalid(error.into()))?;
        let target = match &route.target {
            RouteTarget::Pinned(destination) => Target::Pinned(destination.clone()),
            RouteTarget::Extracted(extract, fallback) => Target::ByAccount(
                Extractor::compile(extract).map_err(|error| invalid(error.into()))?,
                fallback.clone(),
            ),
            RouteTarget::Fallback(fallback) => Target::Fallback(fallback.clone()),
        };
        Ok(Self {
            index: route.index,
            target,
            pattern,
        })
    }

    fn matches(&self, path: &str) -> bool {
        self.pattern.is_match(path.as_bytes())
    }
}
