//! Answers with two meanings: whatever a backend sends, no client takes a part of it for the answer to another request
//! (behaviour 8.1).

use anyhow::Result;
use mailswitch_tests::http::recorder::{Recorder, Reply};

use super::{Scene, answer, dial};

#[test]
fn a_backends_answer_with_two_meanings_is_502_and_its_rest_is_nobodys_answer() -> Result<()> {
    let scene = Scene::new()?;
    let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let answers: Vec<(&str, u16, String)> = vec![
        (
            "two lengths",
            502,
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n{forged}"),
        ),
        (
            "a signed length",
            502,
            format!("HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n{forged}"),
        ),
        (
            "gzip, chunked",
            502,
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{forged}"),
        ),
        (
            "an unasked 101",
            502,
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n{forged}"
            ),
        ),
        ("no answer", 502, "SSH-2.0-OpenSSH_9.2\r\n".to_owned()),
        (
            "a head without an end",
            502,
            "HTTP/1.1 200 OK\r\nContent-Len".to_owned(),
        ),
        ("nothing", 502, String::new()),
        // More than it said: what is too much is nobody's.
        (
            "more than its length",
            200,
            format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{forged}"),
        ),
        (
            "a body of a 204",
            204,
            format!("HTTP/1.1 204 No Content\r\n\r\n{forged}"),
        ),
        (
            "a body of a 304",
            304,
            format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n{forged}"),
        ),
    ];
    let (raw_answers, numbers): (Vec<String>, Vec<(&str, u16)>) = answers
        .into_iter()
        .map(|(what, status, bytes)| (bytes, (what, status)))
        .unzip();
    let backend = Recorder::start(&scene.place, move |asked| {
        let number = asked
            .line()
            .split(' ')
            .nth(1)
            .and_then(|path| path[1..].parse().ok());
        match number.and_then(|number: usize| raw_answers.get(number)) {
            Some(bytes) => Reply::Close(bytes.clone().into_bytes()),
            None => Reply::ok("honest"),
        }
    })?;
    let node = scene.recorded(&backend, "")?;
    for (number, (what, status)) in numbers.iter().enumerate() {
        let mut raw = dial(&node)?;
        raw.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"))?;
        let got = answer(&mut raw)?;
        assert_eq!(got.status, *status, "{what}: {got:?}");
        assert!(!got.body.contains("forged"), "{what}: {got:?}");
        // The next request of the same client does not get what was left over.
        if got.header("connection") != Some("close")
            && raw.send("GET /honest HTTP/1.1\r\nHost: a\r\n\r\n").is_ok()
            && let Ok(next) = answer(&mut raw)
        {
            assert_eq!(next.body, "honest", "{what}");
        }
    }
    Ok(())
}

#[test]
fn a_head_of_a_get_gets_no_body_and_the_next_answer_is_its_own() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |asked| {
        if asked.line().starts_with("HEAD") {
            Reply::Keep(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\n".to_vec())
        } else {
            Reply::ok("second")
        }
    })?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
    assert_eq!(raw.line()?, "HTTP/1.1 200 OK");
    let mut head = Vec::new();
    loop {
        let line = raw.line()?;
        if line.is_empty() {
            break;
        }
        head.push(line.to_ascii_lowercase());
    }
    assert!(head.contains(&"content-length: 5".to_owned()), "{head:?}");
    assert_eq!(answer(&mut raw)?.body, "second");
    Ok(())
}

#[test]
fn what_a_backend_says_too_much_is_never_the_answer_to_the_next_request() -> Result<()> {
    let scene = Scene::new()?;
    let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let backend = Recorder::start(&scene.place, move |asked| {
        let honest = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest";
        if asked.line().contains("/more") {
            Reply::Keep(format!("{honest}{forged}").into_bytes())
        } else if asked.line().contains("/204") {
            Reply::Keep(format!("HTTP/1.1 204 No Content\r\n\r\n{forged}").into_bytes())
        } else if asked.line().contains("/head") {
            Reply::Keep(
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{forged}",
                    forged.len()
                )
                .into_bytes(),
            )
        } else {
            Reply::Keep(honest.into())
        }
    })?;
    let node = scene.recorded(&backend, "")?;
    for round in 0..20 {
        for first in ["GET /more", "GET /204", "HEAD /head"] {
            // In one write, and one behind the other.
            for together in [true, false] {
                let mut raw = dial(&node)?;
                let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
                raw.send(format!(
                    "{first} HTTP/1.1\r\nHost: a\r\n\r\n{}",
                    if together { next } else { "" }
                ))?;
                while !raw.line()?.is_empty() {}
                if first == "GET /more" {
                    assert_eq!(raw.bytes(6)?, b"honest");
                }
                if !together {
                    raw.send(next)?;
                }
                let got = answer(&mut raw)?;
                assert_eq!(
                    (got.status, got.body.as_str()),
                    (200, "honest"),
                    "{first}, round {round}"
                );
            }
        }
    }
    Ok(())
}
