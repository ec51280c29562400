//! One request and its answer (behaviour 8.3): keep-alive on both legs, a backend that closes under a request, Expect, chunks,
//! and bodies that end with the connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use mailswitch_tests::{
    http::recorder::{Recorder, Reply},
    when::wait_until,
};

use super::{SOON, Scene, answer, chunks, dial};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";

#[test]
fn both_legs_are_kept_alive() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    for _ in 0..5 {
        raw.send(GET)?;
        let got = answer(&mut raw)?;
        assert_eq!((got.status, got.header("connection")), (200, None));
    }
    assert_eq!(backend.bytes().len(), 1);
    Ok(())
}

#[test]
fn requests_in_one_write_are_answered_in_their_order() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |asked| {
        if asked.line().contains("/slow") {
            std::thread::sleep(Duration::from_millis(300));
        }
        Reply::ok(asked.line())
    })?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    let targets = ["/slow", "/1", "/2", "/3"];
    let all: String = targets
        .iter()
        .map(|target| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    raw.send(all)?;
    for target in targets {
        assert_eq!(answer(&mut raw)?.body, format!("GET {target} HTTP/1.1"));
    }
    Ok(())
}

#[test]
fn the_connection_is_closed_behind_the_answer_when_either_side_says_so() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |asked| {
        if asked.line().contains("/last") {
            Reply::Close(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_vec())
        } else {
            Reply::ok("ok")
        }
    })?;
    let node = scene.recorded(&backend, "")?;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /last HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut raw = dial(&node)?;
        raw.send(request)?;
        let got = answer(&mut raw)?;
        assert_eq!(
            (got.body.as_str(), got.header("connection")),
            ("ok", Some("close")),
            "{request}"
        );
        assert_eq!(raw.rest()?, "");
    }
    Ok(())
}

/// Answers its first request on each connection, and closes as soon as a second one comes, without a byte.
fn closes_under_the_second(scene: &Scene) -> Result<(Recorder, Arc<AtomicUsize>)> {
    let executed: Arc<AtomicUsize> = Arc::default();
    let there = Arc::clone(&executed);
    let backend = Recorder::start(&scene.place, move |asked| {
        if asked.number > 0 {
            return Reply::Close(Vec::new());
        }
        there.fetch_add(1, Ordering::SeqCst);
        Reply::ok("ok")
    })?;
    Ok((backend, executed))
}

#[test]
fn better_than_the_reference_a_get_is_sent_again_when_an_idle_backend_closes_under_it() -> Result<()> {
    let scene = Scene::new()?;
    let (backend, executed) = closes_under_the_second(&scene)?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    for _ in 0..3 {
        raw.send(GET)?;
        assert_eq!(answer(&mut raw)?.status, 200);
    }
    assert_eq!(executed.load(Ordering::SeqCst), 3);
    Ok(())
}

#[test]
fn a_post_is_not_sent_again_when_an_idle_backend_closes_under_it() -> Result<()> {
    let scene = Scene::new()?;
    let (backend, executed) = closes_under_the_second(&scene)?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send(POST)?;
    assert_eq!(answer(&mut raw)?.status, 200);
    raw.send(POST)?;
    let got = answer(&mut raw)?;
    assert_eq!((got.status, got.body.as_str()), (502, "502 Bad Gateway"));
    assert_eq!(executed.load(Ordering::SeqCst), 1);
    assert_eq!(backend.asked().len(), 2);
    Ok(())
}

#[test]
fn a_get_is_not_sent_a_third_time() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |asked| {
        if asked.connection == 0 && asked.number == 0 {
            Reply::ok("ok")
        } else {
            Reply::Close(Vec::new())
        }
    })?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send(GET)?;
    assert_eq!(answer(&mut raw)?.status, 200);
    raw.send(GET)?;
    assert_eq!(answer(&mut raw)?.status, 502);
    assert_eq!(backend.asked().len(), 3);
    Ok(())
}

#[test]
fn a_100_comes_from_the_backend_and_the_body_follows_it() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")?;
    assert_eq!(raw.line()?, "HTTP/1.1 100 Continue");
    assert_eq!(raw.line()?, "");
    raw.send("abc")?;
    assert_eq!(answer(&mut raw)?.status, 200);
    assert_eq!(backend.asked()[0].header("expect"), ["100-continue"]);
    assert_eq!(backend.asked()[0].body, b"abc");
    Ok(())
}

