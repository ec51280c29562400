//! What stands in a certificate: names, dates, digest. Judging it is the TLS library's and the probes'.

use std::fmt::Write as _;

use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A leaf, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// DNS names and addresses; the common names where it has none.
    pub(crate) names: Vec<String>,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    /// 64 hexadecimal digits, as `tls_pinned_cert_sha256` takes them.
    pub(crate) sha256: String,
}

const DAY: i64 = 86_400;
const TEN_YEARS: i64 = 3_653;

impl Leaf {
    /// None: it is no X.509 certificate.
    pub(crate) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, leaf) = X509Certificate::from_der(der).ok()?;
        let alternative = leaf.subject_alternative_name().ok().flatten();
        let mut names: Vec<String> = alternative
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(dns) => Some((*dns).to_owned()),
                GeneralName::IPAddress(bytes) => address(bytes),
                _ => None,
            })
            .collect();
        if names.is_empty() {
            let common = leaf.subject().iter_common_name();
            names.extend(common.filter_map(|name| name.as_str().ok().map(str::to_owned)));
        }
        let validity = leaf.validity();
        Some(Self {
            names,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            sha256: hex(&Sha256::digest(der)),
        })
    }

    /// Exact, or a wildcard for one label (RFC 6125 §6.4.3).
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|covered| covers(covered, name))
    }

    /// Whole days until it ends; negative: since it ended.
    pub(crate) const fn days_left(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(DAY)
    }
}

/// Whether one name of a certificate covers a host's.
pub(crate) fn covers(covered: &str, name: &str) -> bool {
    match covered.strip_prefix("*.") {
        None => covered.eq_ignore_ascii_case(name),
        Some(parent) => name
            .split_once('.')
            .is_some_and(|(_, of)| of.eq_ignore_ascii_case(parent)),
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => Some(std::net::Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        16 => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        _ => None,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// `12 days left`, `1 day left`, `ended 3 days ago`.
pub(crate) fn days(left: i64) -> String {
    match left {
        ..0 => match -left {
            1 => "ended a day ago".to_owned(),
            ago => format!("ended {ago} days ago"),
        },
        0 => "ends today".to_owned(),
        1 => "1 day left".to_owned(),
        TEN_YEARS.. => "more than ten years left".to_owned(),
        left => format!("{left} days left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("*.example.org", "mail.example.org"));
        assert!(covers("MAIL.example.org", "mail.example.org"));
        for not in ["example.org", "a.b.example.org", "mail.example.net"] {
            assert!(!covers("*.example.org", not), "{not}");
        }
    }

    #[test]
    fn a_certificate_is_read() {
        let made =
            rcgen::generate_simple_self_signed(vec!["a.test".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let leaf = Leaf::read(made.cert.der()).unwrap();
        assert_eq!(leaf.names, ["a.test", "127.0.0.1"]);
        assert_eq!(leaf.sha256.len(), 64);
        assert!(leaf.covers("A.test") && !leaf.covers("b.test"));
        assert!(Leaf::read(&CertificateDer::from(vec![1, 2, 3])).is_none());
    }

    #[test]
    fn days_are_told_on_both_sides_of_the_end() {
        let leaf = Leaf {
            names: Vec::new(),
            not_before: 0,
            not_after: 10 * DAY,
            sha256: String::new(),
        };
        assert_eq!(days(leaf.days_left(7 * DAY)), "3 days left");
        assert_eq!(days(leaf.days_left(10 * DAY)), "ends today");
        assert_eq!(days(leaf.days_left(12 * DAY)), "ended 2 days ago");
    }
}
