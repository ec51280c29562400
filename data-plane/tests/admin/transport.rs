//! How the API is spoken to: TLS, HTTP/1.1, one request per connection (management API 1).

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Differences, SOON, TOKEN, eventually, read, world};

#[tokio::test]
async fn a_request_in_clear_gets_no_http_answer() {
    let world = world(Differences::default()).await;
    let mut plain = TcpStream::connect(world.api.address).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: node.test\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said).await;
    // A record of TLS: its alert.
    assert!(said.is_empty() || said[0] == 21, "{}", said.escape_ascii());
}

#[tokio::test]
async fn every_answer_has_its_length_and_says_that_the_connection_ends_and_it_does() {
    let world = world(Differences::default()).await;
    for (target, status) in [("/healthz", 200), ("/stats", 200), ("/nowhere", 404)] {
        let answer = world.api.get(target).await;
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.field("connection"), Some("close"));
        let length = answer.body.len().to_string();
        assert_eq!(answer.field("content-length"), Some(length.as_str()));
    }
    // A second request on the connection is nobody's.
    let twice = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = world.api.raw(twice).await;
    answer.expect(200, "ok\n");
}

#[tokio::test]
async fn slashes_at_the_end_are_nothing_and_case_is_something() {
    let world = world(Differences::default()).await;
    for target in ["/stats", "/stats/", "/stats//", "/stats/?x=1"] {
        assert_eq!(world.api.get(target).await.status, 200, "{target}");
    }
    for target in ["/Stats", "/", "/stats/more", "//stats", "/destinations/resets"] {
        world.api.get(target).await.expect(404, "not found\n");
    }
    world.api.get("/healthz/").await.expect(200, "ok\n");
}

#[tokio::test]
async fn the_body_of_a_request_is_ignored_however_large_it_is() {
    let world = world(Differences::default()).await;
    let head = format!(
        "POST /destinations/reset?destination=old HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: 1000000\r\n\r\n"
    );
    // The answer comes before the body has.
    let mut stream = world.api.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; 100_000]).await.unwrap();
    read(&mut stream).await.expect(200, "ok\n");
    let chunked =
        head.replace("Content-Length: 1000000", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n";
    world.api.raw(chunked.as_bytes()).await.expect(200, "ok\n");
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_400_and_a_head_above_16_kib_431() {
    let world = world(Differences::default()).await;
    for wrong in [
        &b"nonsense\r\n\r\n"[..],
        b"GET /stats\r\n\r\n",
        b"GET /stats HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /stats HTTP/3.7\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = world.api.raw(wrong).await;
        answer.expect(400, "bad request\n");
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(answer.field("content-length"), Some("12"));
    }
    let padded = |bytes: usize| {
        format!(
            "GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(bytes)
        )
    };
    world
        .api
        .raw(padded(15 * 1024).as_bytes())
        .await
        .expect(200, "ok\n");
    let answer = world.api.raw(padded(17 * 1024).as_bytes()).await;
    answer.expect(431, "request head too large\n");
}

#[tokio::test]
async fn a_known_path_with_another_method_names_the_one_that_it_has() {
    let world = world(Differences::default()).await;
    for (method, target, allowed) in [
        ("POST", "/healthz", "GET"),
        ("POST", "/stats", "GET"),
        ("DELETE", "/destinations", "GET"),
        ("GET", "/destinations/reset", "POST"),
        ("PUT", "/connections/kick", "POST"),
        ("GET", "/connections/delay", "POST"),
        ("OPTIONS", "/stats", "GET"),
    ] {
        let answer = world.api.ask(method, target).await;
        answer.expect(405, "method not allowed\n");
        assert_eq!(answer.field("allow"), Some(allowed), "{method} {target}");
    }
    // HEAD is not offered; its answer has no body.
    for target in ["/healthz", "/stats"] {
        let answer = world.api.ask("HEAD", target).await;
        assert_eq!((answer.status, answer.body.as_str()), (405, ""), "{target}");
        assert_eq!(answer.field("allow"), Some("GET"));
    }
}

#[tokio::test]
async fn must_do_better_there_are_64_places_and_the_next_connection_is_closed() {
    let world = world(Differences::default()).await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(TcpStream::connect(world.api.address).await.unwrap());
    }
    eventually("one more is closed", async || {
        let mut more = TcpStream::connect(world.api.address).await.unwrap();
        let mut said = [0];
        let read = tokio::time::timeout(SOON, more.read(&mut said)).await;
        matches!(read, Ok(Ok(0) | Err(_))).then_some(())
    })
    .await;
    drop(open);
    eventually("there is a place again", async || {
        let tcp = TcpStream::connect(world.api.address).await.ok()?;
        let name = rustls_pki_types::ServerName::try_from("node.test").unwrap();
        world.api.trust.connect(name, tcp).await.ok().map(|_| ())
    })
    .await;
}

#[tokio::test]
async fn must_do_better_whoever_does_not_begin_tls_or_its_head_is_closed_within_ten_seconds() {
    let world = world(Differences::default()).await;
    let silent = async {
        let mut silent = TcpStream::connect(world.api.address).await.unwrap();
        silent.read(&mut [0]).await
    };
    let headless = async {
        let mut headless = world.api.connect().await;
        headless.write_all(b"GET /stats HTTP/1.1\r\n").await.unwrap();
        let mut said = Vec::new();
        let read = headless.read_to_end(&mut said).await;
        (read.is_err() || said.is_empty()).then_some(())
    };
    let both = async { tokio::join!(silent, headless) };
    let (silent, headless) = tokio::time::timeout(2 * SOON, both).await.expect("in time");
    assert!(matches!(silent, Ok(0) | Err(_)), "{silent:?}");
    assert!(headless.is_some());
}

#[tokio::test]
async fn a_client_that_says_that_it_sends_no_more_is_answered() {
    let world = world(Differences::default()).await;
    let mut stream = world.api.connect_from(Ipv4Addr::LOCALHOST).await;
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    read(&mut stream).await.expect(200, "ok\n");
}
