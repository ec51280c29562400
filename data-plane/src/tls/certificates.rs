//! The certificates that listeners present, chosen by the name a client asks for (RFC 6066 §3).
//!
//! Exact name, then the name's parent domain, then the default, then the only certificate there is, then a
//! self-signed one for `localhost`, which is better than a handshake that fails without a word.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailswitch_config::table::tls::Certificate;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
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

/// Every certificate of a configuration, by name.
#[derive(Debug)]
pub(super) struct Certificates {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    fallback: Arc<CertifiedKey>,
    fallback_kind: Fallback,
}

/// What is presented to a client that asks for no name that we have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fallback {
    Configured,
    SelfSigned,
}

impl Certificates {
    /// Loads them all.
    ///
    /// # Errors
    /// The first that cannot be served.
    pub(super) fn load(tables: &[Certificate], provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let mut by_name = HashMap::new();
        let mut default = None;
        let mut loaded = Vec::new();
        for table in tables {
            let certified = Arc::new(load(&table.cert, &table.key, provider)?);
            let names = names(table, &certified)?;
            if table.default || names.iter().any(|name| name == "*") {
                default.get_or_insert_with(|| Arc::clone(&certified));
            }
            for name in names {
                let name = name.strip_prefix("*.").unwrap_or(&name);
                by_name.insert(name.to_ascii_lowercase(), Arc::clone(&certified));
            }
            loaded.push(certified);
        }
        let only = if loaded.len() == 1 { loaded.pop() } else { None };
        let (fallback, fallback_kind) = match default.or(only) {
            Some(certified) => (certified, Fallback::Configured),
            None => (Arc::new(self_signed(provider)?), Fallback::SelfSigned),
        };
        Ok(Self {
            by_name,
            fallback,
            fallback_kind,
        })
    }

    /// True when a client that asks for no known name meets a certificate that nobody trusts.
    pub(super) fn may_present_self_signed(&self) -> bool {
        self.fallback_kind == Fallback::SelfSigned
    }

    fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let known = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let parent = || {
                name.split_once('.')
                    .and_then(|(_, parent)| self.by_name.get(parent))
            };
            self.by_name.get(name.as_str()).or_else(parent).map(Arc::clone)
        });
        known.unwrap_or_else(|| {
            if self.fallback_kind == Fallback::SelfSigned {
                tracing::debug!("presenting the self-signed certificate for localhost");
            }
            Arc::clone(&self.fallback)
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()))
    }
}

fn load(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let chain = read_chain(cert)?;
    let private = read_key(key)?;
    CertifiedKey::from_der(chain, private, provider).map_err(|source| CertificateError::Mismatch {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source,
    })
}

/// The certificates of a PEM file, leaf first.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
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
pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| CertificateError::Key {
        path: path.to_owned(),
        source,
    })
}

/// The names a certificate is served for: those of its table, else the DNS names of the leaf, else its common
/// names.
fn names(table: &Certificate, certified: &CertifiedKey) -> Result<Vec<String>, CertificateError> {
    if !table.subjects.is_empty() {
        return Ok(table.subjects.to_vec());
    }
    let malformed = || CertificateError::Leaf {
        path: table.cert.clone(),
    };
    let leaf = certified.cert.first().ok_or_else(malformed)?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| malformed())?;
    let alternative = leaf.subject_alternative_name().map_err(|_| malformed())?;
    let dns: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(dns) => Some((*dns).to_owned()),
            _ => None,
        })
        .collect();
    if !dns.is_empty() {
        return Ok(dns);
    }
    Ok(leaf
        .subject()
        .iter_common_name()
        .filter_map(|name| name.as_str().ok().map(ToOwned::to_owned))
        .collect())
}

fn self_signed(provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
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
