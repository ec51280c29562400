//! What we advertise before login and a destination does not have: clients remember it, and use it there.

use std::collections::BTreeMap;

use mailswitch_config::Protocol;

use super::leg::Probed;
use super::logins::offers;
use crate::offer::Offer;
use crate::report::Group;
use crate::subject::Subject;

pub(crate) fn check(subject: &Subject, legs: &[Probed<'_>]) -> Group {
    let mut group = Group::new("capabilities before login");
    let ours = &subject.fleet.capabilities;
    let lists = [
        (Protocol::Imap, "advertise", &ours.imap.advertise),
        (Protocol::Submission, "ehlo", &ours.submission.ehlo),
        (Protocol::ManageSieve, "sieve", &ours.managesieve.sieve),
    ];
    for (protocol, key, advertised) in lists {
        let offers: Vec<_> = offers(legs, protocol).collect();
        if subject.is_served(protocol) && !offers.is_empty() {
            compare(&mut group, (protocol, key), advertised, &offers);
        }
    }
    group
}

/// Ends with the login, and is ours alone.
const OURS: [&str; 1] = ["SASL-IR"];

fn compare(
    group: &mut Group,
    (protocol, key): (Protocol, &str),
    advertised: &[String],
    offers: &[(String, &Offer)],
) {
    let mut lacking: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for item in advertised {
        let word = item.split_ascii_whitespace().next().unwrap_or_default();
        let upper = word.to_ascii_uppercase();
        let without: Vec<&str> = offers
            .iter()
            .filter(|(_, offer)| !OURS.contains(&&*upper) && !offer.has(&upper))
            .map(|(name, _)| name.as_str())
            .collect();
        if !without.is_empty() {
            lacking.entry(without).or_default().push(word);
        }
    }
    if lacking.is_empty() {
        group.ok(format!("{protocol}: every destination has what we advertise"));
    }
    for (destinations, words) in lacking {
        let what = format!(
            "{protocol}: not shown before login by {}: {}",
            destinations.join(", "),
            words.join(" ")
        );
        let remedy = format!("remove them from capabilities.{protocol}.{key} until every account has moved");
        group.warning(what, remedy);
    }
}
