//! Bodies both ways, as they come (behaviour 8.1, 8.3).

use std::time::Duration;

use crate::rig::{Differences, Talk, basic, ok, world};

#[tokio::test]
async fn chunks_pass_as_they_come_in_both_directions_with_their_trailers() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, host\r\n\r\n3\r\none\r\n")
        .await;
    let mut backend = world.old.accept().await;
    let head = backend.head().await;
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    assert_eq!(backend.chunk().await, b"one");
    client
        .say("3\r\ntwo\r\n0\r\nx-sum: 6\r\nhost: evil\r\n\r\n")
        .await;
    assert_eq!(backend.chunk().await, b"two");
    assert_eq!(backend.until(b"\r\n\r\n").await, b"0\r\nx-sum: 6\r\n\r\n");
    backend
        .say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n4\r\nhere\r\n")
        .await;
    let head = client.head().await;
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    assert_eq!(client.chunk().await, b"here");
    backend.say("0\r\nx-end: yes\r\ncontent-length: 9\r\n\r\n").await;
    assert_eq!(client.until(b"\r\n\r\n").await, b"0\r\nx-end: yes\r\n\r\n");
}

#[tokio::test]
async fn what_routes_a_request_stands_in_its_head_and_never_in_its_trailers() {
    let world = world(Differences {
        routes: "[[http.route]]\nmatch = \"/**\"\nextract = { from = \"header\", header = \"X-Account\" }\n",
        moved: "ann new\n",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say("POST / HTTP/1.1\r\nHost: a\r\nX-Account: ann\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, x-account\r\n\r\n0\r\nX-Account: bob\r\nX-Sum: 1\r\n\r\n")
        .await;
    let mut backend = world.new.accept().await;
    backend.head().await;
    assert_eq!(backend.until(b"\r\n\r\n").await, b"0\r\nx-sum: 1\r\n\r\n");
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_the_connection_stays() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    let ask = |method: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.say(ask("HEAD")).await;
    let mut backend = world.old.accept().await;
    for (method, answer, length) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n",
            Some("50"),
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", None),
    ] {
        if method == "GET" {
            client.say(ask(method)).await;
        }
        assert!(backend.head().await.start.starts_with(method));
        backend.say(answer).await;
        let head = client.head().await;
        assert_eq!(head.field("content-length"), length, "{}", head.start);
        assert_eq!(head.start, answer.split("\r\n").next().unwrap_or_default());
    }
    client.say(ask("GET")).await;
    backend.head().await;
    backend.say(ok("still here")).await;
    assert_eq!(client.message().await.text(), "still here");
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_relayed_to_its_end_and_closes() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    backend.head().await;
    backend
        .say("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it")
        .await;
    drop(backend);
    let answer = client.message().await;
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(answer.text(), "all of it");
    client.ends().await;
}

#[tokio::test]
async fn an_answer_that_ends_too_early_is_not_taken_for_complete() {
    let world = world(Differences::default()).await;
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut client = Talk::to(world.node.address).await;
        client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut backend = world.old.accept().await;
        backend.head().await;
        backend
            .say(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nhalf\r\n"))
            .await;
        client.head().await;
        client.until(b"half").await;
        drop(backend);
        client.is_gone().await;
        assert!(!client.read.ends_with(b"0\r\n\r\n"), "{head}");
    }
}

#[tokio::test]
async fn the_backend_says_whether_a_body_is_wanted() {
    let world = world(Differences::default()).await;
    let ask = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut client = Talk::to(world.node.address).await;
    client.say(ask).await;
    let mut backend = world.old.accept().await;
    assert_eq!(backend.head().await.field("expect"), Some("100-continue"));
    assert!(client.is_silent(Duration::from_millis(200)).await);
    backend.say("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await.start, "HTTP/1.1 100 Continue");
    client.say("hello").await;
    assert_eq!(backend.exactly(5).await, b"hello");
    backend.say(ok("thanks")).await;
    assert_eq!(client.message().await.text(), "thanks");

    let mut client = Talk::to(world.node.address).await;
    client.say(ask).await;
    let mut backend = world.old.accept().await;
    backend.head().await;
    backend
        .say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        .await;
    let answer = client.message().await;
    assert_eq!(answer.start, "HTTP/1.1 417 Expectation Failed");
    assert_eq!(answer.field("connection"), Some("close"));
    client.ends().await;
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_the_100_it_asked_for_is_not_waited_for() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    let mut backend = world.old.accept().await;
    backend.head().await;
    assert_eq!(backend.exactly(5).await, b"hello");
    backend.say(ok("thanks")).await;
    let first = client.head().await;
    if first.start != "HTTP/1.1 100 Continue" {
        assert_eq!(first.start, "HTTP/1.1 200 OK");
    } else {
        assert_eq!(client.message().await.text(), "thanks");
    }
}

const BY_BODY: &str = "[[http.route]]\nmatch = \"/auth/token\"\nextract = { from = \"body\", regex = \"client_id=([^&]+)\" }\nfallback = \"old\"\n[[http.route]]\nmatch = \"/**\"\n";

#[tokio::test]
async fn the_account_in_a_body_decides_and_the_body_arrives_whole() {
    let world = world(Differences {
        routes: BY_BODY,
        moved: "web@ui new\n",
        ..Differences::default()
    })
    .await;
    let body = "grant=x&client_id=web%40ui&rest=\u{0}y";
    for chunked in [false, true] {
        let mut client = Talk::to(world.node.address).await;
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", body.len())
        };
        client
            .say(format!(
                "POST /auth/token HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.head().await.start, "HTTP/1.1 100 Continue");
        if chunked {
            let (one, two) = body.split_at(12);
            client.say(format!("{:x}\r\n{one}\r\n", one.len())).await;
            client.say(format!("{:x}\r\n{two}\r\n0\r\n\r\n", two.len())).await;
        } else {
            client.say(body).await;
        }
        let mut backend = world.new.accept().await;
        let request = backend.message().await;
        assert_eq!(request.field("expect"), None);
        assert_eq!(request.field("transfer-encoding").is_some(), chunked);
        assert_eq!(request.text(), body);
        backend
            .say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .await;
        assert_eq!(client.message().await.text(), "ok");
    }
}

#[tokio::test]
async fn a_body_without_its_account_goes_to_the_fallback_and_one_that_never_comes_is_late() {
    let world = world(Differences {
        routes: BY_BODY,
        http: "body_extract_cap = 16",
        listener: "preauth_timeout = \"500ms\"",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    // The account stands behind what is looked at.
    client
        .say("POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\n\r\naaaaaaaaaaaaaaaaaaaa&client_id=web@ui")
        .await;
    let mut backend = world.old.accept().await;
    assert_eq!(backend.message().await.body.len(), 37);
    backend.say(ok("")).await;
    client.message().await;
    client
        .say("POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\nclient")
        .await;
    assert_eq!(client.message().await.start, "HTTP/1.1 408 Request Timeout");
    client.is_gone().await;
}

#[tokio::test]
async fn an_event_stream_is_not_collected_and_leaves_the_connection_usable() {
    let world = world(Differences {
        http: "relay_idle = \"300ms\"",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say(format!("GET /events HTTP/1.1\r\nHost: a\r\n{}\r\n", basic("bob")))
        .await;
    let mut backend = world.old.accept().await;
    backend.head().await;
    backend
        .say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client.head().await;
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        // Longer than an ordinary answer may be silent.
        assert!(client.is_silent(Duration::from_millis(600)).await);
        backend.say(format!("{:x}\r\n{event}\r\n", event.len())).await;
        assert_eq!(client.chunk().await, event.as_bytes());
    }
    backend.say("0\r\n\r\n").await;
    assert_eq!(client.chunk().await, b"");
    client.until(b"\r\n").await;
    client
        .say(format!("GET /next HTTP/1.1\r\nHost: a\r\n{}\r\n", basic("bob")))
        .await;
    assert_eq!(backend.head().await.start, "GET /next HTTP/1.1");
}

#[tokio::test]
async fn an_ordinary_answer_that_falls_silent_is_broken_off() {
    let world = world(Differences {
        http: "relay_idle = \"300ms\"",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    backend.head().await;
    backend
        .say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        .await;
    client.head().await;
    assert_eq!(client.chunk().await, b"half");
    client.is_gone().await;
    assert!(client.read.is_empty(), "no end of the answer");
    backend.is_gone().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_its_backend_down() {
    use tokio::io::AsyncWriteExt as _;
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    backend.head().await;
    let size = 256 * 1024 * 1024;
    backend
        .say(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"))
        .await;
    let block = vec![b'x'; 1024 * 1024];
    let mut taken = 0;
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(500), backend.stream.write(&block)).await
    {
        taken += written.expect("written");
    }
    assert!(
        taken < 64 * 1024 * 1024,
        "{taken} bytes are kept for a client that does not read"
    );
}
