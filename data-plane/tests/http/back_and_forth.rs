//! An account goes back and forth between two servers while clients use it without pause. The servers keep the truth: who is
//! connected to them when the node says that nobody is, and what they have executed (promise Q2, Q4, A3).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::cutover::{ANN, flip, hold, quiet, registered};
use crate::rig::{Backend, Differences, Node, Talk, World, basic, ok, world};

/// What a server knows.
#[derive(Default)]
struct Truth {
    connected: AtomicUsize,
    executed: Mutex<HashMap<String, usize>>,
}

/// Serves like a real one: one request after the other, each after a moment.
async fn serve(backend: Backend, truth: Arc<Truth>) {
    loop {
        let talk = backend.accept_whenever().await;
        let truth = Arc::clone(&truth);
        tokio::spawn(async move {
            requests(talk.stream, &truth).await;
        });
    }
}

async fn requests(stream: TcpStream, truth: &Truth) {
    let mut talk = Talk::over(stream);
    // One that was given up before a credential left is nobody's.
    if talk.more_whenever().await.is_none() {
        return;
    }
    truth.connected.fetch_add(1, Ordering::SeqCst);
    loop {
        while !talk.read.windows(4).any(|window| window == b"\r\n\r\n") {
            if talk.more_whenever().await.is_none() {
                // Before the socket is closed: who sees its end counts us as gone.
                truth.connected.fetch_sub(1, Ordering::SeqCst);
                return;
            }
        }
        let request = talk.message().await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..15))).await;
        *truth
            .executed
            .lock()
            .expect("no panic")
            .entry(request.start.clone())
            .or_default() += 1;
        if talk.try_say(ok("done")).await.is_err() {
            truth.connected.fetch_sub(1, Ordering::SeqCst);
            return;
        }
    }
}

/// The same over streams of HTTP/2, four at a time.
async fn use_it_over_http2(node: Arc<Node>, name: usize, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut answered = Vec::new();
    let client = crate::http2::client(&node).await;
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            return answered;
        }
        let method = if number % 2 == 0 { "POST" } else { "GET" };
        let streams = (0..4).map(|stream| {
            let mut client = client.clone();
            let path = format!("/{name}/{number}/{stream}");
            async move {
                let request = crate::http2::ask(method, &path, ANN, crate::http2::empty());
                let answer = client.send_request(request).await.expect("an answer");
                assert_eq!(answer.status(), 200, "{path}");
                format!("{method} {path} HTTP/1.1")
            }
        });
        answered.extend(futures::future::join_all(streams).await);
    }
    answered
}

/// Asks without pause, until it is stopped; gives what was answered.
async fn use_it(address: std::net::SocketAddr, name: usize, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut answered = Vec::new();
    let mut client = Talk::to(address).await;
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            return answered;
        }
        let (method, body) = if number % 2 == 0 {
            ("POST", "hi")
        } else {
            ("GET", "")
        };
        let start = format!("{method} /{name}/{number} HTTP/1.1");
        let length = if body.is_empty() {
            ""
        } else {
            "Content-Length: 2\r\n"
        };
        client
            .say(format!("{start}\r\nHost: a\r\n{}{length}\r\n{body}", basic(ANN)))
            .await;
        let answer = client.message().await;
        assert_eq!(answer.start, "HTTP/1.1 200 OK", "{start}");
        answered.push(start);
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_connected_when_the_account_is_quiet_and_nothing_is_executed_twice() {
    moves_while_it_is_used("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_for_streams_of_http2() {
    moves_while_it_is_used("tls = \"implicit\"").await;
}

async fn moves_while_it_is_used(listener: &str) {
    let World { node, old, new } = world(Differences {
        listener,
        ..Differences::default()
    })
    .await;
    let node = Arc::new(node);
    let truths = [Arc::new(Truth::default()), Arc::new(Truth::default())];
    tokio::spawn(serve(old, Arc::clone(&truths[0])));
    tokio::spawn(serve(new, Arc::clone(&truths[1])));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|name| match listener {
            "" => tokio::spawn(use_it(node.address, name, Arc::clone(&stop))),
            _ => tokio::spawn(use_it_over_http2(Arc::clone(&node), name, Arc::clone(&stop))),
        })
        .collect();
    let have_served = || {
        truths
            .iter()
            .all(|truth| truth.executed.lock().expect("no panic").len() > 100)
    };
    for round in 0.. {
        // However slow this machine is now.
        if round >= 30 && have_served() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..40))).await;
        let held = hold(&node, Duration::from_secs(30));
        quiet(&node, held).await;
        for truth in &truths {
            assert_eq!(truth.connected.load(Ordering::SeqCst), 0, "round {round}");
        }
        flip(&node, held, ["new", "old"][round % 2]);
    }
    stop.store(true, Ordering::SeqCst);
    let mut answered = 0;
    for client in clients {
        answered += client.await.expect("every request is answered with 200").len();
    }
    assert!(answered > 100, "{answered}");
    let mut all = HashMap::<String, usize>::new();
    for truth in &truths {
        for (request, times) in truth.executed.lock().expect("no panic").iter() {
            *all.entry(request.clone()).or_default() += times;
        }
    }
    let twice: Vec<_> = all
        .iter()
        .filter(|(request, times)| request.starts_with("POST") && **times > 1)
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    registered(&node, 0).await;
}

