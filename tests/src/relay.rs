//! A TCP relay in front of a backend that can stop the backend's bytes on command: a login can be caught in
//! the middle of a slow handshake, and let go again.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;

use crate::place::Place;

/// What the relay does with bytes that come from the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Each piece waits this long.
    Delay(Duration),
    /// Nothing passes until the mode changes.
    Freeze,
    /// The dialogue passes up to the client's credential; what answers that does not, until the mode changes. In clear only.
    FreezeAnswer,
}

#[derive(Debug)]
struct State {
    mode: Mutex<Mode>,
    changed: Condvar,
    held_back: AtomicUsize,
    accepted: AtomicUsize,
}

/// The threads end with the process; the test is one.
#[derive(Debug)]
pub struct DelayRelay {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl DelayRelay {
    pub fn start(place: &Place, backend: SocketAddr) -> Result<Self> {
        let address = place.port(place.server())?;
        let listener = TcpListener::bind(address)?;
        let state = Arc::new(State {
            mode: Mutex::new(Mode::Pass),
            changed: Condvar::new(),
            held_back: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(backend) else {
                    continue;
                };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (Ok(client_in), Ok(server_in)) = (client.try_clone(), server.try_clone()) else {
                    continue;
                };
                let (toward_client, asked) = (Arc::clone(&shared), Arc::new(AtomicBool::new(false)));
                let asks = Arc::clone(&asked);
                std::thread::spawn(move || {
                    copy(client_in, server, |bytes| {
                        if holds_a_credential(bytes) {
                            asks.store(true, Ordering::SeqCst);
                        }
                    });
                });
                std::thread::spawn(move || {
                    copy(server_in, client, |_| {
                        pass_gate(&toward_client, asked.load(Ordering::SeqCst));
                    });
                });
            }
        });
        Ok(Self { address, state })
    }

    pub fn set(&self, mode: Mode) {
        *self.state.mode.lock().expect("no thread panics with it") = mode;
        self.state.changed.notify_all();
    }

    /// How many pieces from the backend wait here now.
    #[must_use]
    pub fn held_back(&self) -> usize {
        self.state.held_back.load(Ordering::SeqCst)
    }

    /// How many connections it has taken.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

/// `AUTHENTICATE`, `AUTH`, `Authorization:`.
fn holds_a_credential(bytes: &[u8]) -> bool {
    bytes
        .windows(4)
        .any(|window| window.eq_ignore_ascii_case(b"auth"))
}

/// `before`: of each piece, before it goes on.
fn copy(mut from: TcpStream, mut to: TcpStream, before: impl Fn(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let size = match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(size) => size,
        };
        before(&buffer[..size]);
        if to.write_all(&buffer[..size]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn pass_gate(state: &State, behind_credential: bool) {
    state.held_back.fetch_add(1, Ordering::SeqCst);
    let mut mode = state.mode.lock().expect("no thread panics with it");
    while *mode == Mode::Freeze || (*mode == Mode::FreezeAnswer && behind_credential) {
        mode = state.changed.wait(mode).expect("no thread panics with it");
    }
    let mode = *mode;
    if let Mode::Delay(time) = mode {
        std::thread::sleep(time);
    }
    state.held_back.fetch_sub(1, Ordering::SeqCst);
}
