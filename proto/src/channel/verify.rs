//! The chain, the dates and the server name are verified by rustls' own verifiers; on top of them stands who may be
//! on which side. Without that, a stolen node key with a fitting host name could play the control plane.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
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

/// Accepts servers that are control planes.
#[derive(Debug)]
pub(super) struct ControlPlaneOnly(Arc<WebPkiServerVerifier>);

impl ControlPlaneOnly {
    pub(super) fn new(roots: Arc<RootCertStore>) -> Result<Self, CredentialsError> {
        WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map(Self)
            .map_err(CredentialsError::verifier)
    }
}

impl ServerCertVerifier for ControlPlaneOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        match PeerIdentity::of_certificate(end_entity) {
            Ok(PeerIdentity {
                role: Role::ControlPlane,
                ..
            }) => Ok(verified),
            _ => Err(CertificateError::Other(OtherError(Arc::new(NotControlPlane))).into()),
        }
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
