//! Backends that are spoken to in HTTP/2 (`protocol.http.http2`): the same requests, the same ends.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;

use crate::rig::{Backend, Differences, Talk, basic, world};

/// What the backend was asked.
#[derive(Debug)]
struct Asked {
    method: String,
    uri: String,
    fields: http::HeaderMap,
    body: Bytes,
}

/// Serves one connection, to its end.
async fn serve(backend: &Backend) -> (mpsc::UnboundedReceiver<Asked>, tokio::task::JoinHandle<()>) {
    let stream = backend.accept().await.stream;
    let (sender, asked) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let sender = sender.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let answer = format!("{} bytes", body.len());
            let _ = sender.send(Asked {
                method: head.method.to_string(),
                uri: head.uri.to_string(),
                fields: head.headers,
                body,
            });
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer))))
        }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service);
    let served = tokio::spawn(async move {
        let _ = connection.await;
    });
    (asked, served)
}

#[tokio::test]
async fn requests_are_carried_over_http2_and_their_leg_is_used_again_and_ended() {
    let world = world(Differences {
        leg: ", http2 = true",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    let post = format!(
        "POST /a?b HTTP/1.1\r\nHost: mail.example.org\r\n{}Connection: x-hop\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        basic("bob")
    );
    client.say(&post).await;
    let (mut asked, served) = serve(&world.old).await;
    assert_eq!(client.message().await.text(), "5 bytes");
    let first = asked.recv().await.expect("a request");
    assert_eq!(
        (first.method.as_str(), first.uri.as_str()),
        ("POST", "http://mail.example.org/a?b")
    );
    assert_eq!(&first.body[..], b"hello");
    for field in ["host", "connection", "x-hop", "transfer-encoding"] {
        assert_eq!(first.fields.get(field), None, "{field}");
    }
    client
        .say(format!(
            "GET /again HTTP/1.1\r\nHost: mail.example.org\r\n{}\r\n",
            basic("bob")
        ))
        .await;
    assert_eq!(client.message().await.text(), "0 bytes");
    assert_eq!(
        asked.recv().await.expect("a request").uri,
        "http://mail.example.org/again"
    );
    drop(client);
    // Our half-close is its end.
    tokio::time::timeout(crate::rig::SOON, served)
        .await
        .expect("an end in time")
        .expect("no panic");
}

#[tokio::test]
async fn a_websocket_needs_a_leg_of_http1_whatever_the_destination_says() {
    let world = world(Differences {
        leg: ", http2 = true",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        .await;
    let mut backend = world.old.accept().await;
    assert_eq!(backend.head().await.start, "GET /ws HTTP/1.1");
}
