//! TLS of a probe: the one file here that names the TLS library's streams. A session refuses what it does not trust; a
//! probe has to say why, and what would be trusted: it notes the certificate and the verdict, and goes on to see
//! the rest. Nothing secret is ever sent on such a connection. Signatures are checked in any case.

use std::io;
use std::sync::{Arc, OnceLock};

use mailswitch_config::table::destination::{Destination, Verification};
use mailswitch_dialogue::{TlsBoundary, TlsEstablished};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificate::Leaf;

/// The encrypted stream.
pub(crate) type Encrypted = tokio_rustls::client::TlsStream<TcpStream>;

/// What a handshake showed.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) version: &'static str,
    /// None: it cannot be read.
    pub(crate) leaf: Option<Leaf>,
    /// What the platform's trust store says, for `Verification::Platform`.
    pub(crate) verdict: Result<(), Error>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The handshake failed.
    #[error("{0}")]
    Handshake(#[source] io::Error),
}

/// The platform's trust store, read once for all legs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust(Arc<OnceLock<Result<Arc<Verifier>, String>>>);

impl Trust {
    fn verifier(&self) -> Result<Arc<Verifier>, String> {
        let load = || {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let loaded = Verifier::new(provider).map(Arc::new);
            loaded.map_err(|error| {
                format!("the system's trusted certificates cannot be loaded ({error}); is ca-certificates installed?")
            })
        };
        self.0.get_or_init(load).clone()
    }
}

/// TLS to a destination.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    destination: Destination,
    trust: Trust,
}

impl Tls {
    pub(crate) fn of(destination: &Destination, trust: &Trust) -> Self {
        Self {
            destination: destination.clone(),
            trust: trust.clone(),
        }
    }

    /// Handshakes; whatever the certificate is, it is shown.
    pub(crate) async fn start(
        &self,
        tcp: TcpStream,
        boundary: TlsBoundary,
    ) -> Result<(Encrypted, Shown, TlsEstablished), TlsError> {
        let name = self.destination.tls_server_name.clone();
        let name = name.ok_or_else(|| TlsError::Settings("there is no tls_server_name".to_owned()))?;
        let (config, seen) = self.config()?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        let stream = connecting.await.map_err(TlsError::Handshake)?;
        let version = match stream.get_ref().1.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        };
        let seen = seen.take();
        let shown = Shown {
            version,
            leaf: seen.as_ref().and_then(|(leaf, _)| Leaf::read(leaf)),
            verdict: seen.map_or(Ok(()), |(_, verdict)| verdict),
        };
        Ok((stream, shown, boundary.established()))
    }

    fn config(&self) -> Result<(ClientConfig, Arc<Notes>), TlsError> {
        let settings = |error: &dyn std::fmt::Display| TlsError::Settings(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let trust = match self.destination.verification {
            Verification::Platform => Some(self.trust.verifier().map_err(TlsError::Settings)?),
            Verification::Pinned(_) | Verification::None => None,
        };
        let notes = Arc::new(Notes {
            trust,
            provider: Arc::clone(&provider),
            seen: std::sync::Mutex::default(),
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| settings(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&notes) as Arc<dyn ServerCertVerifier>);
        let config = match &self.destination.client_certificate {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_file_iter(&identity.cert)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|error| settings(&error))?;
                let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(|error| settings(&error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| settings(&error))?
            }
        };
        Ok((config, notes))
    }
}

/// Notes the leaf and the verdict, and lets the handshake go on.
#[derive(Debug)]
struct Notes {
    trust: Option<Arc<Verifier>>,
    provider: Arc<CryptoProvider>,
    seen: std::sync::Mutex<Option<Seen>>,
}

type Seen = (CertificateDer<'static>, Result<(), Error>);

impl Notes {
    fn take(&self) -> Option<Seen> {
        self.seen.lock().ok()?.take()
    }
}

impl ServerCertVerifier for Notes {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = match &self.trust {
            None => Ok(()),
            Some(trust) => trust
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map(|_| ()),
        };
        if let Ok(mut seen) = self.seen.lock() {
            *seen = Some((end_entity.clone().into_owned(), verdict));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
