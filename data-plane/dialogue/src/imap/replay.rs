//! The credential and the backend's answer.
use crate::backend::Answer;
use crate::dialogue::{Dialogue, Step};
use crate::failure::ReplayError;
use crate::input::{Input, TlsEstablished};
use crate::output::Output;
use crate::sasl::Credential;

pub(crate) struct Replay;

impl Replay {
    pub(crate) fn new(_leg: super::ReadyLeg, _credential: &Credential) -> Self {
        Self
    }
}

impl Dialogue for Replay {
    type Done = Result<Answer, ReplayError>;

    fn step(&mut self, _input: &mut Input, _output: &mut Output) -> Step<Self::Done> {
        Step::Done(Err(ReplayError::Closed))
    }

    fn tls_started(&mut self, _tls: TlsEstablished) {}
}
