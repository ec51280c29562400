//! The certificates that clients see: what they cover, and how long.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::certificate::{Leaf, covers, days, now};
use crate::report::Group;
use crate::subject::Subject;

/// Fewer days than a renewal that has failed once gets noticed in.
const SOON: i64 = 14;

pub(crate) fn check(subject: &Subject) -> Group {
    let mut group = Group::new("our certificates");
    let mut covered = false;
    for certificate in &subject.certificates {
        // A file that cannot be read is in the validator's findings.
        let Some(leaf) = CertificateDer::from_pem_file(&certificate.cert)
            .ok()
            .and_then(|der| Leaf::read(&der))
        else {
            continue;
        };
        let key = format!("tls.certificate.{}", certificate.name);
        let left = leaf.days_left(now());
        let what = format!("{key}: for {}, {}", leaf.names.join(", "), days(left));
        match left {
            ..SOON => group.warning(what, "renew it; it is taken up without a restart"),
            _ => group.ok(what),
        }
        let not: Vec<&str> = certificate
            .subjects
            .iter()
            .map(String::as_str)
            .filter(|subject| {
                *subject != "*" && !leaf.names.iter().any(|name| name == subject) && !leaf.covers(subject)
            })
            .collect();
        if !not.is_empty() {
            let what = format!(
                "{key} is presented for {}, which it does not cover",
                not.join(", ")
            );
            group.warning(
                what,
                format!("remove them from {key}.subjects, or issue it with these names"),
            );
        }
        let hostname = subject.hostname.as_deref().unwrap_or_default();
        covered |= leaf.names.iter().any(|name| covers(name, hostname));
    }
    match &subject.hostname {
        Some(hostname) if !subject.certificates.is_empty() => match covered {
            true => group.ok(format!("server.hostname {hostname} is covered")),
            false => group.warning(
                format!("no certificate covers server.hostname {hostname}: clients that use it are warned"),
                "issue one with this name, or correct server.hostname",
            ),
        },
        _ => {}
    }
    group
}
