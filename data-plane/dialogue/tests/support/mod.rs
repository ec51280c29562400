//! A driver without sockets, and the configurations that the tests share.

// Each test program uses its part of it.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used)]

mod words;

use std::sync::Arc;

use mailswitch_dialogue::{
    AccessConfig, Announce, BackendLeg, CleartextAuth, ClientAttributes, ClientLeg, ClientSide,
    ClientSideConfig, Dialogue, Handshake, HandshakeConfig, Hops, Input, Mechanism, Output, PeerTrust,
    PlaintextAuth, Presentation, Protocol, SessionId, Step, TlsEstablished, Transport, client_side,
};

pub use words::{Words, authenticate, response, words};

pub const PROTOCOLS: [Protocol; 4] = [
    Protocol::Imap,
    Protocol::Pop3,
    Protocol::ManageSieve,
    Protocol::Submission,
];

/// What was said, where TLS started, how it ended, and what nobody used.
#[derive(Debug)]
pub struct Run<Done> {
    pub said: String,
    pub done: Option<Done>,
    pub rest: Vec<u8>,
}

/// Marks the start of TLS in `said`.
pub const TLS: &str = "<TLS>";

/// One dialogue with its buffers.
pub struct Wire<D: ?Sized, Done> {
    pub input: Input,
    pub output: Output,
    pub said: Vec<u8>,
    pub done: Option<Done>,
    behind: Vec<u8>,
    /// Nothing is kept in `said`: the test measures memory.
    pub deaf: bool,
    pub dialogue: Box<D>,
}

impl<D: Dialogue<Done = Done> + ?Sized, Done> Wire<D, Done> {
    /// Takes the first step.
    pub fn new(dialogue: Box<D>) -> Self {
        let mut wire = Self {
            input: Input::new(),
            output: Output::new(),
            said: Vec::new(),
            done: None,
            behind: Vec::new(),
            deaf: false,
            dialogue,
        };
        wire.settle();
        wire
    }

    /// Receives bytes, and does all that follows from them.
    pub fn receive(&mut self, mut bytes: &[u8]) {
        loop {
            if self.done.is_some() {
                self.behind.extend_from_slice(bytes);
                return;
            }
            let taken = self.input.push(bytes);
            bytes = &bytes[taken..];
            self.settle();
            if bytes.is_empty() {
                return;
            }
        }
    }

    pub fn finish(self) -> Run<Done> {
        let mut rest = self.input.into_rest().to_vec();
        rest.extend(self.behind);
        Run {
            said: String::from_utf8_lossy(&self.said).into_owned(),
            done: self.done,
            rest,
        }
    }

    fn settle(&mut self) {
        // Every step but the last of a round has written something, used something or started TLS.
        for _ in 0..300_000 {
            let before = self.input.len();
            let step = self.dialogue.step(&mut self.input, &mut self.output);
            let wrote = self.output.unwritten().len();
            if !self.deaf {
                self.said.extend_from_slice(self.output.unwritten());
            }
            self.output.written(wrote);
            match step {
                Step::NeedInput => {
                    assert!(
                        !self.input.spare().is_empty(),
                        "asks for input and leaves no room for it"
                    );
                    return;
                }
                Step::Flush => assert!(wrote > 0 || self.input.len() < before, "a step without progress"),
                Step::StartTls(boundary) => {
                    assert!(self.input.is_empty(), "TLS starts with bytes left over");
                    self.said.extend_from_slice(TLS.as_bytes());
                    self.dialogue.tls_started(boundary.established());
                }
                Step::Done(done) => {
                    self.done = Some(done);
                    return;
                }
            }
        }
        panic!("the dialogue goes round in circles");
    }
}

/// Plays all pieces to a dialogue.
pub fn run<D: Dialogue + ?Sized>(dialogue: Box<D>, pieces: &[&[u8]]) -> Run<D::Done> {
    let mut wire = Wire::new(dialogue);
    for piece in pieces {
        wire.receive(piece);
    }
    wire.finish()
}

pub fn tls() -> TlsEstablished {
    Input::new().tls_boundary().unwrap().established()
}

pub fn presentation(protocol: Protocol) -> Presentation {
    match protocol {
        Protocol::Imap => Presentation::Imap {
            banner: "Mailswitch ready.".into(),
            advertise: Arc::new(["IMAP4rev1".to_owned(), "SASL-IR".to_owned(), "ID".to_owned()]),
        },
        Protocol::Pop3 => Presentation::Pop3 {
            banner: "Mailswitch ready.".into(),
            implementation: "Mailswitch",
        },
        Protocol::ManageSieve => Presentation::ManageSieve {
            implementation: "Mailswitch ManageSieve".into(),
            sieve: Arc::new(["fileinto".to_owned(), "vacation".to_owned()]),
        },
        Protocol::Submission => Presentation::Submission {
            hostname: "mx.example".into(),
            banner: "Mailswitch".into(),
            ehlo: Arc::new(["PIPELINING".to_owned(), "SIZE 1000".to_owned()]),
        },
    }
}

pub fn access(cleartext: CleartextAuth) -> AccessConfig {
    AccessConfig {
        sasl: Arc::new(Mechanism::ALL),
        cleartext,
        max_failures: 3,
        jwt_claim: "email".into(),
    }
}

/// A client side on any leg.
pub fn client_on(protocol: Protocol, leg: ClientLeg, cleartext: CleartextAuth) -> ClientSide {
    client_side(ClientSideConfig {
        presentation: presentation(protocol),
        access: access(cleartext),
        leg,
        peer: PeerTrust::Client,
    })
}

/// A client side over TLS.
pub fn client(protocol: Protocol) -> ClientSide {
    client_on(protocol, ClientLeg::Encrypted(tls()), CleartextAuth::Refused)
}

pub fn attributes() -> ClientAttributes {
    ClientAttributes {
        client: "192.0.2.7:40000".parse().unwrap(),
        destination: "198.51.100.1:993".parse().unwrap(),
        session: SessionId::new("s-1").unwrap(),
        ttl: Hops(6),
        transport: Transport::Tls,
    }
}

pub fn leg(leg: BackendLeg, announce: Announce) -> HandshakeConfig {
    HandshakeConfig {
        leg,
        plaintext: PlaintextAuth::Allowed,
        announce,
        helo: None,
        hostname: Some("mx.example".into()),
    }
}

/// A handshake for a client's command with the tag `a1`.
pub fn backend(protocol: Protocol, config: HandshakeConfig) -> Handshake {
    mailswitch_dialogue::handshake(&login(protocol).command, config)
}

/// A login as `ann` with `pa55word`.
pub fn login(protocol: Protocol) -> Box<mailswitch_dialogue::Login> {
    match run(client(protocol), &[words(protocol).login]).done {
        Some(mailswitch_dialogue::ClientOutcome::Login(login)) => login,
        other => panic!("no login: {other:?}"),
    }
}
