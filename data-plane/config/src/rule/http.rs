//! V1 and V20 of routes, V25 of HTTP listeners, and what `fallback = "default"` means.

use mailswitch_proto::identifier::Normalization;

use super::Facts;
use super::routing::check_declared;
use crate::protocol::Protocol;
use crate::read::Place;
use crate::table::http::{Http, RouteFallback, RouteTarget};

pub(super) fn check(facts: &Facts<'_, '_>) {
    for route in &facts.fleet.http.routes {
        let place = Place::of(["http", "route"]).index(route.index);
        match &route.target {
            RouteTarget::Pinned(name) => check_target(facts, &place.key("destination"), name.as_str()),
            RouteTarget::Extracted(_, RouteFallback::Destination(name))
            | RouteTarget::Fallback(RouteFallback::Destination(name)) => {
                check_target(facts, &place.key("fallback"), name.as_str());
            }
            RouteTarget::Extracted(_, RouteFallback::Default)
            | RouteTarget::Fallback(RouteFallback::Default) => {}
        }
    }
    check_listeners(facts);
}

fn check_target(facts: &Facts<'_, '_>, place: &Place, name: &str) {
    check_declared(facts, place, name);
    let Some(destination) = facts.fleet.destination(name) else {
        return;
    };
    let leg = super::routing::leg_place(destination, Protocol::Http);
    if !destination.endpoints.contains_key(&Protocol::Http) && !facts.report.has_errors_under(&leg) {
        facts.report.error(
            place,
            format!("destination \"{name}\" has no http"),
            format!("add {}", super::routing::leg_example(destination, Protocol::Http)),
        );
    }
}

fn check_listeners(facts: &Facts<'_, '_>) {
    let Some(listeners) = facts.serving(Protocol::Http) else {
        return;
    };
    let place = facts
        .listeners
        .iter()
        .find(|listener| listener.protocol == Protocol::Http)
        .and_then(|listener| listener.place.clone())
        .unwrap_or_else(|| Place::of(["http"]));
    if facts.fleet.http.routes.is_empty() && !facts.report.has_errors_under(&Place::of(["http", "route"])) {
        facts.report.warning(
            &place,
            format!("there is no route, so {listeners} answers 404 to everything"),
            "add [[http.route]] with match = \"/**\"",
        );
    }
    if facts.fleet.normalization == Normalization::AsPresented {
        facts.report.warning(
            &Place::of(["mapping", "normalize"]),
            format!("logins at {listeners} are lower-cased, those over mail are not: they may go to different places"),
            "write normalize = \"lowercase\"",
        );
    }
}

/// The literal `default` is the default destination, unless a destination of that name exists.
pub(crate) fn resolve_fallbacks(http: &mut Http, declared: &[&str]) {
    if declared.contains(&"default") {
        return;
    }
    for route in &mut http.routes {
        if let RouteTarget::Extracted(_, fallback) | RouteTarget::Fallback(fallback) = &mut route.target
            && matches!(fallback, RouteFallback::Destination(name) if name.as_str() == "default")
        {
            *fallback = RouteFallback::Default;
        }
    }
}
