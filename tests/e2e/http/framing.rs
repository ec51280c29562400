//! Request smuggling, tried from both sides: whatever a client or a backend sends, nobody reads it in two ways (behaviour 8.1).
//! The backend keeps every byte and takes it apart as strictly as the RFC allows.

use std::time::Duration;

use anyhow::Result;
use mailswitch_tests::{
    http::recorder::{Recorder, Reply},
    when::wait_until,
};

use super::{SOON, Scene, answer, dial};

/// A second request, hidden in what should be a body.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: evil.example\r\n\r\n";

#[test]
fn what_has_two_meanings_is_refused_and_no_byte_of_it_reaches_a_backend() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let node = scene.recorded(&backend, "")?;
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    for (what, statuses, head, body) in [
        (
            "no Host",
            &[400][..],
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n",
            "",
        ),
        (
            "two Hosts",
            &[400],
            "POST / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
            "",
        ),
        ("a list of Hosts", &[400], "GET / HTTP/1.1\r\nHost: a, b\r\n", ""),
        ("Host with a path", &[400], "GET / HTTP/1.1\r\nHost: a/b\r\n", ""),
        ("Host with a user", &[400], "GET / HTTP/1.1\r\nHost: x@a\r\n", ""),
        (
            "two lengths",
            &[400],
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n",
            "abcde",
        ),
        (
            "a list of lengths",
            &[400],
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 5\r\n",
            "abcde",
        ),
        (
            "a signed length",
            &[400],
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n",
            "abcde",
        ),
        (
            "a negative length",
            &[400],
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n",
            "",
        ),
        (
            "a hexadecimal length",
            &[400],
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n",
            "abcde",
        ),
        (
            "a length beyond 64 bits",
            &[400],
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n",
            "abcde",
        ),
        (
            "gzip, chunked",
            &[501],
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
            chunked.as_str(),
        ),
        (
            "chunked twice",
            &[501, 400],
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            &chunked,
        ),
        (
            "chunked, chunked",
            &[501, 400],
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n",
            &chunked,
        ),
        (
            "chunked, identity",
            &[501, 400],
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n",
            &chunked,
        ),
        (
            "identity",
            &[501, 400],
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n",
            "abcde",
        ),
        (
            "xchunked",
            &[501, 400],
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n",
            &chunked,
        ),
        (
            "a tab in the coding",
            &[501, 400],
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n",
            &chunked,
        ),
        (
            "a blank before the colon",
            &[400],
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n",
            &chunked,
        ),
        (
            "a blank in a name",
            &[400],
            "GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n",
            "",
        ),
        (
            "an empty name",
            &[400],
            "GET / HTTP/1.1\r\nHost: a\r\n: z\r\n",
            "",
        ),
        ("no colon", &[400], "GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n", ""),
        (
            "a folded line",
            &[400],
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n",
            "",
        ),
        (
            "a blank before the first name",
            &[400],
            "GET / HTTP/1.1\r\n Host: a\r\n",
            "",
        ),
        (
            "a bare CR in a value",
            &[400],
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n",
            "",
        ),
        (
            "NUL in a value",
            &[400],
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n",
            "",
        ),
        (
            "a control byte in the target",
            &[400],
            "GET /\u{1} HTTP/1.1\r\nHost: a\r\n",
            "",
        ),
        (
            "an underscore for a dash",
            &[400],
            "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n",
            "",
        ),
        (
            "a coding with an underscore",
            &[400],
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n",
            "",
        ),
        (
            "two credentials",
            &[400],
            "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\nAuthorization: Basic Yjpi\r\n",
            "",
        ),
        (
            "a star that is no OPTIONS",
            &[400],
            "GET * HTTP/1.1\r\nHost: a\r\n",
            "",
        ),
        (
            "a method that is no token",
            &[400],
            "G(T / HTTP/1.1\r\nHost: a\r\n",
            "",
        ),
        ("CONNECT", &[405], "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n", ""),
        ("HTTP/1.0", &[505, 400], "GET / HTTP/1.0\r\nHost: a\r\n", ""),
        ("HTTP/1.2", &[505, 400], "GET / HTTP/1.2\r\nHost: a\r\n", ""),
        ("HTTP/0.9", &[505, 400], "GET /\r\n", ""),
        (
            "HTTP/2.0 in words",
            &[505, 400],
            "GET / HTTP/2.0\r\nHost: a\r\n",
            "",
        ),
    ] {
        let mut raw = dial(&node)?;
        raw.send(format!("{head}\r\n{body}"))?;
        let got = answer(&mut raw)?;
        assert!(statuses.contains(&got.status), "{what}: {got:?}");
        // What follows is not read as a request: the connection is over.
        let _ = raw.send(HIDDEN);
        assert_eq!(raw.rest()?, "", "{what}");
    }
    assert_eq!(backend.text(), "", "a byte of a refused request was passed on");
    Ok(())
}

