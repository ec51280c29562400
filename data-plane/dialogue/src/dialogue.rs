//! The one trait of all dialogues, both roles and every protocol, and its contract with the driver.
//!
//! ```text
//! loop {
//!     let step = dialogue.step(&mut input, &mut output);
//!     write all of `output`
//!     match step {
//!         Flush            => step again
//!         NeedInput        => read into input.spare(), input.filled(n); at the peer's end: stop
//!         StartTls(proof)  => do the TLS handshake, then dialogue.tls_started(proof.established())
//!         Done(value)      => return value; what is left in `input` belongs to the bridge
//!     }
//! }
//! ```

use crate::input::{Input, TlsBoundary, TlsEstablished};
use crate::output::Output;

/// A dialogue with one peer, up to its end.
pub trait Dialogue {
    /// What it ends with.
    type Done;

    /// Uses what it can of `input`, says what is to be said in `output`. Must not be called after `Done`, nor
    /// between `StartTls` and `tls_started`.
    fn step(&mut self, input: &mut Input, output: &mut Output) -> Step<Self::Done>;

    /// The TLS that it asked for stands.
    fn tls_started(&mut self, tls: TlsEstablished);
}

/// What the driver does next, after it has written the output.
#[derive(Debug)]
#[must_use]
pub enum Step<Done> {
    /// Read more.
    NeedInput,
    /// Nothing but writing; then step again, without reading. Keeps a client that does not read its replies from
    /// growing them.
    Flush,
    /// Start TLS, with nothing read in between.
    StartTls(TlsBoundary),
    /// The end. Whatever `input` still holds was sent behind it.
    Done(Done),
}

impl<D> Step<D> {
    /// The same step with another end.
    pub fn map<T>(self, f: impl FnOnce(D) -> T) -> Step<T> {
        match self {
            Self::NeedInput => Step::NeedInput,
            Self::Flush => Step::Flush,
            Self::StartTls(boundary) => Step::StartTls(boundary),
            Self::Done(done) => Step::Done(f(done)),
        }
    }
}
