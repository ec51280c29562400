//! The backend's leg, up to the credential.
use crate::backend::{HandshakeConfig, Ready};
use crate::dialogue::{Dialogue, Step};
use crate::failure::HandshakeError;
use crate::input::{Input, TlsEstablished};
use crate::output::Output;

pub(crate) struct Handshake;

impl Handshake {
    pub(crate) fn new(_config: HandshakeConfig) -> Self {
        Self
    }
}

impl Dialogue for Handshake {
    type Done = Result<Ready, HandshakeError>;

    fn step(&mut self, _input: &mut Input, _output: &mut Output) -> Step<Self::Done> {
        Step::Done(Err(HandshakeError::Closed))
    }

    fn tls_started(&mut self, _tls: TlsEstablished) {}
}
