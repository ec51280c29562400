//! The chain, the dates and the server name are verified by rustls' own verifiers; on top of them stands who may be
//! on which side. Without that, a stolen node key with a fitting host name could play the control plane.
//!
//! [`JudgedServer`] is also how a node judges its backends where the platform's trust store does not.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::credentials::{CredentialsError, provider};
use super::role::{PeerIdentity, Role};

/// A server's certificate that is valid, but not a control plane's.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is not a control plane's")]
pub(super) struct NotControlPlane;

/// What a [`JudgedServer`] decides: whether this is the server that was meant.
pub trait Judge: fmt::Debug + Send + Sync {
    /// Judges chain, name and dates. The handshake's signature is not its business.
    ///
    /// # Errors
    /// When it is another server.
    fn judge(&self, shown: &ShownChain<'_>) -> Result<ServerCertVerified, Error>;
}

/// What a server showed, and whom it was meant to be.
#[derive(Debug)]
pub struct ShownChain<'a> {
    /// Its own certificate.
    pub leaf: &'a CertificateDer<'a>,
    /// Those behind it.
    pub intermediates: &'a [CertificateDer<'a>],
    /// The name that was asked for.
    pub name: &'a ServerName<'a>,
    /// Stapled; empty without one.
    pub ocsp_response: &'a [u8],
    /// The time of the handshake.
    pub now: UnixTime,
}

/// A server's verifier with a judge of its own for the certificate.
#[derive(Debug)]
pub struct JudgedServer<J> {
    judge: J,
    signatures: Signatures,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What becomes of the handshake's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// It is checked: whoever copied a certificate without its key is refused.
    Checked,
    /// It is not: for a server whose certificate nobody can parse.
    Ignored,
}

impl<J: Judge> JudgedServer<J> {
    /// With the signatures that this provider knows.
    pub fn new(judge: J, signatures: Signatures, provider: &CryptoProvider) -> Self {
        Self {
            judge,
            signatures,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl<J: Judge> ServerCertVerifier for JudgedServer<J> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge.judge(&ShownChain {
            leaf: end_entity,
            intermediates,
            name: server_name,
            ocsp_response,
            now,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.signatures {
            Signatures::Checked => verify_tls12_signature(message, cert, dss, &self.algorithms),
            Signatures::Ignored => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.signatures {
            Signatures::Checked => verify_tls13_signature(message, cert, dss, &self.algorithms),
            Signatures::Ignored => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Accepts servers that are control planes.
#[derive(Debug)]
pub(super) struct ControlPlaneOnly(Arc<WebPkiServerVerifier>);

impl ControlPlaneOnly {
    pub(super) fn verifier(roots: Arc<RootCertStore>) -> Result<JudgedServer<Self>, CredentialsError> {
        let provider = provider();
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map(|chains| JudgedServer::new(Self(chains), Signatures::Checked, &provider))
            .map_err(CredentialsError::verifier)
    }
}

impl Judge for ControlPlaneOnly {
    fn judge(&self, shown: &ShownChain<'_>) -> Result<ServerCertVerified, Error> {
        let verified = self.0.verify_server_cert(
            shown.leaf,
            shown.intermediates,
            shown.name,
            shown.ocsp_response,
            shown.now,
        )?;
        match PeerIdentity::of_certificate(shown.leaf) {
            Ok(PeerIdentity {
                role: Role::ControlPlane,
                ..
            }) => Ok(verified),
            _ => Err(CertificateError::Other(OtherError(Arc::new(NotControlPlane))).into()),
        }
    }
}

/// Accepts clients that have a role.
pub(super) struct RoleHoldersOnly(Arc<dyn ClientCertVerifier>);

impl RoleHoldersOnly {
    pub(super) fn new(roots: Arc<RootCertStore>) -> Result<Self, CredentialsError> {
        WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map(Self)
            .map_err(CredentialsError::verifier)
    }
}

impl fmt::Debug for RoleHoldersOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoleHoldersOnly")
    }
}

impl ClientCertVerifier for RoleHoldersOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        // The client reads this refusal as the alert `access_denied`.
        PeerIdentity::of_certificate(end_entity)
            .map(|_| verified)
            .map_err(|_| CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
