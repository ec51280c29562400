//! Where a request goes (behaviour 8.2): by its path, by whom it names, and where it goes when it names nobody.

use anyhow::Result;
use base64::Engine as _;
use mailswitch_tests::{
    http::{
        recorder::{Asked, Recorder, Reply},
        web::{at, route},
    },
    lone::Lone,
    when::wait_until,
};

use super::{ALICE, BOB, SOON, Scene, answer, ask, basic, dial};

/// Four backends that say their names, and the routes of a test between them.
fn node(scene: &Scene, http: &str) -> Result<(Lone, Vec<Recorder>)> {
    let mut tables = String::new();
    let mut backends = Vec::new();
    for name in ["legacy", "new", "third"] {
        let backend = Recorder::named(&scene.place, name)?;
        tables += &at(name, backend.address, "plain", "forwarding = \"none\"\n");
        backends.push(backend);
    }
    tables += "[destination.mailonly]\nhost = \"127.0.0.1\"\ntls_server_name = \"x.test\"\n\
               [destination.mailonly.protocol]\nimap = { port = 993, tls = \"implicit\" }\n";
    let moved = format!("{ALICE} new\nwebui new\nka@x.example new\ngone@example.org mailonly\n");
    Ok((scene.node(&format!("{tables}{http}"), &moved)?, backends))
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: mail.example\r\n{fields}\r\n")
}