#[test]
fn what_is_passed_on_has_one_meaning_and_hides_no_second_request() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |asked| Reply::ok(asked.line()))?;
    let node = scene.recorded(&backend, "")?;
    let hidden = HIDDEN.len();
    for (what, request, bodies) in [
        (
            "the same length twice",
            format!("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: {hidden}\r\nContent-Length: {hidden}\r\n\r\n{HIDDEN}"),
            &[HIDDEN][..],
        ),
        (
            "a length of zeros",
            "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nabcde".to_owned(),
            &["abcde"],
        ),
        (
            "a body of a GET",
            format!("GET /p HTTP/1.1\r\nHost: a\r\nContent-Length: {hidden}\r\n\r\n{HIDDEN}"),
            &[HIDDEN],
        ),
        (
            "chunks of a GET",
            format!("GET /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{hidden:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
            &[HIDDEN],
        ),
        (
            "chunk extensions",
            "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nabcde\r\n0;z\r\n\r\n".to_owned(),
            &["abcde"],
        ),
        (
            "trailers that frame",
            "POST /p HTTP/1.1\r\nHost: a\r\nTrailer: Content-Length, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\
             Content-Length: 50\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nX-Sum: 1\r\n\r\n"
                .to_owned(),
            &["abcde"],
        ),
        (
            "Connection names what frames",
            format!("POST /p HTTP/1.1\r\nHost: a\r\nConnection: content-length, host\r\nContent-Length: {hidden}\r\n\r\n{HIDDEN}"),
            &[HIDDEN],
        ),
        (
            "an absolute target of another host",
            "GET http://b.example/p HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            &[""],
        ),
        (
            "two in one write",
            "GET /p HTTP/1.1\r\nHost: a\r\n\r\nPOST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy".to_owned(),
            &["", "xy"],
        ),
    ] {
        let before = backend.asked().len();
        let mut raw = dial(&node)?;
        raw.send(request)?;
        for _ in bodies {
            assert_eq!(answer(&mut raw)?.status, 200, "{what}");
        }
        drop(raw);
        let asked = backend.asked().split_off(before);
        let read: Vec<String> = asked.iter().map(|asked| String::from_utf8_lossy(&asked.body).into_owned()).collect();
        assert_eq!(read, bodies, "{what}");
        for asked in &asked {
            assert!(asked.line().ends_with(" /p HTTP/1.1"), "{what}: {}", asked.line());
            assert_eq!(asked.header("host").len(), 1, "{what}");
        }
    }
    wait_until("all connections have ended", SOON, || backend.open() == 0)?;
    assert_eq!(backend.faults(), Vec::<String>::new());
    assert!(
        !backend.text().contains("evil\r\n"),
        "a trailer that routes was passed on"
    );
    assert!(
        !backend.text().contains(";a=") && !backend.text().contains(";z"),
        "a chunk's extension was passed on"
    );
    assert_eq!(
        backend
            .asked()
            .iter()
            .find(|asked| asked.head.contains("b.example"))
            .map(|asked| asked.header("host")),
        Some(vec!["b.example"])
    );
    Ok(())
}

#[test]
fn what_is_neither_refused_nor_clear_comes_to_at_most_one_request() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |asked| Reply::ok(asked.line()))?;
    let node = scene.recorded(&backend, "")?;
    // The HTTP library reads these in one way or refuses them; either is fine, a second request is not.
    for (what, request) in [
        (
            "a length beside chunked",
            format!(
                "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"
            ),
        ),
        (
            "chunked beside a length",
            format!(
                "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{HIDDEN}"
            ),
        ),
        (
            "bare line feeds",
            "POST /p HTTP/1.1\nHost: a\nContent-Length: 2\n\nxy".to_owned(),
        ),
        (
            "a chunk size that is none",
            format!(
                "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n{HIDDEN}"
            ),
        ),
        (
            "a chunk size beyond 64 bits",
            format!(
                "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nabcde\r\n0\r\n\r\n{HIDDEN}"
            ),
        ),
        (
            "a signed chunk size",
            format!(
                "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nabcde\r\n0\r\n\r\n{HIDDEN}"
            ),
        ),
        (
            "no CRLF behind a chunk",
            format!(
                "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX0\r\n\r\n{HIDDEN}"
            ),
        ),
        (
            "a bare CR behind a chunk size",
            format!(
                "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\rX\nabcde\r\n0\r\n\r\n{HIDDEN}"
            ),
        ),
    ] {
        let before = backend.bytes().concat().len();
        let mut raw = dial(&node)?;
        raw.patience(Duration::from_secs(3))?;
        raw.send(request)?;
        let _ = answer(&mut raw);
        let _ = raw.rest();
        drop(raw);
        wait_until("its connections have ended", SOON, || backend.open() == 0)?;
        let sent = backend.bytes().concat().split_off(before);
        let sent = String::from_utf8_lossy(&sent).into_owned();
        assert!(!sent.contains("smuggled"), "{what}: {sent}");
    }
    Ok(())
}

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
