//! The authority, the certificate and the key of a program, read from PEM files, and read again without a restart:
//! connections that stand go on, new ones use what was read last. Files that do not fit together change nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::ALPN;
use super::role::{NoIdentity, PeerIdentity};
use super::verify::{ControlPlaneOnly, RoleHoldersOnly};

/// Where the PEM files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Certificates of the fleet's authority; several while one replaces the other.
    pub ca: PathBuf,
    /// Our certificate, then its intermediates.
    pub cert: PathBuf,
    /// Our private key.
    pub key: PathBuf,
}

/// The files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Absent, not readable, or not PEM.
    #[error("{file}: {what} cannot be read: {source}", file = path.display())]
    Unreadable {
        /// What should be in it.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// Readable, with nothing of the kind in it.
    #[error("{file}: there is no {what} in it", file = path.display())]
    Empty {
        /// What should be in it.
        what: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// The authority's certificate is not usable as one.
    #[error("{file}: the authority's certificate cannot be used: {source}", file = path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Key and certificate do not belong together, or the key is of a kind that we do not know.
    #[error("{cert} and {key} do not fit together: {source}", cert = cert.display(), key = key.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The certificate stands for nobody.
    #[error("{file}: {source}; make one with `mailswitchctl pki issue`", file = path.display())]
    Identity {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: NoIdentity,
    },
    /// rustls refuses to verify with these authorities.
    #[error("certificates of others cannot be verified: {0}")]
    Verifier(String),
}

impl CredentialsError {
    pub(super) fn verifier(source: impl std::error::Error) -> Self {
        Self::Verifier(source.to_string())
    }
}

/// What [`Credentials::reload`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The files say what they said.
    Unchanged,
    /// New connections use what they say now.
    Changed,
}

/// A program's credentials. Clones share what a reload replaces.
#[derive(Clone)]
pub struct Credentials {
    files: Arc<Files>,
    current: Arc<ArcSwap<Loaded>>,
}

struct Loaded {
    authorities: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    identity: PeerIdentity,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them is missing, not PEM, or they do not fit together; the error names it.
    pub fn load(files: Files) -> Result<Self, CredentialsError> {
        let loaded = Loaded::read(&files)?;
        Ok(Self {
            files: Arc::new(files),
            current: Arc::new(ArcSwap::from_pointee(loaded)),
        })
    }

    /// Reads the files again. On an error everything stays as it is.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn reload(&self) -> Result<Reload, CredentialsError> {
        let loaded = Loaded::read(&self.files)?;
        let before = self.current.load();
        if before.authorities == loaded.authorities && before.chain == loaded.chain {
            return Ok(Reload::Unchanged);
        }
        self.current.store(Arc::new(loaded));
        Ok(Reload::Changed)
    }

    /// Whom our certificate stands for.
    #[must_use]
    pub fn identity(&self) -> PeerIdentity {
        self.current.load().identity.clone()
    }

    /// Where they were read from.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        self.current.load().client.clone()
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.current.load().server.clone()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("files", &self.files)
            .field("identity", &self.identity())
            .finish_non_exhaustive()
    }
}

impl Loaded {
    fn read(files: &Files) -> Result<Self, CredentialsError> {
        let authorities = certificates("certificate of the authority", &files.ca)?;
        let chain = certificates("certificate", &files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|source| unreadable("private key", &files.key, source))?;
        let identity =
            PeerIdentity::of_certificate(&chain[0]).map_err(|source| CredentialsError::Identity {
                path: files.cert.clone(),
                source,
            })?;

        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots
                .add(authority.clone())
                .map_err(|source| CredentialsError::Authority {
                    path: files.ca.clone(),
                    source,
                })?;
        }
        let roots = Arc::new(roots);
        let mismatch = |source| CredentialsError::Mismatch {
            cert: files.cert.clone(),
            key: files.key.clone(),
            source,
        };

        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(CredentialsError::verifier)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ControlPlaneOnly::verifier(roots.clone())?))
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(mismatch)?;
        client.alpn_protocols = vec![ALPN.to_vec()];

        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(CredentialsError::verifier)?
            .with_client_cert_verifier(Arc::new(RoleHoldersOnly::new(roots)?))
            .with_single_cert(chain.clone(), key)
            .map_err(mismatch)?;
        server.alpn_protocols = vec![ALPN.to_vec()];

        Ok(Self {
            authorities,
            chain,
            identity,
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| unreadable(what, path, source))?;
    if found.is_empty() {
        return Err(CredentialsError::Empty {
            what,
            path: path.to_owned(),
        });
    }
    Ok(found)
}

fn unreadable(what: &'static str, path: &Path, source: rustls_pki_types::pem::Error) -> CredentialsError {
    match source {
        rustls_pki_types::pem::Error::NoItemsFound => CredentialsError::Empty {
            what,
            path: path.to_owned(),
        },
        source => CredentialsError::Unreadable {
            what,
            path: path.to_owned(),
            source,
        },
    }
}

/// Named, not the process default: a library must not depend on what `main` installed.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
impl Credentials {
    /// A client that sends no certificate.
    pub(super) fn without_certificate(&self) -> Self {
        self.with_client(|config| config.with_no_client_auth())
    }

    /// A client that sends this certificate, whoever it stands for.
    pub(super) fn presenting(&self, files: Files) -> Self {
        let chain = certificates("certificate", &files.cert).unwrap();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        self.with_client(|config| config.with_client_auth_cert(chain, key).unwrap())
    }

    fn with_client(
        &self,
        finish: impl FnOnce(rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>) -> ClientConfig,
    ) -> Self {
        let mut loaded = Loaded::read(&self.files).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(loaded.authorities.clone());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ControlPlaneOnly::verifier(Arc::new(roots)).unwrap()));
        let mut client = finish(builder);
        client.alpn_protocols = vec![ALPN.to_vec()];
        loaded.client = Arc::new(client);
        Self {
            files: self.files.clone(),
            current: Arc::new(ArcSwap::from_pointee(loaded)),
        }
    }
}
