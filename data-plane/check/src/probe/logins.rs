//! Mechanisms that we offer and a destination does not take: those logins fail for the accounts there.

use std::collections::BTreeMap;

use mailswitch_config::Protocol;
use mailswitch_config::protocol::Keyword as _;
use mailswitch_config::table::capabilities::{Authentication, SaslMechanism};

use super::leg::Probed;
use crate::offer::Offer;
use crate::report::Group;
use crate::subject::Subject;

pub(crate) fn check(subject: &Subject, legs: &[Probed<'_>]) -> Group {
    let mut all = Group::new("login mechanisms");
    for protocol in Protocol::ALL
        .iter()
        .copied()
        .filter(|protocol| subject.is_served(*protocol))
    {
        let Some(ours) = authentication(subject, protocol) else {
            continue;
        };
        let offers: Vec<_> = offers(legs, protocol).collect();
        if !offers.is_empty() {
            let mut group = Group::new("");
            compare(&mut group, protocol, &ours.sasl, &offers);
            all.findings.append(&mut group.findings);
        }
    }
    all
}

/// The legs of a protocol that came so far.
pub(super) fn offers<'a>(
    legs: &'a [Probed<'_>],
    protocol: Protocol,
) -> impl Iterator<Item = (String, &'a Offer)> {
    let of_protocol = legs.iter().filter(move |leg| leg.leg.protocol == protocol);
    of_protocol.filter_map(|leg| Some((leg.leg.name(), leg.offer.as_ref()?)))
}

const fn authentication(subject: &Subject, protocol: Protocol) -> Option<&Authentication> {
    let capabilities = &subject.fleet.capabilities;
    match protocol {
        Protocol::Imap => Some(&capabilities.imap.authentication),
        Protocol::Pop3 => Some(&capabilities.pop3.authentication),
        Protocol::Submission => Some(&capabilities.submission.authentication),
        Protocol::ManageSieve => Some(&capabilities.managesieve.authentication),
        Protocol::Smtp | Protocol::Lmtp | Protocol::Http => None,
    }
}

fn compare(group: &mut Group, protocol: Protocol, ours: &[SaslMechanism], offers: &[(String, &Offer)]) {
    let mut lacking: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for needed in needed(protocol, ours) {
        let without = offers.iter().filter(|(_, offer)| !offer.sasl.contains(needed));
        let without: Vec<&str> = without.map(|(destination, _)| destination.as_str()).collect();
        if needed == "PLAIN" && !without.is_empty() {
            let what = format!(
                "{protocol}: PLAIN is not taken by {}: no password can be carried over, every such login fails there",
                without.join(", ")
            );
            group.failed(
                what,
                "enable PLAIN there (Dovecot: auth_mechanisms), or secure the leg with TLS",
            );
        } else if !without.is_empty() {
            lacking.entry(without).or_default().push(needed);
        }
    }
    for (destinations, mechanisms) in &lacking {
        let what = format!(
            "{protocol}: not taken by {}: {}; such logins fail there",
            destinations.join(", "),
            mechanisms.join(" ")
        );
        let remedy = format!("remove them from capabilities.{protocol}.sasl, or enable them there");
        group.warning(what, remedy);
    }
    if group.findings.is_empty() {
        group.ok(format!("{protocol}: every destination takes what we offer"));
    }
}

/// What a destination has to take: passwords arrive there as PLAIN, whatever the client used; those of IMAP's LOGIN and
/// of POP3's PASS too, which no list turns off.
fn needed(protocol: Protocol, ours: &[SaslMechanism]) -> Vec<&'static str> {
    let always = matches!(protocol, Protocol::Imap | Protocol::Pop3);
    let mut needed = Vec::new();
    for mechanism in ours {
        let word = match mechanism.as_str() {
            "LOGIN" => "PLAIN",
            word => word,
        };
        if !needed.contains(&word) {
            needed.push(word);
        }
    }
    if always && !needed.contains(&"PLAIN") {
        needed.push("PLAIN");
    }
    needed
}