fn post(target: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: mail.example\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn bearer(payload: &str) -> String {
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(payload);
    format!("Authorization: Bearer h.{payload}.s\r\n")
}

#[test]
fn the_first_route_in_the_files_order_decides_also_without_trailing_slashes() -> Result<()> {
    let scene = Scene::new()?;
    let routes = [
        route("/authorize", "destination = \"third\""),
        route("/authorize/**", "destination = \"new\""),
        route("/{admin,account,api/discover}/**", "destination = \"new\""),
        route("/x*", "destination = \"legacy\""),
        route("/xy", "destination = \"third\""),
        route("/caf%C3%A9", "destination = \"third\""),
        route("/[!a-z]", "destination = \"new\""),
        route(
            "/**",
            "extract = { from = \"authorization\" }\nfallback = \"default\"",
        ),
    ]
    .concat();
    let (node, _backends) = node(&scene, &routes)?;
    for (target, expected) in [
        ("/authorize", "third"),
        // The bare path matches an earlier route than the path as received.
        ("/authorize/", "third"),
        ("/authorize/a/b?x=/admin/", "new"),
        ("/admin/x", "new"),
        ("/admin", "legacy"),
        ("/ADMIN/x", "legacy"),
        ("/xy", "legacy"),
        ("/x/y/z", "legacy"),
        ("/caf%C3%A9", "third"),
        ("/caf%c3%a9", "legacy"),
        ("/7", "new"),
        ("/", "legacy"),
        ("http://mail.example/admin/x", "new"),
    ] {
        let got = ask(&node, &get(target, ""))?;
        assert_eq!((got.status, got.body.as_str()), (200, expected), "{target}");
    }
    Ok(())
}

#[test]
fn a_path_without_a_route_is_404_and_the_connection_is_closed() -> Result<()> {
    let scene = Scene::new()?;
    let (node, backends) = node(&scene, &route("/mail/**", "destination = \"new\""))?;
    let mut raw = dial(&node)?;
    raw.send(get("/other", ""))?;
    let got = answer(&mut raw)?;
    assert_eq!((got.status, got.body.as_str()), (404, "404 Not Found"));
    assert_eq!(got.header("content-type"), Some("text/plain"));
    assert_eq!(got.header("connection"), Some("close"));
    assert_eq!(raw.rest()?, "");
    assert!(backends.iter().all(|backend| backend.asked().is_empty()));
    Ok(())
}

#[test]
fn a_request_follows_the_account_that_its_authorization_names() -> Result<()> {
    let scene = Scene::new()?;
    let (node, _backends) = node(
        &scene,
        &route(
            "/**",
            "extract = { from = \"authorization\" }\nfallback = \"third\"",
        ),
    )?;
    let footer = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(ALICE);
    for (fields, expected) in [
        (basic(ALICE), "new"),
        (basic("Alice@Example.ORG"), "new"),
        // A master user's suffix is cut off.
        (basic("alice@example.org%root"), "new"),
        (basic(BOB), "legacy"),
        (bearer(&format!("{{\"email\":\"{ALICE}\"}}")), "new"),
        (bearer(&format!("{{\"sub\":\"{BOB}\"}}")), "legacy"),
        (format!("authorization: bearer sw1.b.{footer}\r\n"), "new"),
        // Named, and without a mapping: the default destination, not the fallback.
        (basic("nobody@example.org"), "legacy"),
        // Nobody is named: the fallback.
        (String::new(), "third"),
        ("Authorization: Bearer opaque\r\n".to_owned(), "third"),
        ("Authorization: Bearer sw1.b.!!\r\n".to_owned(), "third"),
        (bearer("{\"sub\":\"4711\"}"), "third"),
        (
            "Authorization: Digest username=\"alice@example.org\"\r\n".to_owned(),
            "third",
        ),
    ] {
        let got = ask(&node, &get("/x", &fields))?;
        assert_eq!((got.status, got.body.as_str()), (200, expected), "{fields}");
    }
    Ok(())
}

#[test]
fn a_request_follows_what_a_parameter_or_a_field_names() -> Result<()> {
    let scene = Scene::new()?;
    let routes = [
        route(
            "/query",
            "extract = { from = \"query\", param = \"account\" }\nfallback = \"third\"",
        ),
        route(
            "/field",
            "extract = { from = \"header\", header = \"X-Account\" }\nfallback = \"third\"",
        ),
    ]
    .concat();
    let (node, _backends) = node(&scene, &routes)?;
    for (target, fields, expected) in [
        ("/query?account=alice%40example.org", "", "new"),
        ("/query?a=b&account=ALICE@example.org&account=bob", "", "new"),
        ("/query?account=k%61@x.example", "", "new"),
        ("/query?account=bob", "", "legacy"),
        ("/query?accounts=alice@example.org", "", "third"),
        ("/query", "", "third"),
        ("/field", "X-Account: alice@example.org\r\n", "new"),
        (
            "/field",
            "x-account: alice@example.org\r\nX-Account: bob\r\n",
            "new",
        ),
        ("/field", "X-Account: bob\r\n", "legacy"),
        ("/field", "", "third"),
    ] {
        let got = ask(&node, &get(target, fields))?;
        assert_eq!(
            (got.status, got.body.as_str()),
            (200, expected),
            "{target} {fields}"
        );
    }
    Ok(())
}

#[test]
fn better_than_the_reference_a_body_names_the_account_also_when_it_is_chunked_binary_or_cut() -> Result<()> {
    let scene = Scene::new()?;
    let routes = "[http]\nbody_extract_cap = 64\n".to_owned()
        + &route(
            "/auth/token",
            "extract = { from = \"body\", regex = \"client_id=([^&]+)\" }\nfallback = \"third\"",
        );
    let (node, backends) = node(&scene, &routes)?;
    let long = "z".repeat(100_000);
    for (body, expected) in [
        ("grant=x&client_id=webui&y=z", 1),
        ("client_id=alice%40example.org", 1),
        ("client_id=other", 0),
        ("nothing", 2),
        ("", 2),
        ("\u{1}\u{fffd}client_id=webui", 1),
        (&format!("client_id=webui&{long}"), 1),
        // Behind what is looked at.
        (&format!("{long}&client_id=webui"), 2),
    ] {
        let chunked: String = body
            .as_bytes()
            .chunks(7)
            .map(|piece| format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)))
            .collect();
        let by_length = post("/auth/token", body);
        let by_chunks = format!(
            "POST /auth/token HTTP/1.1\r\nHost: mail.example\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n"
        );
        let requests = if body.is_ascii() {
            vec![by_length, by_chunks]
        } else {
            vec![by_length]
        };
        for request in requests {
            let before = backends[expected].asked().len();
            let got = ask(&node, &request)?;
            assert_eq!(got.status, 200, "{body:.40}");
            let asked: Vec<Asked> = backends[expected].asked().split_off(before);
            assert_eq!(asked.len(), 1, "{body:.40}");
            assert_eq!(String::from_utf8_lossy(&asked[0].body), body, "{body:.40}");
        }
    }
    assert_eq!(
        backends.iter().flat_map(Recorder::faults).collect::<Vec<_>>(),
        Vec::<String>::new()
    );
    Ok(())
}

