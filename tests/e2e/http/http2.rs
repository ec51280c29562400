//! HTTP/2 toward clients: the same routes and rules, each stream a session of its own (promise A3), and nothing of its framing
//! becomes something else in HTTP/1.1.

use anyhow::Result;
use mailswitch_tests::{
    http::{
        nginx::{Nginx, Told},
        python,
        recorder::{Recorder, Reply},
        web::{BY_LOGIN, Web, at, destination},
    },
    lone::Lone,
};
use serde_json::{Value, json};

use super::{ALICE, BOB, Scene};

/// What came of requests over one connection of HTTP/2.
fn ask(scene: &Scene, node: &Lone, requests: &Value) -> Result<Vec<Value>> {
    let server = node.at("http", "implicit")?;
    let said = python::run(
        "frames.py",
        &json!({"host": server.ip(), "port": server.port(), "ca": scene.ca.pem(), "what": "requests", "requests": requests}),
    )?;
    Ok(said["answers"].as_array().cloned().unwrap_or_default())
}

#[test]
fn curl_speaks_http2_and_http1_by_its_own_choice() -> Result<()> {
    let scene = Scene::new()?;
    let web = Web::start(&scene.place, &scene.ca, "legacy")?;
    let node = scene.node(&(destination(&web, "implicit", "") + BY_LOGIN), "")?;
    let curl = scene.curl(&node)?.user(ALICE);
    for (curl, version) in [(curl.clone(), "2"), (curl.http1(), "1.1")] {
        let got = curl.with(&["--data", "hello"]).get("/echo")?;
        assert_eq!(
            (got.version.as_str(), got.status, got.body.as_str()),
            (version, 200, "hello")
        );
    }
    Ok(())
}

#[test]
fn streams_of_one_connection_serve_accounts_of_several_destinations_at_once() -> Result<()> {
    let scene = Scene::new()?;
    let legacy = Web::start(&scene.place, &scene.ca, "legacy")?;
    let new = Web::start(&scene.place, &scene.ca, "new")?;
    let tables = destination(&legacy, "implicit", "") + &destination(&new, "implicit", "") + BY_LOGIN;
    let node = scene.node(&tables, &format!("{ALICE} new\n"))?;
    let users = [ALICE, BOB, ALICE, BOB, ALICE, BOB];
    let requests: Vec<Value> = users
        .iter()
        .map(|user| json!({"path": "/wait?seconds=0.5", "user": user}))
        .collect();
    for (user, got) in users.iter().zip(ask(&scene, &node, &json!(requests))?) {
        let expected = if *user == ALICE { "new" } else { "legacy" };
        assert_eq!(got["status"], 200, "{got}");
        let body: Value = serde_json::from_str(got["body"].as_str().unwrap_or_default())?;
        assert_eq!(body, json!({"server": expected, "user": user}));
    }
    Ok(())
}

#[test]
fn nothing_of_an_http2_request_becomes_another_request_or_field_in_http1() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |asked| Reply::ok(asked.line()))?;
    let node = scene.recorded(&backend, "")?;
    let with = |more: &[(&str, &str)]| {
        let mut fields = vec![
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "mail.example"),
            (":path", "/p"),
        ];
        fields.extend_from_slice(more);
        json!({"path": "", "raw": fields, "body": "abc"})
    };
    let replaced = |name: &str, value: &str| {
        let mut request = with(&[]);
        for field in request["raw"].as_array_mut().into_iter().flatten() {
            if field[0] == name {
                field[1] = json!(value);
            }
        }
        request
    };
    let smuggled = "x\r\nContent-Length: 0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n";
    // One connection each: a malformed request may end all of it.
    for (what, request) in [
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "5")])),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("te", with(&[("te", "gzip")])),
        ("a shorter length", with(&[("content-length", "2")])),
        ("a longer length", with(&[("content-length", "50")])),
        (
            "two lengths",
            with(&[("content-length", "3"), ("content-length", "4")]),
        ),
        ("a signed length", with(&[("content-length", "+3")])),
        ("a line break in a value", with(&[("x-a", smuggled)])),
        ("a line break in a name", with(&[("x-a: b\r\nx-b", "c")])),
        ("an upper-case name", with(&[("X-A", "b")])),
        ("a blank in a name", with(&[("x a", "b")])),
        ("NUL in a value", with(&[("x-a", "b\0c")])),
        ("another host", with(&[("host", "evil.example")])),
        (
            "a line break in the path",
            replaced(":path", &format!("/{smuggled}")),
        ),
        ("a blank in the path", replaced(":path", "/p HTTP/1.1")),
        ("a path that is none", replaced(":path", "p")),
        (
            "a line break in the method",
            replaced(":method", &format!("GET /{smuggled}")),
        ),
        ("a line break in the authority", replaced(":authority", smuggled)),
        (
            "a user in the authority",
            replaced(":authority", "a@mail.example"),
        ),
        ("CONNECT", replaced(":method", "CONNECT")),
        ("a pseudo field of answers", with(&[(":status", "200")])),
        ("an underscore for a dash", with(&[("content_length", "0")])),
    ] {
        let said = ask(&scene, &node, &json!([request]));
        let got = said?.remove(0);
        let status = got["status"].as_u64().unwrap_or_default();
        assert!(status == 0 || (400..500).contains(&status), "{what}: {got}");
    }
    let asked: Vec<String> = backend.asked().into_iter().map(|asked| asked.head).collect();
    assert_eq!(asked, Vec::<String>::new());
    let text = backend.text();
    assert!(!text.contains("smuggled") && !text.contains("evil"), "{text}");
    Ok(())
}

