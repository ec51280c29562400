//! How a backend's certificate is judged where the platform's trust store does not: by a pin, or not at all.

use std::sync::Arc;

use mailswitch_config::table::destination::Pin;
use mailswitch_proto::channel::{Judge, JudgedServer, ShownChain, Signatures};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, Error};
use sha2::{Digest as _, Sha256};

/// Accepts exactly one leaf: replaces chain, name and dates. The handshake's signature is still checked.
pub(super) fn pinned(pin: Pin, provider: &CryptoProvider) -> Arc<dyn ServerCertVerifier> {
    Arc::new(JudgedServer::new(PinnedLeaf(pin), Signatures::Checked, provider))
}

/// `tls_allow_invalid_certs`: no verification at all, for the old server whose certificate nobody can parse. The
/// configuration warns at every start.
pub(super) fn anything(provider: &CryptoProvider) -> Arc<dyn ServerCertVerifier> {
    Arc::new(JudgedServer::new(Anything, Signatures::Ignored, provider))
}

#[derive(Debug)]
struct PinnedLeaf(Pin);

impl Judge for PinnedLeaf {
    fn judge(&self, shown: &ShownChain<'_>) -> Result<ServerCertVerified, Error> {
        if Sha256::digest(shown.leaf).as_slice() == self.0.as_bytes() {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))
        }
    }
}

#[derive(Debug)]
struct Anything;

impl Judge for Anything {
    fn judge(&self, _: &ShownChain<'_>) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
}
