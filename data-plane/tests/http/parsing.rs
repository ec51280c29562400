//! What is refused, with which status, and that nothing of it reaches a backend (behaviour 8.1). What the HTTP library reads
//! more leniently is written anew in one form only.

use std::time::Duration;

use crate::rig::{Differences, Talk, World, basic, ok, world};

/// The status of what was refused; no backend has heard of it.
async fn refused(world: &World, request: &[u8]) -> String {
    let mut client = Talk::to(world.node.address).await;
    client.say(request).await;
    let answer = client.message().await;
    client.is_gone().await;
    assert!(
        world.old.nobody_comes(Duration::from_millis(50)).await,
        "{}",
        request.escape_ascii()
    );
    answer.start
}

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_is_refused_and_reaches_nobody() {
    let world = world(Differences::default()).await;
    let rows: &[(&[u8], &str)] = &[
        (b"GET / HTTP/1.1\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", "505"),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n X: b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "400"),
        (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "501"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\nAuthorization: Basic Yzpk\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic !!!\r\n\r\n", "400"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "400"),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", "400"),
    ];
    for (request, status) in rows {
        let answered = refused(&world, request).await;
        assert!(
            answered.contains(&format!(" {status} ")),
            "{answered} instead of {status} to {}",
            request.escape_ascii()
        );
    }
}

#[tokio::test]
async fn a_transfer_encoding_that_the_library_cannot_end_reaches_nobody() {
    let world = world(Differences::default()).await;
    for coding in ["gzip", "identity", "xchunked", "chunked, identity", "\x0bchunked"] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
        let answered = refused(&world, request.as_bytes()).await;
        assert!(
            answered.starts_with("HTTP/1.1 400 ") || answered.starts_with("HTTP/1.1 501 "),
            "{answered} to {coding:?}"
        );
    }
}

#[tokio::test]
async fn what_the_library_reads_leniently_is_written_in_one_form() {
    let world = world(Differences::default()).await;
    for (request, body) in [
        (
            "POST /a HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi".as_bytes(),
            "hi",
        ),
        (
            b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\n\r\n",
            "hi",
        ),
        (
            b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0002 \r\nhi\r\n0\r\n\r\n",
            "hi",
        ),
        (
            b"POST http://a/a HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nhi",
            "hi",
        ),
    ] {
        let mut client = Talk::to(world.node.address).await;
        client.say(request).await;
        let mut backend = world.old.accept().await;
        let got = backend.message().await;
        assert_eq!(got.start, "POST /a HTTP/1.1");
        assert_eq!(got.field("host"), Some("a"));
        assert_eq!(got.text(), body);
        let lengths = got.fields.iter().filter(|(name, _)| {
            name == "content-length" || name == "transfer-encoding"
        });
        assert_eq!(lengths.count(), 1, "{got:?}");
        // Nothing is left over that could be a second request.
        assert!(backend.is_silent(Duration::from_millis(50)).await);
        backend.say(ok("")).await;
        client.message().await;
    }
}

#[tokio::test]
async fn a_request_hidden_in_a_body_stays_a_body() {
    let world = world(Differences::default()).await;
    let hidden = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = Talk::to(world.node.address).await;
    client
        .say(format!(
            "POST /one HTTP/1.1\r\nHost: a\r\n{}Content-Length: {}\r\n\r\n{hidden}",
            basic("bob"),
            hidden.len()
        ))
        .await;
    let mut backend = world.old.accept().await;
    assert_eq!(backend.message().await.text(), hidden);
    backend.say(ok("one")).await;
    assert_eq!(client.message().await.text(), "one");
    assert!(backend.is_silent(Duration::from_millis(100)).await);
}

#[tokio::test]
async fn a_broken_chunk_ends_the_backends_body_without_its_end() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nnonsense\r\n")
        .await;
    let mut backend = world.old.accept().await;
    backend.head().await;
    backend.is_gone().await;
    let seen = String::from_utf8_lossy(&backend.read).into_owned();
    assert!(!seen.contains("0\r\n\r\n"), "{seen}");
    assert_eq!(client.message().await.start, "HTTP/1.1 400 Bad Request");
    client.is_gone().await;
}

