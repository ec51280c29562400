//! Behaviour 8.1: which trailers are passed on.

use mailswitch_http_rules::relayed_trailers;

use crate::scene::{map, names};

#[test]
fn trailers_pass_except_those_that_frame_route_or_authenticate() {
    let trailers = map(&[
        ("x-sum", "1"),
        ("grpc-status", "0"),
        ("server-timing", "x"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("host", "evil"),
        ("authorization", "Basic YTpi"),
        ("cookie", "a=b"),
        ("set-cookie", "a=b"),
        ("connection", "close"),
        ("trailer", "x"),
        ("te", "trailers"),
        ("forwarded", "for=6.6.6.6"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x_forwarded_for", "6.6.6.6"),
        ("content_length", "5"),
        ("proxy-user", "bob"),
        ("x-http-method-override", "POST"),
        ("via", "1.1 x"),
        ("expect", "100-continue"),
        ("content-type", "text/html"),
    ]);
    assert_eq!(
        names(&relayed_trailers(&trailers)),
        ["grpc-status", "server-timing", "x-sum"]
    );
}
