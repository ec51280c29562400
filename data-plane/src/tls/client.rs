//! TLS toward backends: one configuration per leg of a destination, made once, so that its sessions are resumed.
//!
//! TLS 1.2 and up; the platform's trust store and the expected name, unless the destination pins a leaf.

use std::sync::Arc;

use mailswitch_config::DestinationName;
use mailswitch_config::table::destination::{Destination, Verification};
use mailswitch_dialogue::{TlsBoundary, TlsEstablished};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::ServerName;
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

use super::ahead::Ahead;
use super::certificates::{CertificateError, read_pair};
use super::resume::LegSessions;
use super::verify::{anything, pinned};
use super::{ALPN_HTTP1, ALPN_HTTP2, Stream, UpgradeError};

/// Why no TLS connection to a destination can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// The destination has no name that its certificate could be checked for.
    #[error("destination.{0}.tls_server_name is missing")]
    NoName(DestinationName),
    /// The client certificate or its key cannot be loaded.
    #[error("the client certificate cannot be used")]
    Certificate(#[from] CertificateError),
    /// The platform's trust store cannot be used.
    #[error("the system's trusted certificates cannot be loaded; is ca-certificates installed?")]
    TrustStore(#[source] rustls::Error),
    /// The library refuses the settings.
    #[error("these TLS settings cannot be used together")]
    Refused(#[source] rustls::Error),
}

/// The system's trust store: loaded once, shared by all destinations.
#[derive(Debug, Clone)]
pub struct PlatformTrust {
    provider: Arc<CryptoProvider>,
    verifier: Option<Arc<Verifier>>,
}

impl Default for PlatformTrust {
    fn default() -> Self {
        Self {
            provider: Arc::new(aws_lc_rs::default_provider()),
            verifier: None,
        }
    }
}

impl PlatformTrust {
    /// Loads it when the first destination needs it.
    fn verifier(&mut self) -> Result<Arc<dyn ServerCertVerifier>, ClientTlsError> {
        let verifier = match &self.verifier {
            Some(verifier) => Arc::clone(verifier),
            None => Arc::new(Verifier::new(Arc::clone(&self.provider)).map_err(ClientTlsError::TrustStore)?),
        };
        self.verifier = Some(Arc::clone(&verifier));
        Ok(verifier)
    }
}

/// TLS to one destination. A leg each has its own: `for_leg`.
#[derive(Debug)]
pub struct ClientTls {
    mail: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    name: ServerName<'static>,
    resume: Resume,
}

/// Whether sessions are taken up again. Not where the backend demands a certificate: OpenSSL's servers, Dovecot's
/// for one, end the handshake of a client that offers a session (`docs/decisions/0016-no-resumption-with-a-client-certificate.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resume {
    Yes,
    No,
}

/// What a backend is offered to speak (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersions {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, else HTTP/1.1.
    Http2,
}

impl ClientTls {
    /// # Errors
    /// When the destination's settings cannot be used.
    pub fn new(destination: &Destination, trust: &mut PlatformTrust) -> Result<Self, ClientTlsError> {
        let name = destination.tls_server_name.clone();
        let name = name.ok_or_else(|| ClientTlsError::NoName(destination.name.clone()))?;
        let verifier: Arc<dyn ServerCertVerifier> = match &destination.verification {
            Verification::Platform => trust.verifier()?,
            Verification::Pinned(pin) => pinned(*pin, &trust.provider),
            Verification::None => anything(&trust.provider),
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&trust.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(ClientTlsError::Refused)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config =
            match &destination.client_certificate {
                None => builder.with_no_client_auth(),
                Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                    read_pair(&identity.cert, &identity.key, &trust.provider)?,
                ))),
            };
        let resumption = match destination.client_certificate {
            None => Resume::Yes,
            Some(_) => Resume::No,
        };
        Ok(Self::of(&config, name, resumption))
    }

    /// The same settings, with sessions of its own: the servers behind a destination's ports do not know each other's.
    #[must_use]
    pub fn for_leg(&self) -> Self {
        Self::of(&self.mail, self.name.clone(), self.resume)
    }

    /// What is offered shares what is remembered of the backend's sessions; it chooses anew at each resumption.
    fn of(config: &ClientConfig, name: ServerName<'static>, resume: Resume) -> Self {
        let resumption = match resume {
            Resume::Yes => Resumption::store(Arc::new(LegSessions::default())),
            Resume::No => Resumption::disabled(),
        };
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            config.resumption = resumption.clone();
            Arc::new(config)
        };
        Self {
            mail: offering(&[]),
            http1: offering(&[ALPN_HTTP1]),
            http2: offering(&[ALPN_HTTP2, ALPN_HTTP1]),
            name,
            resume,
        }
    }

    /// Handshakes as the client. The boundary proves that nothing that the backend sent in clear is kept.
    ///
    /// # Errors
    /// When the handshake fails: the backend's certificate, its settings, or its silence.
    pub async fn upgrade(
        &self,
        stream: Stream,
        boundary: TlsBoundary,
    ) -> Result<(Stream, TlsEstablished), UpgradeError> {
        self.connect(&self.mail, stream, boundary).await
    }

    /// As `upgrade`, and agrees with the backend on what is spoken.
    ///
    /// # Errors
    /// As `upgrade`.
    pub async fn upgrade_http(
        &self,
        stream: Stream,
        boundary: TlsBoundary,
        offer: HttpVersions,
    ) -> Result<(Stream, TlsEstablished), UpgradeError> {
        let config = match offer {
            HttpVersions::Http1 => &self.http1,
            HttpVersions::Http2 => &self.http2,
        };
        self.connect(config, stream, boundary).await
    }

    async fn connect(
        &self,
        config: &Arc<ClientConfig>,
        stream: Stream,
        boundary: TlsBoundary,
    ) -> Result<(Stream, TlsEstablished), UpgradeError> {
        let tcp = stream.into_plain().ok_or(UpgradeError::AlreadyEncrypted)?;
        let connect = TlsConnector::from(Arc::clone(config)).connect(self.name.clone(), Ahead::new(tcp));
        let tls = connect.await.map_err(UpgradeError::Handshake)?;
        Ok((Stream::client(tls), boundary.established()))
    }
}