#[tokio::test]
async fn what_is_refused_says_why_in_plain_text_and_closes() {
    let world = world(Differences {
        routes: "[[http.route]]\nmatch = \"/here/**\"\n",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = client.message().await;
    assert_eq!(answer.start, "HTTP/1.1 404 Not Found");
    assert_eq!(answer.field("content-type"), Some("text/plain"));
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(answer.text(), "404 Not Found");
    client.ends().await;
}

#[tokio::test]
async fn too_large_a_head_and_too_many_fields_are_431() {
    let world = world(Differences {
        http: "max_head_size = 2048",
        ..Differences::default()
    })
    .await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(4000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101));
    for request in [long, many] {
        let answered = refused(&world, request.as_bytes()).await;
        assert!(answered.starts_with("HTTP/1.1 431 "), "{answered}");
    }
}

#[tokio::test]
async fn a_head_that_comes_late_is_answered_408_the_first_one_and_a_later_one() {
    let world = world(Differences {
        listener: "preauth_timeout = \"300ms\"",
        http: "relay_idle = \"300ms\"",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HT").await;
    let answer = client.message().await;
    assert_eq!(answer.start, "HTTP/1.1 408 Request Timeout");
    assert_eq!(answer.field("connection"), Some("close"));
    client.ends().await;

    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    backend.message().await;
    backend.say(ok("hello")).await;
    client.message().await;
    client.say("GET / HT").await;
    assert_eq!(client.message().await.start, "HTTP/1.1 408 Request Timeout");
    client.ends().await;
}

#[tokio::test]
async fn a_later_head_may_be_as_slow_as_anything_that_moves() {
    let world = world(Differences {
        listener: "preauth_timeout = \"300ms\"",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    backend.message().await;
    backend.say(ok("hello")).await;
    client.message().await;
    client.say("GET /2 HT").await;
    // Only the first head has to come within preauth_timeout (behaviour 8.3).
    assert!(client.is_silent(Duration::from_millis(700)).await);
    client.say("TP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(backend.message().await.start, "GET /2 HTTP/1.1");
}

#[tokio::test]
async fn times_beyond_the_end_of_the_clock_are_for_ever() {
    let world = world(Differences {
        server: "bridge_idle = \"18446744073709551615s\"",
        listener: "preauth_timeout = \"18446744073709551615s\"",
        http: "keepalive_timeout = \"18446744073709551615s\"\nrelay_idle = \"18446744073709551615s\"",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    for kind in ["text/plain", "text/event-stream"] {
        client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut backend = world.old.accept().await;
        backend.message().await;
        backend
            .say(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
            .await;
        assert_eq!(client.message().await.text(), "ok");
        drop(backend);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_idle_client_is_closed_without_a_word_after_keepalive_timeout() {
    let world = world(Differences {
        http: "keepalive_timeout = \"300ms\"",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    backend.message().await;
    backend.say(ok("hello")).await;
    client.message().await;
    client.ends().await;
}

#[tokio::test]
async fn the_last_request_of_a_connection_says_so() {
    let world = world(Differences {
        http: "max_keepalive_requests = 2",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    for last in [false, true] {
        backend.message().await;
        backend.say(ok("hello")).await;
        let answer = client.message().await;
        assert_eq!(answer.field("connection") == Some("close"), last);
        if !last {
            client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        }
    }
    client.ends().await;
}

#[tokio::test]
async fn better_than_the_reference_each_node_has_a_name_of_its_own_in_via() {
    let mut names = Vec::new();
    for _ in 0..2 {
        let World { node, old, .. } = world(Differences::default()).await;
        let mut client = Talk::to(node.address).await;
        client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut backend = old.accept().await;
        let request = backend.message().await;
        names.push(request.field("via").expect("a Via").to_owned());
    }
    assert_ne!(names[0], names[1]);
}

#[tokio::test]
async fn our_own_name_in_via_is_a_loop() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say("GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 other\r\n\r\n")
        .await;
    let mut backend = world.old.accept().await;
    let via = backend.message().await.field("via").expect("a Via").to_owned();
    assert!(via.starts_with("1.0 other, 1.1 mailswitch-"), "{via}");
    backend.say(ok("")).await;
    client.message().await;
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nVia: {via}\r\n\r\n");
    let answered = refused(&world, request.as_bytes()).await;
    assert!(answered.starts_with("HTTP/1.1 508 "), "{answered}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let world = world(Differences {
        moved: "ann new\n",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say(format!(
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n{}\r\n",
            basic("ann")
        ))
        .await;
    let mut old = world.old.accept().await;
    old.message().await;
    assert!(world.new.nobody_comes(Duration::from_millis(100)).await);
    old.say(ok("first")).await;
    assert_eq!(client.message().await.text(), "first");
    let mut new = world.new.accept().await;
    new.message().await;
    new.say(ok("second")).await;
    assert_eq!(client.message().await.text(), "second");
}