#[test]
fn what_http2_says_in_its_own_way_is_said_in_http1s() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |asked| Reply::ok(asked.line()))?;
    let node = scene.recorded(&backend, "")?;
    let answers = ask(
        &scene,
        &node,
        &json!([
            {"path": "/crumbs", "fields": [["cookie", "a=1"], ["cookie", "b=2"], ["cookie", "c=3"], ["te", "trailers"]]},
            {"path": "/body", "method": "POST", "body": "without a length"},
            {"path": "/length", "method": "PUT", "body": "with", "fields": [["content-length", "4"]]},
        ]),
    )?;
    for got in &answers {
        assert_eq!(got["status"], 200, "{got}");
        let fields = got["fields"].to_string();
        assert!(
            !fields.contains("connection") && !fields.contains("transfer-encoding"),
            "{fields}"
        );
    }
    let asked = backend.asked();
    let of = |path: &str| {
        asked
            .iter()
            .find(|asked| asked.line().contains(path))
            .cloned()
            .expect("it was asked")
    };
    assert_eq!(of("/crumbs").header("cookie"), ["a=1; b=2; c=3"]);
    assert_eq!(
        of("/crumbs").header("host"),
        [node.at("http", "implicit")?.to_string()]
    );
    assert_eq!(of("/crumbs").header("te"), Vec::<&str>::new());
    assert!(of("/crumbs").header("via").concat().starts_with("2 "));
    assert_eq!(of("/body").header("transfer-encoding"), ["chunked"]);
    assert_eq!(of("/body").body, b"without a length");
    assert_eq!(of("/length").header("content-length"), ["4"]);
    assert_eq!(backend.faults(), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_websocket_works_over_a_stream_of_http2() -> Result<()> {
    let scene = Scene::new()?;
    let web = Web::start(&scene.place, &scene.ca, "legacy")?;
    let node = scene.node(&(destination(&web, "implicit", "") + BY_LOGIN), "")?;
    let server = node.at("http", "implicit")?;
    let said = python::run(
        "frames.py",
        &json!({"host": server.ip(), "port": server.port(), "ca": scene.ca.pem(), "what": "websocket", "user": ALICE}),
    )?;
    assert_eq!(said["enabled"], true, "{said}");
    assert_eq!(said["status"], 200, "{said}");
    assert_eq!(
        said["heard"],
        json!([format!("legacy {ALICE}"), "hello"]),
        "{said}"
    );
    assert_eq!(said["closed"], 1000, "{said}");
    Ok(())
}

#[test]
fn a_destination_that_says_so_is_spoken_to_in_http2() -> Result<()> {
    let scene = Scene::new()?;
    let nginx = Nginx::start(&scene.place, &scene.ca, "legacy", Told::Field)?;
    let tables = at(
        "legacy",
        nginx.https,
        "implicit",
        "forwarding = \"none\"\nforwarded = true\n",
    )
    .replace("tls = \"implicit\" }", "tls = \"implicit\", http2 = true }")
        + BY_LOGIN;
    let node = scene.node(&tables, "")?;
    let curl = scene.curl(&node)?;
    for curl in [curl.clone(), curl.http1()] {
        let got = curl
            .with(&["-H", "Cookie: a=1"])
            .all(&["/name", "/nothing", "/name"])?;
        assert_eq!(got[0].body, "legacy HTTP/2.0\n");
        assert_eq!((got[1].status, got[2].body.as_str()), (204, "legacy HTTP/2.0\n"));
    }
    let host = node.at("http", "implicit")?.to_string();
    assert!(
        nginx
            .served()
            .iter()
            .all(|served| served.host == host && !served.x_forwarded_for.is_empty())
    );
    Ok(())
}