/// Begins something and leaves in the middle of it.
async fn leave_in_the_middle(address: std::net::SocketAddr, seed: u32) {
    let mut client = Talk::to(address).await;
    let authorization = basic(ANN);
    let words = match seed % 5 {
        0 => format!("GET / HTTP/1.1\r\nHost: a\r\n{authorization}"),
        1 => format!("POST / HTTP/1.1\r\nHost: a\r\n{authorization}Content-Length: 9\r\n\r\nhalf"),
        2 => format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{authorization}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        ),
        3 => format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{authorization}\r\nGET / HTTP/1.1\r\nHost: a\r\n{authorization}\r\n"
        ),
        _ => format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{authorization}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ),
    };
    let _ = client.try_say(words).await;
    tokio::time::sleep(Duration::from_millis(u64::from(seed % 23))).await;
    if seed.is_multiple_of(2) {
        let _ = tokio::time::timeout(Duration::from_millis(5), client.more_whenever()).await;
    }
}

/// Answers each connection in one of many ways, or not at all.
async fn serve_badly(backend: Backend) {
    loop {
        let mut talk = backend.accept_whenever().await;
        tokio::spawn(async move {
            while talk.more_whenever().await.is_some() {
                let words = [
                    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone",
                    "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\nhalf",
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n",
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi",
                    "HTTP/1.1 100 Continue\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf",
                    "nonsense",
                ];
                talk.read.clear();
                let at = rand::random_range(0..words.len() + 2);
                match words.get(at) {
                    Some(words) => {
                        let _ = talk.try_say(words).await;
                    }
                    None if at == words.len() => return,
                    None => {}
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_a_request_its_session_ends_and_the_account_gets_quiet() {
    let World { node, old, new } = world(Differences {
        http: "relay_idle = \"500ms\"\nkeepalive_timeout = \"500ms\"",
        server: "bridge_idle = \"2s\"\nhost_down_threshold = 0",
        ..Differences::default()
    })
    .await;
    tokio::spawn(serve_badly(old));
    tokio::spawn(serve_badly(new));
    let sessions = node.running.as_ref().expect("a node").node().knowledge.sessions();
    let all = mailswitch_data_plane::sessions::Which::default();
    for round in 0..10 {
        let clients: Vec<_> = (0..30)
            .map(|client| tokio::spawn(leave_in_the_middle(node.address, round * 30 + client)))
            .collect();
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..30))).await;
        if round % 3 == 0 {
            sessions.kick(&all);
        }
        let held = hold(&node, Duration::from_millis(100));
        quiet(&node, held).await;
        flip(&node, held, ["new", "old"][round as usize % 2]);
        for client in clients {
            client.await.expect("no panic");
        }
    }
    registered(&node, 0).await;
}
