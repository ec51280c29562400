//! Legs to backends: who the client is, what is tried again, what a failure is answered with (behaviour §5.1, 7.1, 8.3).

use std::time::Duration;

use crate::rig::{Differences, Talk, World, basic, ok, world};

#[tokio::test]
async fn the_backend_is_told_who_the_client_is_before_anything_else_and_in_its_fields() {
    let world = world(Differences {
        leg: ", forwarding = \"proxy\"",
        destination: "forwarded = true",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say("GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n\r\n")
        .await;
    let mut backend = world.old.accept().await;
    let header = backend.exactly(28).await;
    assert_eq!(&header[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    let port = client.stream.local_addr().expect("an address").port();
    assert_eq!(header[16..20], [127, 0, 0, 1]);
    assert_eq!(header[24..26], port.to_be_bytes());
    let request = backend.message().await;
    assert_eq!(request.field("forwarded"), Some("for=127.0.0.1"));
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-real-ip"), None);
    backend.say(ok("")).await;
    client.message().await;
}

#[tokio::test]
async fn a_get_on_a_kept_connection_that_was_closed_under_it_is_sent_again_once() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    let ask = |method: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.say(ask("GET")).await;
    let mut backend = world.old.accept().await;
    backend.message().await;
    backend.say(ok("first")).await;
    client.message().await;
    // The backend reads the next request and closes without a word.
    client.say(ask("GET")).await;
    backend.message().await;
    drop(backend);
    let mut backend = world.old.accept().await;
    backend.message().await;
    backend.say(ok("second")).await;
    assert_eq!(client.message().await.text(), "second");
}

#[tokio::test]
async fn a_length_of_nothing_is_no_body_that_a_leg_waits_for() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    let ask = |method: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    client.say(ask("POST")).await;
    let mut backend = world.old.accept().await;
    assert_eq!(backend.message().await.field("content-length"), Some("0"));
    backend.say(ok("first")).await;
    client.message().await;
    // On the same leg, which the backend closes without a word; it may be repeated, so it is.
    client.say(ask("DELETE")).await;
    assert_eq!(backend.message().await.start, "DELETE / HTTP/1.1");
    drop(backend);
    let mut backend = world.old.accept().await;
    assert_eq!(backend.message().await.field("content-length"), Some("0"));
    backend.say(ok("second")).await;
    assert_eq!(client.message().await.text(), "second");
}

#[tokio::test]
async fn a_backend_that_closes_behind_its_answer_closes_the_client_too() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    backend.message().await;
    backend
        .say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let answer = client.message().await;
    assert_eq!(
        (answer.text().as_str(), answer.field("connection")),
        ("ok", Some("close"))
    );
    client.ends().await;
    backend.ends().await;
}

#[tokio::test]
async fn a_post_that_a_backend_has_read_is_never_sent_again() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    backend.message().await;
    backend.say(ok("first")).await;
    client.message().await;
    client
        .say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    backend.message().await;
    drop(backend);
    assert_eq!(client.message().await.start, "HTTP/1.1 502 Bad Gateway");
    client.is_gone().await;
    assert!(world.old.nobody_comes(Duration::from_millis(300)).await);
}

#[tokio::test]
async fn a_kept_connection_that_the_backend_has_closed_is_not_used() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    backend.message().await;
    backend.say(ok("first")).await;
    client.message().await;
    drop(backend);
    tokio::time::sleep(Duration::from_millis(100)).await;
    client
        .say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    let mut backend = world.old.accept().await;
    assert_eq!(backend.message().await.text(), "hi");
    backend.say(ok("done")).await;
    assert_eq!(client.message().await.text(), "done");
}

