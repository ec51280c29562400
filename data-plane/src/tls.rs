//! The one module that names the TLS library's streams. Everything else moves bytes through `Stream` and makes one
//! encrypted with `ServerTls::upgrade` or `ClientTls::upgrade`; both take the dialogue's proof that no byte
//! of the clear part is left over, so that a STARTTLS injection does not compile.
//!
//! `docs/decisions/0004-one-tls-stream-module.md` says why this is one module.

mod ahead;
mod certificates;
mod choice;
mod client;
mod files;
mod presented;
mod resume;
mod server;
mod stream;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

pub use certificates::{CertificateError, Validity};
pub use client::{ClientTls, ClientTlsError, HttpVersions, PlatformTrust};
pub(crate) use files::{Complaint, Watched};
pub use presented::Replaced;
pub use server::{InvalidServerTls, ServerTls};
pub use stream::{Encryption, Handshake, HttpVersion, Session, Stream};

/// RFC 7301 §6, RFC 9113 §3.2.
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";

/// Why a connection was not upgraded.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The handshake failed: the peer's fault or a setting; the source says which.
    #[error("the TLS handshake failed")]
    Handshake(#[source] std::io::Error),
    /// It is encrypted already: the dialogues never offer TLS twice.
    #[error("the connection is encrypted already")]
    AlreadyEncrypted,
}
