//! V23 and V24: the certificates that clients see, and the suites that are left.

use std::collections::BTreeMap;

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;

use crate::name::CertificateName;
use crate::pem;
use crate::protocol::TlsMode;
use crate::read::{Files, Place, Report, value};
use crate::table::listener::Listener;
use crate::table::tls::{Tls, TlsProtocols, TlsVersion};

pub(crate) fn check(report: &Report<'_>, tls: &Tls, listeners: &[Listener], has_admin: bool) {
    let mut default = None;
    for certificate in &tls.certificates {
        let place = Place::of(["tls", "certificate", certificate.name.as_str()]);
        if report.files == Files::Here {
            let places = [place.key("cert"), place.key("key")];
            pem::check_pair(report, &places, &certificate.cert, &certificate.key);
        }
        if certificate.is_default() {
            let key = if certificate.default {
                "default"
            } else {
                "subjects"
            };
            match default {
                Some(first) => report.error(
                    &place.key(key),
                    format!("certificate \"{first}\" is the default already"),
                    "let one certificate be the default: by default = true, or by the subject \"*\"",
                ),
                None => default = Some(&certificate.name),
            }
        }
    }
    check_names(report, tls);
    let over_tls = listeners.iter().find(|listener| listener.tls != TlsMode::Plain);
    let what = match (over_tls, has_admin) {
        (Some(listener), _) => Some((
            Place::of(["listener", listener.name.as_str()]),
            format!("listener \"{}\"", listener.name),
        )),
        (None, true) => Some((Place::of(["admin"]), "the management API".to_owned())),
        (None, false) => None,
    };
    if let Some((place, what)) = what
        && tls.certificates.is_empty()
        && !report.has_errors_under(&Place::of(["tls"]))
    {
        report.warning(
            &place,
            format!("there is no certificate: {what} presents one for localhost that no client trusts"),
            "add [tls.certificate.NAME] with cert, key and default = true",
        );
    }
    check_suites(report, &tls.protocols);
}

/// Of two certificates for one name the first is shown, and the other one never: an old one that was forgotten, mostly.
fn check_names(report: &Report<'_>, tls: &Tls) {
    let mut shown: BTreeMap<String, &CertificateName> = BTreeMap::new();
    for certificate in &tls.certificates {
        let place = Place::of(["tls", "certificate", certificate.name.as_str()]);
        let (key, names) = match certificate.subjects.is_empty() {
            true if report.files == Files::Here => ("cert", pem::names_in(&certificate.cert)),
            true => continue,
            false => ("subjects", certificate.subjects.clone()),
        };
        let mut twice: BTreeMap<&CertificateName, Vec<String>> = BTreeMap::new();
        for name in names {
            let name = name.to_ascii_lowercase();
            match shown.get(&name) {
                // A second default is an error of its own.
                _ if name == "*" => {}
                Some(first) if **first == certificate.name => {}
                Some(first) => twice.entry(first).or_default().push(name),
                None => {
                    shown.insert(name, &certificate.name);
                }
            }
        }
        for (first, names) in twice {
            report.warning(
                &place.key(key),
                format!(
                    "certificate \"{first}\" is shown to clients that ask for {}, and this one is not",
                    names.join(", ")
                ),
                "remove one of the two, or part the names between them by subjects",
            );
        }
    }
}

fn check_suites(report: &Report<'_>, protocols: &TlsProtocols) {
    let place = Place::of(["tls", "protocols", "disable_cipher_suites"]);
    for (index, name) in protocols.disable_cipher_suites.iter().enumerate() {
        if !ALL_CIPHER_SUITES.iter().any(|suite| is_named(suite, name)) {
            let known: Vec<String> = ALL_CIPHER_SUITES.iter().map(iana_name).collect();
            let remedy = match value::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("remove it; known: {}", known.join(", ")),
            };
            report.warning(
                &place.index(index),
                "this suite is unknown, and never offered",
                remedy,
            );
        }
    }
    let left = ALL_CIPHER_SUITES.iter().any(|suite| {
        let disabled = protocols
            .disable_cipher_suites
            .iter()
            .any(|name| is_named(suite, name));
        let too_old = protocols.min_version == TlsVersion::Tls13 && suite.tls13().is_none();
        !disabled && !too_old
    });
    if !left {
        report.error(
            &place,
            format!("no suite is left for TLS {} and later", protocols.min_version),
            "remove some of them",
        );
    }
}

/// True when an operator's spelling names a suite: IANA's or rustls's, in any case. The data plane selects by the
/// same.
#[must_use]
pub(crate) fn is_named(suite: &SupportedCipherSuite, name: &str) -> bool {
    name.eq_ignore_ascii_case(&iana_name(suite)) || name.eq_ignore_ascii_case(&format!("{:?}", suite.suite()))
}

fn iana_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}
