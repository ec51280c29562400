//! Request smuggling, tried from the client's side: whatever it sends, nobody reads it in two ways (behaviour 8.1). The
//! backend's side is in `framed_answers.rs`. The backend keeps every byte and takes it apart as strictly as the RFC allows.

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
