//! Certificates and keys from PEM files, as they are presented to clients and backends. Keys are never shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailswitch_config::names_of_leaf;
use mailswitch_config::table::tls::Certificate;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why a certificate cannot be served. Names the file and the cause.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain's file cannot be read or holds no certificate.
    #[error("no certificate can be read from {path}")]
    Chain {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The key's file cannot be read or holds no private key.
    #[error("no private key can be read from {path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The two do not belong together, or the key is of a kind that cannot sign here.
    #[error("the key in {key} cannot be used with the certificate in {cert}")]
    Mismatch {
        /// The chain's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The leaf is no X.509 certificate.
    #[error("the first certificate in {path} is malformed")]
    Leaf {
        /// The file.
        path: PathBuf,
    },
    /// A self-signed certificate could not be made.
    #[error("no self-signed certificate could be made")]
    SelfSigned(#[source] rcgen::Error),
}

/// A certificate with its key, ready to be presented.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) certified: Arc<CertifiedKey>,
    /// Those that it is presented for.
    pub(super) names: Vec<String>,
    pub(super) validity: Validity,
    catch_all: bool,
}

/// From when until when a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

impl Loaded {
    /// Reads the files of a table.
    ///
    /// # Errors
    /// When they cannot be served.
    pub(super) fn read(table: &Certificate, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let certified = read_pair(&table.cert, &table.key, provider)?;
        let malformed = || CertificateError::Leaf {
            path: table.cert.clone(),
        };
        let der = certified.cert.first().ok_or_else(malformed)?;
        let (_, leaf) = X509Certificate::from_der(der).map_err(|_| malformed())?;
        let names = match table.subjects.is_empty() {
            true => names_of_leaf(der).ok_or_else(malformed)?,
            false => table.subjects.clone(),
        };
        let validity = Validity::of(&leaf);
        Ok(Self {
            certified: Arc::new(certified),
            catch_all: table.default || names.iter().any(|name| name == "*"),
            names,
            validity,
        })
    }

    pub(super) fn is_default(&self) -> bool {
        self.catch_all
    }
}

impl Validity {
    fn of(leaf: &X509Certificate<'_>) -> Self {
        Self {
            not_before: leaf.validity().not_before.timestamp(),
            not_after: leaf.validity().not_after.timestamp(),
        }
    }

    /// Of the first certificate of a PEM file.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        let chain = read_chain(path).ok()?;
        let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
        Some(Self::of(&leaf))
    }
}

/// A chain and its key.
///
/// # Errors
/// When one cannot be read, or they do not belong together.
pub(super) fn read_pair(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let chain = read_chain(cert)?;
    let private = read_key(key)?;
    CertifiedKey::from_der(chain, private, provider).map_err(|source| CertificateError::Mismatch {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source,
    })
}

/// The certificates of a PEM file, leaf first.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let error = |source| CertificateError::Chain {
        path: path.to_owned(),
        source,
    };
    let chain = CertificateDer::pem_file_iter(path)
        .map_err(error)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(error)?;
    if chain.is_empty() {
        return Err(error(rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(chain)
}

/// The private key of a PEM file: PKCS#8, PKCS#1 or SEC1.
fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| CertificateError::Key {
        path: path.to_owned(),
        source,
    })
}

/// What is shown where there is nothing better.
pub(super) fn self_signed(provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .map_err(CertificateError::SelfSigned)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    CertifiedKey::from_der(vec![made.cert.der().clone()], key, provider).map_err(|source| {
        CertificateError::Mismatch {
            cert: "the self-signed certificate".into(),
            key: "its key".into(),
            source,
        }
    })
}
