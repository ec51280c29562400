//! The dialogue toward the client.
use super::Words;
use crate::client::{Access, ClientLeg, ClientOutcome, PeerTrust, Why};
use crate::dialogue::{Dialogue, Step};
use crate::input::{Input, TlsEstablished};
use crate::output::Output;

pub(crate) struct ClientSide(Access);

impl ClientSide {
    pub(crate) fn new(_words: Words, access: Access, _leg: ClientLeg, _peer: PeerTrust) -> Self {
        Self(access)
    }
}

impl Dialogue for ClientSide {
    type Done = ClientOutcome;

    fn step(&mut self, _input: &mut Input, _output: &mut Output) -> Step<ClientOutcome> {
        Step::Done(ClientOutcome::Closed(Why::Quit))
    }

    fn tls_started(&mut self, tls: TlsEstablished) {
        self.0.encrypted(&tls);
    }
}
