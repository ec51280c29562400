//! Where a login would go, by the same rules and in the same order as on a node: held, a mapping of its own, its
//! domain's, the default destination. Answered from memory, so also while the database is away.

use mailswitch_config::fleet::FleetConfig;
use mailswitch_config::table::routing::OnUnknown;
use mailswitch_proto::fleet::v1::{Resolution, Rule};
use mailswitch_proto::identifier::{Identifier, Key};

use super::state::State;

/// What would happen to `login`, presented now.
#[must_use]
pub fn resolve(state: &State, config: &FleetConfig, login: &str) -> Resolution {
    let revision = state.position().revision.0;
    match Identifier::from_login(login, &config.identifier_rules()) {
        Ok(identifier) => Resolution {
            revision,
            ..of_identifier(state, config, &identifier)
        },
        Err(error) => Resolution {
            revision,
            ..refused(format!("no identifier can be made of it: {error}"))
        },
    }
}

fn of_identifier(state: &State, config: &FleetConfig, identifier: &Identifier) -> Resolution {
    let key = state.hash_key().key_of(identifier.as_str());
    let found = Resolution {
        identifier: identifier.to_string(),
        key: key.to_bytes().to_vec(),
        ..destination_of(state, config, identifier, key)
    };
    if state.is_parked(key) {
        let reason = "a change that this control plane does not know touched it: nodes hold it".to_owned();
        return Resolution {
            rule: Rule::Held.into(),
            reason,
            ..found
        };
    }
    match state.hold_of(key) {
        Some(hold) => Resolution {
            rule: Rule::Held.into(),
            hold: hold.to_vec(),
            ..found
        },
        None => found,
    }
}

fn destination_of(state: &State, config: &FleetConfig, identifier: &Identifier, key: Key) -> Resolution {
    if let Some(destination) = state.table().get(key) {
        return by(Rule::Mapping, config, destination);
    }
    let domain = identifier
        .domain_entry()
        .and_then(|entry| state.table().get(state.hash_key().key_of(entry)));
    if let Some(destination) = domain {
        return by(Rule::Domain, config, destination);
    }
    if config.routing.unknown == OnUnknown::Refuse {
        return refused("no mapping names it or its domain, and `routing.unknown` is \"refuse\"".to_owned());
    }
    match &config.routing.default_destination {
        Some(destination) => by(Rule::Default, config, destination.as_str()),
        None => refused("no mapping names it, and the fleet has no default destination".to_owned()),
    }
}

/// A mapping to a destination that is not there is no reason to try another one (promise A4).
fn by(rule: Rule, config: &FleetConfig, destination: &str) -> Resolution {
    if config.destination(destination).is_none() {
        return refused(format!(
            "it is mapped to {destination:?}, which is no destination of the fleet"
        ));
    }
    Resolution {
        destination: destination.to_owned(),
        rule: rule.into(),
        ..Resolution::default()
    }
}

fn refused(reason: String) -> Resolution {
    Resolution {
        rule: Rule::Refused.into(),
        reason,
        ..Resolution::default()
    }
}
