//! Our addresses as each destination sees them: what goes into its trust settings.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::leg::Probed;
use crate::report::Group;
use crate::subject::Subject;

pub(crate) fn check(subject: &Subject, legs: &[Probed<'_>]) -> Group {
    let mut group = Group::new("our addresses, for the trust settings of each destination");
    let mut seen: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    let declared = subject.fleet.destinations.keys();
    seen.extend(declared.map(|name| (name.to_string(), BTreeSet::new())));
    for leg in legs {
        seen.entry(leg.leg.name()).or_default().extend(&leg.egress);
    }
    for (name, addresses) in seen {
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        match addresses.as_slice() {
            [] => group.note(format!("{name}: not known, nothing could be connected")),
            addresses => group.note(format!("{name}: {}", addresses.join(", "))),
        }
    }
    group
}