#[test]
fn better_than_the_reference_a_body_that_does_not_wait_for_the_100_is_passed_on() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")?;
    let mut got = answer(&mut raw)?;
    if got.status == 100 {
        got = answer(&mut raw)?;
    }
    assert_eq!(got.status, 200);
    assert_eq!(backend.asked()[0].body, b"abc");
    Ok(())
}

#[test]
fn a_final_answer_instead_of_the_100_is_passed_on_and_the_body_is_not_read() -> Result<()> {
    let scene = Scene::new()?;
    // It answers at the head, before the body: a recorder would wait for that.
    let issued = scene.ca.issue(
        &scene.place.folder("legacy")?,
        "legacy.test",
        scene.place.server(),
    )?;
    let backend = mailswitch_tests::scripted::Scripted::start(&scene.place, &issued, |_| {
        "C: POST / HTTP/1.1\nC: …\nC: …\nC: …\nC: …\nC: …\nC: \nS: HTTP/1.1 417 Expectation Failed\nS: Content-Length: 2\nS: \nS: \nEND"
            .to_owned()
    })?;
    let tables =
        mailswitch_tests::http::web::at("legacy", backend.address, "plain", "forwarding = \"none\"\n")
            + mailswitch_tests::http::web::BY_LOGIN;
    let node = scene.node(&tables, "")?;
    let mut raw = dial(&node)?;
    raw.send(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 300000\r\nX-A: b\r\n\r\n",
    )?;
    let got = answer(&mut raw)?;
    assert_eq!((got.status, got.header("connection")), (417, Some("close")));
    assert_eq!(raw.rest()?, "");
    Ok(())
}

#[test]
fn where_the_body_names_the_account_the_100_comes_from_us() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let tables =
        mailswitch_tests::http::web::at("legacy", backend.address, "plain", "forwarding = \"none\"\n")
            + &mailswitch_tests::http::web::route(
                "/**",
                "extract = { from = \"body\", regex = \"id=([^&]+)\" }",
            );
    let node = scene.node(&tables, "")?;
    let mut raw = dial(&node)?;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")?;
    assert_eq!(raw.line()?, "HTTP/1.1 100 Continue");
    assert_eq!(raw.line()?, "");
    assert!(backend.asked().is_empty());
    raw.send("id=x")?;
    assert_eq!(answer(&mut raw)?.status, 200);
    assert_eq!(backend.asked()[0].header("expect"), Vec::<&str>::new());
    assert_eq!(backend.asked()[0].body, b"id=x");
    Ok(())
}

#[test]
fn chunks_are_passed_on_as_they_come_both_ways() -> Result<()> {
    let scene = Scene::new()?;
    let backend = mailswitch_tests::http::web::Web::start(&scene.place, &scene.ca, "legacy")?;
    let tables = mailswitch_tests::http::web::destination(&backend, "plain", "")
        + mailswitch_tests::http::web::BY_LOGIN;
    let node = scene.node(&tables, "")?;
    // The stream of events never ends: its first events are here long before.
    let mut raw = dial(&node)?;
    raw.send("GET /events?every=0.01 HTTP/1.1\r\nHost: a\r\n\r\n")?;
    while !raw.line()?.is_empty() {}
    for number in 1..=3 {
        let size = usize::from_str_radix(&raw.line()?, 16)?;
        let text = String::from_utf8_lossy(&raw.bytes(size)?).into_owned();
        assert!(text.contains(&format!("legacy {number}\n")), "{text}");
        raw.line()?;
    }
    drop(raw);
    // A body in chunks arrives whole.
    let mut raw = dial(&node)?;
    raw.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let piece = "p".repeat(10_000);
    for _ in 0..30 {
        raw.send(format!("{:x}\r\n{piece}\r\n", piece.len()))?;
    }
    raw.send("0\r\n\r\n")?;
    let got = answer(&mut raw)?;
    assert_eq!(got.body.len(), 300_000);
    assert_eq!(backend.events("body")[0].length, 300_000);
    Ok(())
}

