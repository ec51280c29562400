//! Limits of HTTP (behaviour 8.1, 8.3, 7.1): heads, times, and the statuses that we make ourselves.

use std::net::TcpListener;

use anyhow::Result;
use mailswitch_tests::{
    http::{
        recorder::{Recorder, Reply},
        web::{BY_LOGIN, at},
    },
    raw::Raw,
};

use super::{Scene, answer, ask, dial};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn heads_beyond_their_size_or_a_hundred_fields_are_431() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let node = scene.recorded(&backend, "[http]\nmax_head_size = 8192\n")?;
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(9000));
    let many: String = (0..100).map(|number| format!("X-{number}: y\r\n")).collect();
    for request in [large, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")] {
        let mut raw = dial(&node)?;
        raw.send(request)?;
        let got = answer(&mut raw)?;
        assert_eq!(got.status, 431);
        assert_eq!(raw.rest()?, "");
    }
    assert!(backend.asked().is_empty());
    let most: String = (0..99).map(|number| format!("X-{number}: y\r\n")).collect();
    assert_eq!(
        ask(&node, &format!("GET / HTTP/1.1\r\nHost: a\r\n{most}\r\n"))?.status,
        200
    );
    let fits = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(7000));
    assert_eq!(ask(&node, &fits)?.status, 200);
    Ok(())
}

#[test]
fn better_than_the_reference_a_head_that_comes_too_late_is_408() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let port = scene.place.port(scene.place.address(2))?;
    let tables = at("legacy", backend.address, "plain", "forwarding = \"none\"\n")
        + BY_LOGIN
        + &format!(
            "[listener.quick]\nprotocol = \"http\"\nbind = [\"{port}\"]\ntls = \"plain\"\npreauth_timeout = \"1s\"\n"
        );
    let _node = scene.node(&tables, "")?;
    for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut raw = Raw::connect(port)?;
        raw.send(begun)?;
        let got = answer(&mut raw)?;
        assert_eq!(
            (got.status, got.body.as_str()),
            (408, "408 Request Timeout"),
            "{begun:?}"
        );
        assert_eq!(raw.rest()?, "");
    }
    Ok(())
}

#[test]
fn an_idle_connection_is_closed_without_a_word_and_a_begun_head_with_408() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let port = scene.place.port(scene.place.address(2))?;
    let tables = at("legacy", backend.address, "plain", "forwarding = \"none\"\n")
        + "[http]\nkeepalive_timeout = \"1s\"\nrelay_idle = \"1s\"\n"
        + BY_LOGIN
        + &format!(
            "[listener.quick]\nprotocol = \"http\"\nbind = [\"{port}\"]\ntls = \"plain\"\npreauth_timeout = \"1s\"\n"
        );
    let _node = scene.node(&tables, "")?;
    let mut raw = Raw::connect(port)?;
    raw.send(GET)?;
    assert_eq!(answer(&mut raw)?.status, 200);
    assert_eq!(raw.rest()?, "");
    let mut raw = Raw::connect(port)?;
    raw.send(GET)?;
    assert_eq!(answer(&mut raw)?.status, 200);
    raw.send("GET / HTTP/1.1\r\n")?;
    assert_eq!(answer(&mut raw)?.status, 408);
    assert_eq!(raw.rest()?, "");
    Ok(())
}

#[test]
fn a_connection_serves_so_many_requests_and_the_last_answer_says_so() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let node = scene.recorded(&backend, "[http]\nmax_keepalive_requests = 3\n")?;
    let mut raw = dial(&node)?;
    for number in 1..=3 {
        raw.send(GET)?;
        let got = answer(&mut raw)?;
        let expected = (number == 3).then_some("close");
        assert_eq!(
            (got.status, got.header("connection")),
            (200, expected),
            "request {number}"
        );
    }
    assert_eq!(raw.rest()?, "");
    Ok(())
}

#[test]
fn a_backend_that_fails_is_502_one_that_is_silent_504_and_one_that_is_down_503_with_retry_after() -> Result<()>
{
    let scene = Scene::new()?;
    let silent = Recorder::start(&scene.place, |_| Reply::Silence)?;
    let broken = Recorder::start(&scene.place, |_| Reply::Close(Vec::new()))?;
    let nobody = TcpListener::bind((scene.place.server(), 0))?.local_addr()?;
    let tables = at("legacy", silent.address, "plain", "forwarding = \"none\"\n")
        + &at("new", broken.address, "plain", "forwarding = \"none\"\n")
        + &at("third", nobody, "plain", "forwarding = \"none\"\n")
        + "[http]\nrelay_idle = \"1s\"\n"
        + "[[http.route]]\nmatch = \"/silent\"\ndestination = \"legacy\"\n"
        + "[[http.route]]\nmatch = \"/broken\"\ndestination = \"new\"\n"
        + "[[http.route]]\nmatch = \"/down\"\ndestination = \"third\"\n";
    let server = "backend_timeout = \"2s\"\nbackend_connect_retries = 0\nhost_down_threshold = 3\nhost_down_cooldown = \"60s\"\n";
    let node = scene.node_with(&tables, "", server)?;
    let get = |path: &str| ask(&node, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let got = get("/broken")?;
    assert_eq!((got.status, got.body.as_str()), (502, "502 Bad Gateway"));
    let got = get("/silent")?;
    assert_eq!((got.status, got.body.as_str()), (504, "504 Gateway Timeout"));
    for _ in 0..3 {
        assert_eq!(get("/down")?.status, 502);
    }
    let got = get("/down")?;
    assert_eq!((got.status, got.body.as_str()), (503, "503 Service Unavailable"));
    let seconds: u64 = got.header("retry-after").unwrap_or_default().parse()?;
    assert!((1..=60).contains(&seconds), "{seconds}");
    Ok(())
}