#[test]
fn a_body_that_names_nobody_in_time_is_not_waited_for_for_ever() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let port = scene.place.port(scene.place.address(2))?;
    let tables = at("legacy", backend.address, "plain", "forwarding = \"none\"\n")
        + &format!(
            "[listener.quick]\nprotocol = \"http\"\nbind = [\"{port}\"]\ntls = \"plain\"\npreauth_timeout = \"1s\"\n"
        )
        + &route("/**", "extract = { from = \"body\", regex = \"id=([^&]+)\" }");
    let _node = scene.node(&tables, "")?;
    let mut raw = mailswitch_tests::raw::Raw::connect(port)?;
    raw.send("POST / HTTP/1.1\r\nHost: mail.example\r\nContent-Length: 50\r\n\r\nid")?;
    assert_eq!(answer(&mut raw)?.status, 408);
    assert_eq!(raw.rest()?, "");
    assert!(backend.asked().is_empty());
    Ok(())
}

#[test]
fn better_than_the_reference_a_login_that_is_no_identifier_is_400_and_goes_nowhere() -> Result<()> {
    let scene = Scene::new()?;
    let routes = [
        route("/query", "extract = { from = \"query\", param = \"account\" }"),
        route("/**", "extract = { from = \"authorization\" }"),
    ]
    .concat();
    let (node, backends) = node(&scene, &routes)?;
    for (target, fields) in [
        ("/", basic("a b")),
        ("/", basic("")),
        ("/", basic("%root")),
        ("/", basic("a\"b")),
        ("/", basic("a\u{1}b")),
        ("/", basic(&"a".repeat(1025))),
        ("/", "Authorization: Basic ****\r\n".to_owned()),
        ("/", format!("{}{}", basic(ALICE), basic(BOB))),
        ("/query?account=a%00b", String::new()),
        ("/query?account=", String::new()),
    ] {
        let mut raw = dial(&node)?;
        raw.send(get(target, &fields))?;
        let got = answer(&mut raw)?;
        assert_eq!(
            (got.status, got.body.as_str()),
            (400, "400 Bad Request"),
            "{target} {fields}"
        );
        assert_eq!(raw.rest()?, "", "{target} {fields}");
    }
    assert!(backends.iter().all(|backend| backend.asked().is_empty()));
    Ok(())
}

#[test]
fn a_destination_without_http_is_502_and_no_failure_of_its_health() -> Result<()> {
    let scene = Scene::new()?;
    let (node, _backends) = node(&scene, &route("/**", "extract = { from = \"authorization\" }"))?;
    for _ in 0..8 {
        let got = ask(&node, &get("/", &basic("gone@example.org")))?;
        // Never 503: a missing endpoint does not open the breaker.
        assert_eq!(got.status, 502);
    }
    Ok(())
}

#[test]
fn better_than_the_reference_one_connection_serves_accounts_of_several_destinations() -> Result<()> {
    let scene = Scene::new()?;
    let (node, backends) = node(&scene, &route("/**", "extract = { from = \"authorization\" }"))?;
    let mut raw = dial(&node)?;
    for round in 0..3 {
        for (user, expected) in [(ALICE, "new"), (BOB, "legacy")] {
            raw.send(get("/", &basic(user)))?;
            let got = answer(&mut raw)?;
            // 421 is never said.
            assert_eq!(
                (got.status, got.body.as_str()),
                (200, expected),
                "{user}, round {round}"
            );
        }
    }
    // Each destination was connected to once.
    for backend in &backends[..2] {
        assert_eq!(backend.bytes().len(), 1);
    }
    drop(raw);
    wait_until("the backends' connections end with the client's", SOON, || {
        backends.iter().all(|backend| backend.open() == 0)
    })
}

#[test]
fn a_backends_connection_never_carries_two_clients() -> Result<()> {
    let scene = Scene::new()?;
    let seen = Recorder::start(&scene.place, |_| Reply::ok("legacy"))?;
    let node = scene.recorded(&seen, "")?;
    for _ in 0..3 {
        assert_eq!(ask(&node, &get("/", &basic(BOB)))?.status, 200);
    }
    assert_eq!(seen.bytes().len(), 3);
    Ok(())
}
