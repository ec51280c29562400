//! How the programs speak to each other: gRPC behind mutual TLS over our own rustls.
//!
//! - `role`: who a certificate stands for; it is in its URI name, `urn:mailswitch:ROLE:NAME`.
//! - `credentials`: the three PEM files of a program, and reading them again without a restart.
//! - `verify`: the chain is verified by rustls; on top of it, a server must be a control plane and a client must have a role.
//! - `server`: accepts, handshakes beside the accepting, and yields what `serve_with_incoming` takes.
//! - `client`: a `Channel` to one endpoint, and why it could not be had, in words that an operator can act on.
//! - `failure`: those words.
//!
//! TLS 1.3 only, on both sides: nothing else ever speaks here.

mod client;
mod credentials;
mod failure;
mod role;
mod server;
mod verify;

#[cfg(test)]
mod tests;

pub use client::{ConnectError, HEADERS, Link, connect};
pub use credentials::{Credentials, CredentialsError, Files, Reload};
pub use failure::Failure;
pub use role::{InvalidName, Name, NoIdentity, Peer, PeerIdentity, Role, peer_of};
pub use server::{Connection, Incoming, listen, server_builder};
pub use verify::{Judge, JudgedServer, ShownChain, Signatures};

/// The application protocol of every connection here.
const ALPN: &[u8] = b"h2";
