//! `[tls.certificate.*]` and `[tls.protocols]`: what inbound TLS presents and accepts (configuration 3.2).

use std::path::PathBuf;

use crate::name::CertificateName;
use crate::protocol::keyword;
use crate::read::{TableReader, value};

/// `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// In the order of their names.
    pub certificates: Vec<Certificate>,
    /// `[tls.protocols]`.
    pub protocols: TlsProtocols,
}

/// `[tls.certificate.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its key in the file.
    pub name: CertificateName,
    /// PEM: the leaf first, then intermediates.
    pub cert: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// Names served; empty: the DNS names of the leaf, or its common names when it has none.
    pub subjects: Vec<String>,
    /// The catch-all.
    pub default: bool,
}

/// `[tls.protocols]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProtocols {
    /// The lowest version that clients may speak.
    pub min_version: TlsVersion,
    /// The server's order of suites wins.
    pub ignore_client_order: bool,
    /// Suites removed by name, any case, IANA's and rustls's spellings.
    pub disable_cipher_suites: Vec<String>,
}

impl Default for TlsProtocols {
    fn default() -> Self {
        Self {
            min_version: TlsVersion::Tls12,
            ignore_client_order: false,
            disable_cipher_suites: Vec::new(),
        }
    }
}

keyword! {
    /// A version of TLS that is still spoken.
    TlsVersion {
        /// RFC 5246.
        Tls12 = "1.2",
        /// RFC 8446.
        Tls13 = "1.3",
    }
}

impl Tls {
    pub(crate) fn read(mut table: TableReader<'_, '_>) -> Self {
        let certificates = table
            .named_tables("certificate")
            .into_iter()
            .filter_map(|(name, certificate)| Certificate::read(name.into(), certificate))
            .collect();
        let protocols = TlsProtocols::read(table.table("protocols"));
        table.finish();
        Self {
            certificates,
            protocols,
        }
    }
}

impl Certificate {
    /// It is shown to clients that ask for no name that any certificate has.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.default || self.subjects.iter().any(|subject| subject == "*")
    }

    fn read(name: CertificateName, mut table: TableReader<'_, '_>) -> Option<Self> {
        let cert = table.require(
            "cert",
            "name a PEM file with the leaf first, then intermediates",
            value::filled,
        );
        let key = table.require(
            "key",
            "name a PEM file with the private key of the leaf",
            value::filled,
        );
        let subjects = table.list("subjects", value::filled).unwrap_or_default();
        let default = table.switch("default", false);
        table.finish();
        Some(Self {
            name,
            cert: cert?.into(),
            key: key?.into(),
            subjects,
            default,
        })
    }
}

impl TlsProtocols {
    fn read(mut table: TableReader<'_, '_>) -> Self {
        let protocols = Self {
            min_version: table.keyword("min_version", TlsVersion::Tls12),
            ignore_client_order: table.switch("ignore_client_order", false),
            disable_cipher_suites: table
                .list("disable_cipher_suites", value::filled)
                .unwrap_or_default(),
        };
        table.finish();
        protocols
    }
}
