//! The certificate files that a configuration names: readable, PEM, key and leaf of one pair, valid now. Keys are
//! read and forgotten; nothing of one is ever shown.

use std::path::Path;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;

use crate::read::{Place, Report};

/// Checks a certificate file and its key file. `places` are their keys in the document.
pub(crate) fn check_pair(report: &Report<'_>, places: &[Place; 2], cert: &Path, key: &Path) {
    let [cert_place, key_place] = places;
    let chain = read_chain(report, cert_place, cert);
    let key = read_key(report, key_place, key);
    if let Some(leaf) = chain.as_ref().and_then(|chain| chain.first()) {
        check_dates(report, cert_place, leaf);
    }
    let (Some(chain), Some(key)) = (chain, key) else {
        return;
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match provider.key_provider.load_private_key(key) {
        Err(_) => report.error(
            key_place,
            "this key is of a kind that cannot be used",
            "make an RSA key of 2048 bits or more, or an ECDSA P-256 or Ed25519 key",
        ),
        Ok(key) => {
            if let Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) =
                CertifiedKey::new(chain, key).keys_match()
            {
                report.error(
                    key_place,
                    "this key does not belong to the first certificate of the chain",
                    format!(
                        "name the key that {cert_place} was issued for, and put the leaf first in {}",
                        cert.display()
                    ),
                );
            }
        }
    }
}

/// Checks a file of one or more authorities.
pub(crate) fn check_authorities(report: &Report<'_>, place: &Place, file: &Path) {
    let _ = read_chain(report, place, file);
}

/// The names of the leaf in a file; none when it cannot be read, which is said by `check_pair`.
pub(crate) fn names_in(file: &Path) -> Vec<String> {
    let leaf = CertificateDer::from_pem_file(file).ok();
    leaf.and_then(|leaf| names_of_leaf(&leaf)).unwrap_or_default()
}

/// The names that a leaf is presented for: its DNS names, or its common names when it has none (configuration 3.2).
#[must_use]
pub fn names_of_leaf(der: &[u8]) -> Option<Vec<String>> {
    let (_, leaf) = x509_parser::parse_x509_certificate(der).ok()?;
    let names = leaf.subject_alternative_name().ok()?;
    let dns: Vec<String> = names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(dns) => Some((*dns).to_owned()),
            _ => None,
        })
        .collect();
    if !dns.is_empty() {
        return Some(dns);
    }
    let common = leaf.subject().iter_common_name();
    Some(
        common
            .filter_map(|name| name.as_str().ok().map(ToOwned::to_owned))
            .collect(),
    )
}

fn read_chain(report: &Report<'_>, place: &Place, file: &Path) -> Option<Vec<CertificateDer<'static>>> {
    let bytes = read(report, place, file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            report.error(
                place,
                "this file holds no certificate",
                "write PEM: -----BEGIN CERTIFICATE-----, the leaf first, then intermediates",
            );
            None
        }
        Ok(chain) => Some(chain),
        Err(error) => {
            report.error(
                place,
                format!("this file is not PEM: {error}"),
                "write PEM: -----BEGIN CERTIFICATE-----",
            );
            None
        }
    }
}

fn read_key(report: &Report<'_>, place: &Place, file: &Path) -> Option<PrivateKeyDer<'static>> {
    let bytes = zeroize::Zeroizing::new(read(report, place, file)?);
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Some(key),
        Err(_) => {
            let encrypted = bytes
                .windows(9)
                .any(|window| window.eq_ignore_ascii_case(b"ENCRYPTED"));
            report.error(
                place,
                if encrypted {
                    "the key in this file is encrypted"
                } else {
                    "this file holds no private key"
                },
                if encrypted {
                    "decrypt it, and let only the program's user read it: openssl pkey -in KEY -out PLAIN"
                } else {
                    "write PEM: PKCS#8, PKCS#1 or SEC1"
                },
            );
            None
        }
    }
}

fn read(report: &Report<'_>, place: &Place, file: &Path) -> Option<Vec<u8>> {
    match std::fs::read(file) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            report.error(
                place,
                format!("this file cannot be read: {error}"),
                "name a file that the program's user may read",
            );
            None
        }
    }
}

/// A leaf outside its time is a warning: the operator may be about to renew it.
fn check_dates(report: &Report<'_>, place: &Place, leaf: &CertificateDer<'_>) {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(leaf) else {
        report.error(
            place,
            "the first certificate in this file cannot be read",
            "issue it anew",
        );
        return;
    };
    let validity = certificate.validity();
    let now = x509_parser::time::ASN1Time::now();
    if now > validity.not_after {
        report.warning(
            place,
            format!("the certificate expired at {}", validity.not_after),
            "renew it: clients refuse it",
        );
    } else if now < validity.not_before {
        report.warning(
            place,
            format!("the certificate is valid only from {}", validity.not_before),
            "wait until then, or set this machine's clock: clients refuse it",
        );
    }
}
