#![no_main]
//! Whatever a pattern and a path are: no panic, no pattern that the check accepts and a node does not, and trailing slashes
//! never lose a route.

use libfuzzer_sys::fuzz_target;
use mailswitch_config::pattern;
use mailswitch_config::table::http::{Http, HttpRoute, RouteFallback, RouteTarget};
use mailswitch_http_rules::Routes;

fuzz_target!(|data: &str| {
    let mut lines = data.lines();
    let path = lines.next().unwrap_or_default();
    let patterns: Vec<&str> = lines.take(8).collect();
    let routes: Vec<HttpRoute> = patterns
        .iter()
        .filter(|pattern| pattern::compile(pattern).is_ok())
        .enumerate()
        .map(|(index, pattern)| HttpRoute {
            index,
            pattern: (*pattern).to_owned(),
            target: RouteTarget::Fallback(RouteFallback::Default),
        })
        .collect();
    let routes = Routes::compile(&Http {
        routes,
        ..Http::default()
    })
    .expect("each of them was checked");
    let index = |path: &str| routes.find(path).map_or(usize::MAX, |route| route.index);
    if !path.is_empty() && !path.ends_with('/') {
        assert!(index(&format!("{path}/")) <= index(path));
    }
});
