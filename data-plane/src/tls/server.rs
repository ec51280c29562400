//! TLS toward clients: one configuration for all listeners. Certificates that change on disk are replaced in it; other
//! settings replace it whole. The keys of the tickets live as long as the process: no replacement makes all clients
//! handshake in full.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mailswitch_config::CertificateName;
use mailswitch_config::table::tls::{Tls, TlsVersion};
use mailswitch_dialogue::{TlsBoundary, TlsEstablished};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{ProtocolVersion, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::ahead::Ahead;
use super::certificates::{CertificateError, Validity};
use super::presented::{Presented, Replaced};
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
    current: ArcSwap<Current>,
    ticketer: Arc<dyn ProducesTickets>,
}

/// One policy, two offers: mail has no ALPN, and a client that asks for one there is served all the same.
#[derive(Debug)]
struct Current {
    mail: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
    presented: Arc<Presented>,
}

impl ServerTls {
    /// # Errors
    /// When a certificate cannot be served, or the settings leave nothing to offer.
    pub fn new(tls: &Tls) -> Result<Self, InvalidServerTls> {
        let ticketer = aws_lc_rs::Ticketer::new().map_err(InvalidServerTls::Refused)?;
        Ok(Self {
            current: ArcSwap::from_pointee(Current::of(tls, &ticketer)?),
            ticketer,
        })
    }

    /// Presents other certificates, under other settings, to connections from now on.
    ///
    /// # Errors
    /// As `new`; then nothing changes.
    pub fn replace(&self, tls: &Tls) -> Result<(), InvalidServerTls> {
        self.current.store(Arc::new(Current::of(tls, &self.ticketer)?));
        Ok(())
    }

    /// Looks at the files of the certificates, and presents those that were replaced to connections from now on. Reads
    /// files: not for a task.
    pub fn look_again(&self) -> Vec<Replaced> {
        self.current.load().presented.look_again()
    }

    /// The certificates that are presented, and their times.
    #[must_use]
    pub fn validities(&self) -> Vec<(CertificateName, Validity)> {
        self.current.load().presented.validities()
    }

    /// True when a client that asks for a name no certificate has is shown one that nobody trusts.
    #[must_use]
    pub fn may_show_self_signed(&self) -> bool {
        self.current.load().presented.may_show_self_signed()
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
        let config = Arc::clone(&self.current.load().mail);
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
        let config = Arc::clone(&self.current.load().http);
        accept(config, stream, boundary).await
    }
}

async fn accept(
    config: Arc<ServerConfig>,
    stream: Stream,
    boundary: TlsBoundary,
) -> Result<(Stream, TlsEstablished), UpgradeError> {
    let tcp = stream.into_plain().ok_or(UpgradeError::AlreadyEncrypted)?;
    let accept = TlsAcceptor::from(config).accept(Ahead::new(tcp));
    let tls = accept.await.map_err(UpgradeError::Handshake)?;
    Ok((Stream::server(tls), boundary.established()))
}

impl Current {
    fn of(tls: &Tls, ticketer: &Arc<dyn ProducesTickets>) -> Result<Self, InvalidServerTls> {
        let provider = aws_lc_rs::default_provider();
        let presented = Arc::new(Presented::load(&tls.certificates, &provider)?);
        let mut config = build(tls, provider, Arc::clone(&presented))?;
        config.ticketer = Arc::clone(ticketer);
        let mut http = config.clone();
        http.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        Ok(Self {
            mail: Arc::new(config),
            http: Arc::new(http),
            presented,
        })
    }
}

fn build(
    tls: &Tls,
    mut provider: CryptoProvider,
    presented: Arc<Presented>,
) -> Result<ServerConfig, InvalidServerTls> {
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
        .with_cert_resolver(presented);
    config.ignore_client_order = tls.protocols.ignore_client_order;
    // Resumption by tickets only: a cache would be memory per client, and nodes do not share one.
    config.session_storage = Arc::new(NoServerSessionStorage {});
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
