//! A backend that says what it is told to say: for what a real server cannot be made to do. Everything else is
//! tested with real ones.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

use anyhow::Result;

use crate::{
    ca::Issued,
    place::Place,
    raw::{Raw, Role},
};

/// What came of one connection.
#[derive(Debug, Clone)]
pub struct Played {
    /// The lines that it was sent.
    pub heard: Vec<String>,
    /// Where the dialogue went differently than written.
    pub fault: Option<String>,
}

/// The threads end with the process; the test is one.
#[derive(Debug)]
pub struct Scripted {
    pub address: SocketAddr,
    played: Arc<Mutex<Vec<Played>>>,
    accepted: Arc<Mutex<usize>>,
}

impl Scripted {
    /// Plays `dialogue(n)` on its nth connection (from 0), then closes it.
    pub fn start(
        place: &Place,
        issued: &Issued,
        dialogue: impl Fn(usize) -> String + Send + Sync + 'static,
    ) -> Result<Self> {
        let address = place.port(place.server())?;
        let listener = TcpListener::bind(address)?;
        let played: Arc<Mutex<Vec<Played>>> = Arc::default();
        let accepted: Arc<Mutex<usize>> = Arc::default();
        let (played_there, accepted_there) = (Arc::clone(&played), Arc::clone(&accepted));
        let issued = issued.clone();
        let dialogue = Arc::new(dialogue);
        std::thread::spawn(move || {
            for (number, tcp) in listener.incoming().flatten().enumerate() {
                *accepted_there.lock().expect("no thread panics with it") += 1;
                let (played, issued, dialogue) =
                    (Arc::clone(&played_there), issued.clone(), Arc::clone(&dialogue));
                std::thread::spawn(move || {
                    let Ok(mut raw) = Raw::new(tcp) else { return };
                    let fault = raw.play(Role::Server(&issued), &dialogue(number)).err();
                    let heard = raw.heard.clone();
                    drop(raw);
                    played.lock().expect("no thread panics with it").push(Played {
                        heard,
                        fault: fault.map(|fault| format!("{fault:#}")),
                    });
                });
            }
        });
        Ok(Self {
            address,
            played,
            accepted,
        })
    }

    /// The connections that are over, in the order of their ends.
    #[must_use]
    pub fn played(&self) -> Vec<Played> {
        self.played.lock().expect("no thread panics with it").clone()
    }

    /// How many connections it has taken.
    #[must_use]
    pub fn accepted(&self) -> usize {
        *self.accepted.lock().expect("no thread panics with it")
    }
}
