//! Logins that no cutover sees, as the fleet's file has them routed (promise, "what is not promised", 2).

use mailswitch_config::table::routing::OnUnknown;

use crate::report::Group;
use crate::subject::Subject;

/// Of a fleet's file; a node that runs alone has no accounts, and moves nobody by proof.
pub(crate) fn check(subject: &Subject) -> Group {
    let mut group = Group::new("logins that no cutover sees");
    if subject.serves.is_some() {
        return group;
    }
    let routing = &subject.fleet.routing;
    if routing.unidentified == OnUnknown::Default {
        group.warning(
            "logins that carry no identifier go to the default destination, whosever they are",
            "write routing.unidentified = \"refuse\", where clients can do without them",
        );
    }
    if routing.unknown == OnUnknown::Default {
        group.warning(
            "identifiers of no account go to the default destination: an alias that nobody declared does not move along",
            "import every login of every account, and write routing.unknown = \"refuse\"",
        );
    }
    if group.findings.is_empty() {
        group.ok("there are none: what is not known is refused");
    }
    group
}

#[cfg(test)]
mod tests {
    use mailswitch_config::FleetConfig;

    use super::*;
    use crate::Status;

    #[test]
    fn a_fleet_is_warned_of_what_it_sends_to_the_default_destination_unproven() {
        let mut config = FleetConfig::empty();
        let status = |config: &FleetConfig| {
            let findings = check(&Subject::of_fleet(config)).findings;
            findings
                .into_iter()
                .map(|finding| finding.status)
                .collect::<Vec<_>>()
        };
        assert_eq!(status(&config), [Status::Warning, Status::Warning]);
        config.routing.unidentified = OnUnknown::Refuse;
        config.routing.unknown = OnUnknown::Refuse;
        assert_eq!(status(&config), [Status::Ok]);
    }
}