#[tokio::test]
async fn a_backend_that_fails_before_its_answer_is_a_bad_gateway_and_a_silent_one_a_timeout() {
    let world = world(Differences {
        http: "relay_idle = \"300ms\"",
        ..Differences::default()
    })
    .await;
    for (words, status) in [
        (Some(""), "502"),
        (Some("HTTP/1.1 200"), "502"),
        (Some("nonsense\r\n\r\n"), "502"),
        (
            Some("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
            "502",
        ),
        (
            Some("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            "502",
        ),
        (
            Some("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            "502",
        ),
        (None, "504"),
    ] {
        let mut client = Talk::to(world.node.address).await;
        client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut backend = world.old.accept().await;
        backend.message().await;
        if let Some(words) = words {
            backend.say(words).await;
            drop(backend);
            let answer = client.message().await;
            assert!(
                answer.start.starts_with(&format!("HTTP/1.1 {status}")),
                "{words:?}: {}",
                answer.start
            );
        } else {
            assert!(
                client
                    .message()
                    .await
                    .start
                    .starts_with(&format!("HTTP/1.1 {status}"))
            );
        }
        client.is_gone().await;
    }
}

#[tokio::test]
async fn a_client_that_stops_in_its_body_is_late_and_its_backend_is_not_blamed() {
    let world = world(Differences {
        server: "host_down_threshold = 1\nhost_down_min_clients = 0",
        http: "relay_idle = \"300ms\"",
        ..Differences::default()
    })
    .await;
    let begun = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n";
    for sent in ["", "abc"] {
        let mut client = Talk::to(world.node.address).await;
        client.say(begun).await;
        let mut backend = world.old.accept().await;
        backend.head().await;
        client.say(sent).await;
        assert_eq!(client.message().await.start, "HTTP/1.1 408 Request Timeout");
        client.is_gone().await;
    }
    // One failure would have marked it down.
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    backend.message().await;
    backend.say(ok("served")).await;
    assert_eq!(client.message().await.text(), "served");
}

#[tokio::test]
async fn a_destination_that_is_down_is_503_with_a_time_to_come_back() {
    let world = world(Differences {
        server: "host_down_threshold = 1\nhost_down_cooldown = \"30s\"\nbackend_connect_retries = 0",
        moved: "ann new\n",
        ..Differences::default()
    })
    .await;
    let crate::rig::World { node, old, new } = world;
    drop(new);
    let ask = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", basic("ann"));
    for status in ["502", "503"] {
        let mut client = Talk::to(node.address).await;
        client.say(&ask).await;
        let answer = client.message().await;
        assert!(
            answer.start.starts_with(&format!("HTTP/1.1 {status}")),
            "{}",
            answer.start
        );
        if status == "503" {
            assert_eq!(answer.field("retry-after"), Some("30"));
        }
    }
    assert!(
        old.nobody_comes(Duration::from_millis(100)).await,
        "no error chooses another destination"
    );
}

#[tokio::test]
async fn a_kept_connection_is_closed_before_the_backend_says_that_it_will_close_it() {
    let world = world(Differences::default()).await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.old.accept().await;
    backend.message().await;
    backend
        .say("HTTP/1.1 200 OK\r\nKeep-Alive: max=9, timeout=1\r\nContent-Length: 0\r\n\r\n")
        .await;
    client.message().await;
    backend.ends().await;
}

#[tokio::test]
async fn a_stop_closes_idle_clients_at_once_and_lets_an_open_request_end() {
    let mut world = world(Differences::default()).await;
    let mut idle = Talk::to(world.node.address).await;
    idle.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut first = world.old.accept().await;
    first.message().await;
    first.say(ok("")).await;
    idle.message().await;
    let mut busy = Talk::to(world.node.address).await;
    busy.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut second = world.old.accept().await;
    second.message().await;
    let running = world.node.running.take().expect("a node");
    let stop = tokio::spawn(running.stop());
    idle.ends().await;
    first.ends().await;
    drop(idle);
    drop(first);
    second.say(ok("late")).await;
    let answer = busy.message().await;
    assert_eq!(answer.text(), "late");
    assert_eq!(answer.field("connection"), Some("close"));
    busy.ends().await;
    drop(busy);
    drop(second);
    tokio::time::timeout(Duration::from_secs(10), stop)
        .await
        .expect("long before the grace ends")
        .expect("no panic");
}

#[tokio::test]
async fn better_than_the_reference_a_backend_that_is_silent_before_any_request_is_a_timeout_too() {
    let World { node, old, .. } = world(Differences {
        server: "backend_timeout = \"300ms\"\nbackend_connect_retries = 0",
        destination: "tls_server_name = \"old.test\"",
        leg: ", tls = \"implicit\"",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // In its TLS handshake.
    let _silent = old.accept().await;
    assert_eq!(client.message().await.start, "HTTP/1.1 504 Gateway Timeout");
}

#[tokio::test]
async fn better_than_the_reference_a_client_keeps_four_idle_legs_and_the_oldest_goes_for_a_fifth() {
    let World { node, old, .. } = world(Differences::default()).await;
    let mut client = Talk::to(node.address).await;
    let mut legs = Vec::new();
    for number in 0..5 {
        let user = basic(&format!("user{number}@example.org"));
        client
            .say(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n{user}\r\n"))
            .await;
        let mut leg = old.accept().await;
        leg.message().await;
        leg.say(ok("once")).await;
        client.message().await;
        legs.push(leg);
    }
    let mut oldest = legs.remove(0);
    assert!(oldest.more().await.is_none(), "it is ended");
    // Each of the others is there for its account's next request.
    for (number, leg) in (1..5).zip(&mut legs) {
        let user = basic(&format!("user{number}@example.org"));
        client
            .say(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n{user}\r\n"))
            .await;
        leg.message().await;
        leg.say(ok("again")).await;
        assert_eq!(client.message().await.text(), "again");
    }
}
