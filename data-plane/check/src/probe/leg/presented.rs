//! The certificate of a leg: everything that is wrong with it, and the pin that would take it.

use mailswitch_config::table::destination::Verification;

use crate::certificate::{Leaf, days, hex, now};
use crate::report::Group;
use crate::subject::LegOf;
use crate::tls::Shown;

/// Fewer days than a renewal that has failed once gets noticed in.
const SOON: i64 = 14;

pub(super) fn judge(group: &mut Group, leg: LegOf<'_>, shown: &Shown) {
    let table = leg.table();
    let Some(leaf) = &shown.leaf else {
        let remedy = "issue it anew; as a last resort: tls_allow_invalid_certs = true";
        group.failed("its certificate cannot be read", remedy);
        return;
    };
    let pin = format!("{table}.tls_pinned_cert_sha256 = \"{}\"", leaf.sha256);
    let left = leaf.days_left(now());
    match &leg.destination.verification {
        Verification::Pinned(wanted) => {
            let wanted = hex(wanted.as_bytes());
            if wanted == leaf.sha256 {
                group.ok(format!("presents the pinned certificate, {}", days(left)));
            } else {
                let what = format!(
                    "presents another certificate than the pinned one: SHA-256 {}, for {}",
                    leaf.sha256,
                    names(leaf)
                );
                group.failed(what, format!("if that is the right server: {pin}"));
            }
        }
        Verification::None => {
            let what = format!(
                "its certificate is not verified (tls_allow_invalid_certs); it is for {}, SHA-256 {}",
                names(leaf),
                leaf.sha256
            );
            group.warning(what, format!("pin it instead: {pin}"));
        }
        Verification::Platform => platform(group, leg, (shown, leaf), &pin),
    }
}

fn platform(group: &mut Group, leg: LegOf<'_>, (shown, leaf): (&Shown, &Leaf), pin: &str) {
    let table = leg.table();
    let expected = leg.destination.tls_server_name.as_ref();
    let expected = expected.map_or_else(String::new, |name| name.to_str().into_owned());
    let left = leaf.days_left(now());
    let (mut explained, covered) = (false, leaf.covers(&expected));
    if left < 0 || leaf.not_before > now() {
        let when = match left < 0 {
            true => format!("has ended ({})", days(left)),
            false => "is not valid yet".to_owned(),
        };
        let remedy = format!("renew it there, or look at this machine's clock; until then: {pin}");
        group.failed(format!("its certificate {when}"), remedy);
        explained = true;
    }
    if !covered {
        let what = format!("its certificate is for {}, not for {expected}", names(leaf));
        let remedy = match leaf.names.first() {
            Some(first) => format!("{table}.tls_server_name = \"{first}\", or: {pin}"),
            None => pin.to_owned(),
        };
        group.failed(what, remedy);
        explained = true;
    }
    match &shown.verdict {
        Ok(()) if explained => {}
        Ok(()) if left < SOON => {
            let what = format!(
                "its certificate for {expected} is trusted, and has {}",
                days(left)
            );
            group.warning(what, "renew it there");
        }
        Ok(()) => group.ok(format!(
            "its certificate for {expected} is trusted, {}, SHA-256 {}",
            days(left),
            leaf.sha256
        )),
        Err(error) if explained && is_name_or_date(error) => {}
        Err(error) => {
            let what = format!(
                "this machine does not trust its certificate: {}; SHA-256 {}",
                why(error),
                leaf.sha256
            );
            let remedy = format!("pin it: {pin}; or add its authority to this machine's trust store");
            group.failed(what, remedy);
        }
    }
}

fn is_name_or_date(error: &rustls::Error) -> bool {
    use rustls::CertificateError as E;
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            E::Expired
                | E::ExpiredContext { .. }
                | E::NotValidYet
                | E::NotValidYetContext { .. }
                | E::NotValidForName
                | E::NotValidForNameContext { .. }
        )
    )
}

fn why(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "its issuer is unknown here".to_owned()
        }
        error => error.to_string(),
    }
}

fn names(leaf: &Leaf) -> String {
    match leaf.names.as_slice() {
        [] => "nobody".to_owned(),
        names => names.join(", "),
    }
}
