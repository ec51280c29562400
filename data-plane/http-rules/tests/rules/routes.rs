//! Behaviour 8.2: which route a path takes.

use mailswitch_config::table::http::{Http, HttpRoute, RouteFallback, RouteTarget};
use mailswitch_http_rules::Routes;
use proptest::prelude::*;

fn routes(patterns: &[&str]) -> Routes {
    let routes = patterns
        .iter()
        .enumerate()
        .map(|(index, pattern)| HttpRoute {
            index,
            pattern: (*pattern).to_owned(),
            target: RouteTarget::Fallback(RouteFallback::Default),
        })
        .collect();
    Routes::compile(&Http {
        routes,
        ..Http::default()
    })
    .expect("patterns")
}

fn matches(pattern: &str, path: &str) -> bool {
    routes(&[pattern]).find(path).is_some()
}

#[test]
fn each_kind_of_pattern_matches_what_it_says_and_the_whole_path() {
    for (pattern, yes, no) in [
        (
            "/a",
            &["/a", "/a/", "/a//"][..],
            &["/a/b", "/ab", "/A", "/", "x/a"][..],
        ),
        // One character, any run: both cross slashes.
        ("/a?b", &["/axb", "/a/b", "/a?b"], &["/ab", "/axxb"]),
        ("/a*b", &["/ab", "/axb", "/a/x/b"], &["/a", "/abx"]),
        ("/x*", &["/x", "/x/", "/x/y/z"], &["/y"]),
        ("/[ab]", &["/a", "/b"], &["/c", "/ab"]),
        ("/[!a-z]", &["/A", "/1"], &["/a", "/z"]),
        ("/{a,b}", &["/a", "/b", "/a/"], &["/c", "/a,b"]),
        ("/{a,{b,c}d}", &["/a", "/bd", "/cd"], &["/b", "/ad"]),
        ("/x{a,}", &["/xa"], &["/x"]),
        ("/a\\*", &["/a*"], &["/ab"]),
        ("/a\\{b\\}", &["/a{b}"], &["/ab"]),
        // At the end: the slash and what is below it. The bare parent is not below itself.
        (
            "/jmap/**",
            &["/jmap/x", "/jmap/x/y", "/jmap//x"],
            &["/jmap", "/jmapx"],
        ),
        ("**/x", &["/x", "/a/x", "/a/b/x", "x"], &["/xx", "/a/xy"]),
        ("/a/**/z", &["/a/z", "/a/b/z", "/a/b/c/z"], &["/az", "/a/bz"]),
        // No whole component: as one star.
        ("/a**z", &["/az", "/a/b/z"], &["/a"]),
        ("/**", &["/", "/x", "/x/y"], &[]),
        ("/", &["/", "//", "///"], &["/x"]),
        ("/caf%C3%A9", &["/caf%C3%A9"], &["/caf%c3%a9", "/café"]),
        (
            "/.well-known/jmap",
            &["/.well-known/jmap"],
            &["/xwell-known/jmap"],
        ),
    ] {
        for path in yes {
            assert!(matches(pattern, path), "{pattern} should match {path}");
        }
        for path in no {
            assert!(!matches(pattern, path), "{pattern} should not match {path}");
        }
    }
}

#[test]
fn a_trailing_slash_is_below_the_parent_as_received() {
    // `/jmap/` as received matches `/jmap/**`, though `/jmap` does not.
    assert!(matches("/jmap/**", "/jmap/"));
}

#[test]
fn the_lowest_rule_wins_over_both_forms_of_the_path() {
    let routes = routes(&["/a/", "/a", "/b", "/b/", "/**"]);
    for (path, index) in [
        ("/a", 1),
        ("/a/", 0),
        ("/b", 2),
        ("/b/", 2),
        ("/b//", 2),
        ("/c/", 4),
    ] {
        assert_eq!(routes.find(path).map(|route| route.index), Some(index), "{path}");
    }
}

#[test]
fn what_no_rule_matches_has_no_route() {
    assert!(routes(&["/a", "/b/**"]).find("/c").is_none());
    assert!(routes(&[]).find("/").is_none());
    assert!(!matches("/**", "*"));
}

#[test]
fn the_routes_of_the_example_with_two_web_interfaces_split_as_written() {
    let routes = routes(&[
        "/api/oauth",
        "/authorize",
        "/authorize/**",
        "/{admin,account,api/discover}/**",
        "/{login,device,api/auth}",
        "/auth/token",
        "/**",
    ]);
    for (path, index) in [
        ("/api/oauth", 0),
        ("/authorize", 1),
        ("/authorize/", 1),
        ("/authorize/code", 2),
        ("/admin/", 3),
        ("/api/discover/x", 3),
        ("/admin", 6),
        ("/login", 4),
        ("/api/auth", 4),
        ("/api/auth/x", 6),
        ("/auth/token", 5),
        ("/jmap", 6),
        ("/", 6),
    ] {
        assert_eq!(routes.find(path).map(|route| route.index), Some(index), "{path}");
    }
}

proptest! {
    /// A literal pattern matches its own path and no other.
    #[test]
    fn a_path_is_its_own_pattern(path in "/[a-z0-9./%_~-]{0,20}", other in "/[a-z]{0,6}") {
        prop_assert!(matches(&path, &path));
        let bare = |path: &str| path.trim_end_matches('/').to_owned();
        if bare(&path) != bare(&other) {
            prop_assert!(!matches(&path, &other));
        }
    }

    /// Trailing slashes never lose a route that the path without them has.
    #[test]
    fn trailing_slashes_find_at_least_what_the_bare_path_finds(
        patterns in prop::collection::vec("/[ab*?]{0,4}(/\\*\\*)?", 1..4),
        path in "(/[ab]{1,2}){1,3}",
        slashes in 1..3_usize,
    ) {
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let routes = routes(&patterns);
        let index = |path: &str| routes.find(path).map_or(usize::MAX, |route| route.index);
        let slashed = path.clone() + &"/".repeat(slashes);
        prop_assert!(index(&slashed) <= index(&path));
    }
}
