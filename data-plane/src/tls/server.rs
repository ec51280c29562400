//! TLS toward clients: one configuration for all listeners, swapped whole when certificates are reloaded.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mailswitch_config::table::tls::{Tls, TlsVersion};
use mailswitch_dialogue::{TlsBoundary, TlsEstablished};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::{ProtocolVersion, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::certificates::{CertificateError, Certificates};
use super::{ALPN_HTTP1, ALPN_HTTP2, Stream, UpgradeError};

/// Why the settings make no TLS server.
#[derive(Debug, thiserror::Error)]
pub enum InvalidServerTls {
    /// A certificate cannot be served.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Nothing is left to offer.
    #[error("tls.protocols.disable_cipher_suites leaves no cipher suite")]
    NoCipherSuite,
    /// The library refuses the combination.
    #[error("these TLS settings cannot be used together")]
    Refused(#[source] rustls::Error),
}

/// What listeners present.
#[derive(Debug)]
pub struct ServerTls {
    configs: ArcSwap<Configs>,
}

/// One policy, two offers: mail has no ALPN, and a client that asks for one there is served all the same.
#[derive(Debug)]
struct Configs {
    mail: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

impl Configs {
    fn new(mail: ServerConfig) -> Self {
        let mut http = mail.clone();
        http.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        Self {
            mail: Arc::new(mail),
            http: Arc::new(http),
        }
    }
}

impl ServerTls {
    /// # Errors
    /// When the settings leave nothing to offer.
    pub fn new(tls: &Tls) -> Result<Self, InvalidServerTls> {
        Ok(Self {
            configs: ArcSwap::from_pointee(Configs::new(build(tls)?)),
        })
    }

    /// Presents other certificates to connections from now on.
    ///
    /// # Errors
    /// As `new`; then nothing changes.
    pub fn replace(&self, tls: &Tls) -> Result<(), InvalidServerTls> {
        self.configs.store(Arc::new(Configs::new(build(tls)?)));
        Ok(())
    }

    /// Handshakes as the server. The boundary proves that nothing that arrived in clear is taken for TLS.
    ///
    /// # Errors
    /// When the handshake fails; the client has been told by an alert.
    pub async fn upgrade(
        &self,
        stream: Stream,
        boundary: TlsBoundary,
    ) -> Result<(Stream, TlsEstablished), UpgradeError> {
        let config = Arc::clone(&self.configs.load().mail);
        accept(config, stream, boundary).await
    }

    /// As `upgrade`, and agrees with the client on HTTP/2 or HTTP/1.1 (ALPN, RFC 7301).
    ///
    /// # Errors
    /// As `upgrade`; also a client that offers neither.
    pub async fn upgrade_http(
        &self,
        stream: Stream,
        boundary: TlsBoundary,
    ) -> Result<(Stream, TlsEstablished), UpgradeError> {
        let config = Arc::clone(&self.configs.load().http);
        accept(config, stream, boundary).await
    }
}

async fn accept(
    config: Arc<ServerConfig>,
    stream: Stream,
    boundary: TlsBoundary,
) -> Result<(Stream, TlsEstablished), UpgradeError> {
    let tcp = stream.into_plain().ok_or(UpgradeError::AlreadyEncrypted)?;
    let accept = TlsAcceptor::from(config).accept(tcp);
    let tls = accept.await.map_err(UpgradeError::Handshake)?;
    Ok((Stream::server(tls), boundary.established()))
}

fn build(tls: &Tls) -> Result<ServerConfig, InvalidServerTls> {
    let mut provider = aws_lc_rs::default_provider();
    let certificates = Certificates::load(&tls.certificates, &provider)?;
    if certificates.may_present_self_signed() {
        tracing::warn!(
            "clients that ask for a name no certificate has are shown a self-signed one for localhost; \
             give one certificate `default = true`"
        );
    }
    remove_suites(&mut provider, &tls.protocols.disable_cipher_suites);
    let versions: &[&rustls::SupportedProtocolVersion] = match tls.protocols.min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let offered: Vec<_> = versions
        .iter()
        .copied()
        .filter(|version| {
            provider
                .cipher_suites
                .iter()
                .any(|suite| suite.version() == *version)
        })
        .collect();
    if offered.is_empty() {
        return Err(InvalidServerTls::NoCipherSuite);
    }
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&offered)
        .map_err(InvalidServerTls::Refused)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.ignore_client_order = tls.protocols.ignore_client_order;
    // Resumption by tickets only: a cache would be memory per client, and nodes do not share one.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(InvalidServerTls::Refused)?;
    // One ticket is enough: a mail client resumes from its newest.
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn remove_suites(provider: &mut CryptoProvider, disabled: &[String]) {
    provider.cipher_suites.retain(|suite| {
        let name = format!("{:?}", suite.suite());
        let iana = match suite.version().version {
            ProtocolVersion::TLSv1_3 => name.replacen("TLS13_", "TLS_", 1),
            _ => name.clone(),
        };
        !disabled
            .iter()
            .any(|entry| entry.eq_ignore_ascii_case(&name) || entry.eq_ignore_ascii_case(&iana))
    });
}