#[test]
fn an_event_stream_that_ends_leaves_the_connection_usable() -> Result<()> {
    let scene = Scene::new()?;
    let backend = mailswitch_tests::http::web::Web::start(&scene.place, &scene.ca, "legacy")?;
    let tables = mailswitch_tests::http::web::destination(&backend, "plain", "")
        + mailswitch_tests::http::web::BY_LOGIN;
    let node = scene.node(&tables, "")?;
    let mut raw = dial(&node)?;
    raw.send("GET /events?count=2&every=0.01 HTTP/1.1\r\nHost: a\r\n\r\n")?;
    while !raw.line()?.is_empty() {}
    assert!(chunks(&mut raw)?.concat().contains("legacy 2"));
    raw.send("GET /whoami HTTP/1.1\r\nHost: a\r\n\r\n")?;
    assert_eq!(answer(&mut raw)?.status, 200);
    Ok(())
}

#[test]
fn a_body_until_the_close_closes_both_legs() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |_| {
        Reply::Close(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nall of it".to_vec())
    })?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send(GET)?;
    let got = answer(&mut raw)?;
    assert_eq!(
        (got.body.as_str(), got.header("connection")),
        ("all of it", Some("close"))
    );
    assert_eq!(raw.rest()?, "");
    Ok(())
}

#[test]
fn a_client_that_leaves_ends_its_backends_connection() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |_| Reply::Silence)?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send(GET)?;
    wait_until("it is asked", SOON, || backend.asked().len() == 1)?;
    drop(raw);
    wait_until("its connection has ended", SOON, || backend.open() == 0)
}

#[test]
fn a_put_with_its_body_is_sent_again_only_while_that_can_be_done_whole() -> Result<()> {
    let scene = Scene::new()?;
    let (backend, executed) = closes_under_the_second(&scene)?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send(GET)?;
    assert_eq!(answer(&mut raw)?.status, 200);
    raw.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")?;
    let got = answer(&mut raw)?;
    // Executed whole on a fresh connection, or refused; never half.
    match got.status {
        200 => {
            let last = backend.asked().pop().expect("it was asked");
            assert_eq!((last.number, last.body.as_slice()), (0, &b"abc"[..]));
            assert_eq!(executed.load(Ordering::SeqCst), 2);
        }
        502 => assert_eq!(executed.load(Ordering::SeqCst), 1),
        other => anyhow::bail!("{other}"),
    }
    Ok(())
}

#[test]
fn interim_answers_of_a_backend_do_not_stand_in_for_its_answer() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |_| {
        Reply::Keep(
            b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                .to_vec(),
        )
    })?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    for _ in 0..2 {
        raw.send(GET)?;
        let mut got = answer(&mut raw)?;
        while (100..200).contains(&got.status) {
            got = answer(&mut raw)?;
        }
        assert_eq!((got.status, got.body.as_str()), (200, "ok"));
    }
    Ok(())
}

#[test]
fn a_body_that_stops_in_its_middle_is_not_passed_off_as_whole() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |asked| {
        if asked.line().contains("/length") {
            Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec())
        } else if asked.line().contains("/chunks") {
            Reply::Close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_vec())
        } else {
            Reply::Keep(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec())
        }
    })?;
    let node = scene.recorded(&backend, "[http]\nrelay_idle = \"1s\"\n")?;
    for path in ["/length", "/chunks", "/silence"] {
        let mut raw = dial(&node)?;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))?;
        let got = raw.rest()?;
        // Neither an end of chunks nor another answer behind it.
        assert!(
            !got.contains("\r\n0\r\n") && got.matches("HTTP/1.1").count() <= 1,
            "{path}: {got}"
        );
    }
    Ok(())
}

#[test]
fn an_idle_connection_is_closed_at_once_when_the_node_stops_and_an_open_request_is_answered() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |asked| {
        if asked.line().contains("/slow") {
            std::thread::sleep(Duration::from_millis(800));
        }
        Reply::ok("ok")
    })?;
    let mut node = scene.recorded(&backend, "")?;
    let mut idle = dial(&node)?;
    idle.send(GET)?;
    assert_eq!(answer(&mut idle)?.status, 200);
    let mut open = dial(&node)?;
    open.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")?;
    wait_until("it is asked", SOON, || backend.asked().len() == 2)?;
    node.process.signal(nix::sys::signal::Signal::SIGTERM)?;
    assert_eq!(idle.rest()?, "");
    let got = answer(&mut open)?;
    assert_eq!(
        (got.body.as_str(), got.header("connection")),
        ("ok", Some("close"))
    );
    assert!(node.process.wait_end(SOON)?.success());
    Ok(())
}
