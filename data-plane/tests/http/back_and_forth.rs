//! An account goes back and forth between two servers while clients use it without pause. The servers keep the truth: who is
//! connected to them when the node says that nobody is, and what they have executed (promise Q2, Q4, A3).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::cutover::{ANN, flip, hold, quiet};
use crate::rig::{Backend, Differences, Talk, World, basic, ok, world};

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
    let World { node, old, new } = world(Differences::default()).await;
    let truths = [Arc::new(Truth::default()), Arc::new(Truth::default())];
    tokio::spawn(serve(old, Arc::clone(&truths[0])));
    tokio::spawn(serve(new, Arc::clone(&truths[1])));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|name| tokio::spawn(use_it(node.address, name, Arc::clone(&stop))))
        .collect();
    for round in 0..30 {
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..40))).await;
        let held = hold(&node, Duration::from_secs(30));
        quiet(&node, held).await;
        for truth in &truths {
            assert_eq!(truth.connected.load(Ordering::SeqCst), 0, "round {round}");
        }
        flip(&node, held, ["new", "old"][round % 2]);
    }
    stop.store(true, Ordering::SeqCst);
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
    let mut answered = 0;
    for client in clients {
        answered += client.await.expect("every request is answered with 200").len();
    }
    assert!(answered > 200, "{answered}");
    let moved = truths
        .iter()
        .all(|truth| truth.executed.lock().expect("no panic").len() > 20);
    assert!(moved, "both have served");
}
