//! V1, V6 to V8 and V18: the destinations that routing names exist, and serve what the listeners promise.

use super::{Facts, listed};
use crate::protocol::{Keyword as _, Protocol, TlsMode};
use crate::read::{Place, value};
use crate::table::destination::Destination;
use crate::table::routing::SmtpRouting;

pub(super) fn check(facts: &Facts<'_, '_>) {
    let routing = &facts.fleet.routing;
    let place = |key| Place::of(["routing", key]);
    let default = routing.default_destination.as_ref().map(|name| name.as_str());
    if let Some(name) = default {
        check_declared(facts, &place("default_destination"), name);
        if let Some(destination) = facts.fleet.destination(name) {
            check_default(facts, destination);
        }
    }
    let pass_through = routing
        .smtp_passthrough_destination
        .as_ref()
        .map(|name| name.as_str());
    if let Some(name) = pass_through {
        check_declared(facts, &place("smtp_passthrough_destination"), name);
        if let Some(destination) = facts.fleet.destination(name) {
            check_pass_through(facts, destination);
        }
    } else if routing.smtp_routing == SmtpRouting::Passthrough {
        check_no_pass_through(facts, &place("smtp_passthrough_destination"));
    }
    if routing.smtp_routing == SmtpRouting::Recipient {
        facts.report.warning(
            &place("smtp_routing"),
            "this version does not route mail by recipient: every connection to a listener of smtp or lmtp is answered 421 4.3.2 and \
             closed, and no mail passes",
            "write \"passthrough\", and name smtp_passthrough_destination",
        );
    }
    for destination in facts.fleet.destinations.values() {
        let name = destination.name.as_str();
        if Some(name) != default && !facts.mapped.contains(name) {
            warn_of_missing_legs(facts, destination);
        }
    }
}

/// V1.
pub(super) fn check_declared(facts: &Facts<'_, '_>, place: &Place, name: &str) {
    let declared = facts.declared();
    if declared.contains(&name) {
        return;
    }
    let remedy = match value::nearest(name, declared.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"? Declared: {}", listed(&declared)),
        None => format!(
            "add {}, or name a declared one: {}",
            Place::of(["destination", name]),
            listed(&declared)
        ),
    };
    facts
        .report
        .error(place, "there is no destination of this name", remedy);
}

/// V6: everybody may land there.
fn check_default(facts: &Facts<'_, '_>, destination: &Destination) {
    for &protocol in Protocol::ALL {
        let Some(listeners) = facts.serving(protocol) else {
            continue;
        };
        if destination.endpoints.contains_key(&protocol) || has_errors(facts, destination, protocol) {
            continue;
        }
        let name = &destination.name;
        let leg = leg_place(destination, protocol);
        if protocol.is_interactive() {
            facts.report.missing(
                &leg,
                format!("the default destination \"{name}\" has no {protocol}, which {listeners} serves"),
                format!(
                    "add {}, or remove the listener",
                    leg_example(destination, protocol)
                ),
            );
        } else if protocol == Protocol::Http {
            facts.report.warning(
                &leg,
                format!("the default destination \"{name}\" has no http, which {listeners} serves: answered with 502"),
                format!("add {}, or pin every route", leg_example(destination, protocol)),
            );
        }
    }
}

/// V8.
fn check_pass_through(facts: &Facts<'_, '_>, destination: &Destination) {
    for protocol in [Protocol::Smtp, Protocol::Lmtp] {
        let served = facts.serving(protocol);
        let needed = protocol == Protocol::Smtp || served.is_some();
        if !needed
            || destination.endpoints.contains_key(&protocol)
            || has_errors(facts, destination, protocol)
        {
            continue;
        }
        let because = served.map_or(String::new(), |listeners| format!(", which {listeners} serves"));
        facts.report.missing(
            &leg_place(destination, protocol),
            format!(
                "the pass-through destination \"{}\" has no {protocol}{because}",
                destination.name
            ),
            format!("add {}", leg_example(destination, protocol)),
        );
    }
}

/// V7.
fn check_no_pass_through(facts: &Facts<'_, '_>, place: &Place) {
    for protocol in [Protocol::Smtp, Protocol::Lmtp] {
        if let Some(listeners) = facts.serving(protocol) {
            facts.report.missing(
                place,
                format!("{listeners} has nowhere to pass {protocol} to"),
                "name the destination of all inbound mail, or remove the listener",
            );
        }
    }
}

/// V18 of stores that change while the node runs, and of a fleet: such a login gets the temporary failure.
fn warn_of_missing_legs(facts: &Facts<'_, '_>, destination: &Destination) {
    for &protocol in Protocol::ALL.iter().filter(|protocol| protocol.is_interactive()) {
        let Some(listeners) = facts.serving(protocol) else {
            continue;
        };
        if destination.endpoints.contains_key(&protocol)
            || has_errors(facts, destination, protocol)
            || only_for_mail(facts, destination)
        {
            continue;
        }
        facts.report.warning(
            &leg_place(destination, protocol),
            format!(
                "destination \"{}\" has no {protocol}, which {listeners} serves: accounts there cannot use it",
                destination.name
            ),
            format!("add {}", leg_example(destination, protocol)),
        );
    }
}

/// A destination that inbound mail alone goes to needs nothing else.
fn only_for_mail(facts: &Facts<'_, '_>, destination: &Destination) -> bool {
    facts.fleet.routing.smtp_passthrough_destination.as_ref() == Some(&destination.name)
        && destination
            .endpoints
            .keys()
            .all(|protocol| protocol.is_pass_through())
}

/// The leg stands there and is wrong: that was said already.
fn has_errors(facts: &Facts<'_, '_>, destination: &Destination, protocol: Protocol) -> bool {
    facts.report.has_errors_under(&leg_place(destination, protocol))
}

pub(super) fn leg_place(destination: &Destination, protocol: Protocol) -> Place {
    Place::of([
        "destination",
        destination.name.as_str(),
        "protocol",
        protocol.as_str(),
    ])
}

/// What to write, as the object of "add": `imap = { port = 993, tls = "implicit" } to [destination.new.protocol]`.
pub(super) fn leg_example(destination: &Destination, protocol: Protocol) -> String {
    let (port, tls) = match protocol {
        Protocol::Imap => (993, TlsMode::Implicit),
        Protocol::Pop3 => (995, TlsMode::Implicit),
        Protocol::ManageSieve => (4190, TlsMode::StartTls),
        Protocol::Submission => (587, TlsMode::StartTls),
        Protocol::Smtp => (25, TlsMode::Plain),
        Protocol::Lmtp => (24, TlsMode::Plain),
        Protocol::Http => (443, TlsMode::Implicit),
    };
    format!(
        "{protocol} = {{ port = {port}, tls = \"{tls}\" }} to [{}]",
        Place::of(["destination", destination.name.as_str(), "protocol"])
    )
}
