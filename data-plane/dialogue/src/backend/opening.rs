//! The shape of every dialogue with a backend up to the credential: what stands between is the protocol's `Opening`.
//!
//! Here is what must not differ: a leg counts as encrypted only by the proof, and what was learnt in clear is forgotten
//! before the first word inside TLS.

use crate::backend::{Announced, BackendLeg, Leg, PlaintextAuth, Ready, ReadyKind};
use crate::dialogue::{Dialogue, Step};
use crate::failure::{HandshakeError, InsecureLeg};
use crate::input::{Input, TlsBoundary, TlsEstablished};
use crate::output::Output;

/// From a backend's greeting to a leg that waits for the credential, in one protocol.
pub(crate) trait Opening {
    /// Reads the next reply, and says what follows from it. `tls`: whether TLS is still to be started.
    fn advance(
        &mut self,
        tls: Tls,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<Advanced, HandshakeError>;

    /// TLS stands: forgets what was learnt in clear, and asks again.
    fn upgraded(&mut self, output: &mut Output) -> Result<Advanced, HandshakeError>;
}

/// Where a leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    /// STARTTLS, or no leg.
    Wanted,
    /// As it is to be.
    Settled,
}

/// What came of a reply.
pub(crate) enum Advanced {
    /// There may be more to do.
    More,
    /// Nothing: the rest of it has still to come.
    Incomplete,
    /// The backend agreed.
    StartTls(TlsBoundary),
    /// The leg waits for the credential.
    Ready(Announced, ReadyKind),
}

/// A leg, and what may be sent over it.
pub(crate) struct Guarded {
    pub(crate) leg: BackendLeg,
    pub(crate) plaintext: PlaintextAuth,
}

/// Proof that a leg may be given a credential: it is encrypted, or may be in clear. Only `Guarded::clear` makes it.
#[derive(Debug)]
pub(crate) struct Cleared(Leg);

impl Cleared {
    pub(crate) const fn leg(&self) -> Leg {
        self.0
    }
}

impl Guarded {
    /// The credential guard (behaviour §4, step 8).
    fn clear(&self) -> Result<Cleared, InsecureLeg> {
        match (&self.leg, self.plaintext) {
            (BackendLeg::Encrypted(_), _) => Ok(Cleared(Leg::Encrypted)),
            (BackendLeg::Plain, PlaintextAuth::Allowed) => Ok(Cleared(Leg::Clear)),
            // What is still to become encrypted is not.
            (BackendLeg::StartTls, _) | (BackendLeg::Plain, PlaintextAuth::Refused) => Err(InsecureLeg),
        }
    }
}

/// The dialogue.
pub(crate) struct Handshaking<O> {
    opening: O,
    guarded: Guarded,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Talking,
    /// Waits for `tls_started`.
    Tls,
    /// TLS stands, and nothing was said in it.
    Upgraded,
}

impl<O: Opening> Handshaking<O> {
    pub(crate) fn new(opening: O, guarded: Guarded) -> Self {
        Self {
            opening,
            guarded,
            phase: Phase::Talking,
        }
    }

    fn advance(&mut self, input: &mut Input, output: &mut Output) -> Result<Advanced, HandshakeError> {
        match self.phase {
            Phase::Tls => Ok(Advanced::Incomplete),
            Phase::Upgraded => {
                self.phase = Phase::Talking;
                self.opening.upgraded(output)
            }
            Phase::Talking => {
                let tls = match self.guarded.leg {
                    BackendLeg::StartTls => Tls::Wanted,
                    // Before XCLIENT and ID: a leg that stays in clear is told nothing about the client either.
                    BackendLeg::Encrypted(_) | BackendLeg::Plain => {
                        self.guarded.clear()?;
                        Tls::Settled
                    }
                };
                self.opening.advance(tls, input, output)
            }
        }
    }

    fn ready(&self, announced: Announced, kind: ReadyKind) -> Result<Ready, HandshakeError> {
        let cleared = self.guarded.clear()?;
        Ok(Ready {
            cleared,
            announced,
            kind,
        })
    }
}

impl<O: Opening> Dialogue for Handshaking<O> {
    type Done = Result<Ready, HandshakeError>;

    fn step(&mut self, input: &mut Input, output: &mut Output) -> Step<Self::Done> {
        loop {
            match self.advance(input, output) {
                Ok(Advanced::More) => {}
                Ok(Advanced::Incomplete) => return Step::NeedInput,
                Ok(Advanced::StartTls(boundary)) => {
                    self.phase = Phase::Tls;
                    return Step::StartTls(boundary);
                }
                Ok(Advanced::Ready(announced, kind)) => {
                    return Step::Done(self.ready(announced, kind));
                }
                Err(error) => return Step::Done(Err(error)),
            }
        }
    }

    fn tls_started(&mut self, tls: TlsEstablished) {
        self.guarded.leg = BackendLeg::Encrypted(tls);
        self.phase = Phase::Upgraded;
    }
}
