//! Behaviour 8.3: what may be sent again when the backend closed an idle connection under it.

use mailswitch_http_rules::Replay;

use crate::scene::received;

#[test]
fn only_what_does_no_harm_twice_is_sent_twice() {
    let body = ("content-length", "5");
    for (line, fields, expected) in [
        ("GET /", &[][..], Replay::Possible),
        ("HEAD /", &[], Replay::Possible),
        ("OPTIONS *", &[], Replay::Possible),
        ("PROPFIND /dav", &[body], Replay::WithItsBody),
        (
            "REPORT /dav",
            &[("transfer-encoding", "chunked")],
            Replay::WithItsBody,
        ),
        ("GET /", &[("if-none-match", "\"a\"")], Replay::Possible),
        ("PUT /x", &[body], Replay::WithItsBody),
        ("PUT /x", &[("content-length", "0")], Replay::Possible),
        ("DELETE /x", &[], Replay::Possible),
        ("POST /jmap", &[body], Replay::Never),
        // A framework runs it as what the field says.
        ("GET /", &[("x-http-method-override", "POST")], Replay::Never),
        ("GET /", &[("x-method-override", "DELETE")], Replay::Never),
        ("GET /", &[("x_http_method", "PUT")], Replay::Never),
        ("GET /?a=b&_method=POST", &[], Replay::Never),
        ("GET /?a=_method", &[], Replay::Possible),
        ("POST /jmap", &[], Replay::Never),
        ("PATCH /x", &[], Replay::Never),
        ("MOVE /x", &[], Replay::Never),
        ("MKCALENDAR /x", &[], Replay::Never),
        ("LOCK /x", &[], Replay::Never),
        ("get /", &[], Replay::Never),
        ("PUT /x", &[body, ("if-match", "\"a\"")], Replay::Never),
        ("PUT /x", &[body, ("if-none-match", "*")], Replay::Never),
        ("DELETE /x", &[("if", "(<t>)")], Replay::Never),
    ] {
        assert_eq!(Replay::of(&received(line, fields)), expected, "{line} {fields:?}");
    }
}
