//! `GET /destinations` and `POST /destinations/reset`: the circuit breakers (management API 3.2). Which clients failed is in
//! the log, not here.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use mailswitch_config::protocol::Keyword as _;
use mailswitch_config::{DestinationName, Protocol};
use serde::Serialize;

use super::Api;
use super::answer::{Refusal, line};
use super::parameters::Parameters;
use crate::backend::breaker::Status;

#[derive(Debug, Serialize)]
pub(super) struct Listed {
    destinations: Vec<Destination>,
}

/// A destination, as its worst leg: a dead ManageSieve port shows, and takes no IMAP down.
#[derive(Debug, Serialize)]
struct Destination {
    destination: String,
    #[serde(flatten)]
    worst: Breaker,
    /// Every leg that has failed since it last worked.
    protocols: Vec<Leg>,
}

#[derive(Debug, Serialize)]
struct Leg {
    protocol: &'static str,
    #[serde(flatten)]
    state: Breaker,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Breaker {
    consecutive_failures: u32,
    failure_sources: u32,
    host_level_failure: bool,
    down: bool,
}

/// In the order of their names.
pub(super) async fn show(State(api): State<Arc<Api>>) -> Json<Listed> {
    let backends = api.node.backends();
    let config = api.node.knowledge.config();
    let destinations = config
        .destinations
        .keys()
        .map(|name| Destination::of(name, &backends.breakers(name)))
        .collect();
    Json(Listed { destinations })
}

pub(super) async fn reset(State(api): State<Arc<Api>>, parameters: Parameters) -> Result<Response, Refusal> {
    let name = DestinationName::from(parameters.need("destination")?);
    if !api.node.knowledge.config().destinations.contains_key(&name) {
        return Err(Refusal::Unknown(format!("unknown destination: {name}")));
    }
    api.node.backends().reset_breaker(&name);
    tracing::info!(destination = %name, "management API: the breakers of a destination are reset");
    Ok(line("ok"))
}

impl Destination {
    fn of(name: &DestinationName, legs: &[(Protocol, Status)]) -> Self {
        let worst = legs
            .iter()
            .map(|(_, status)| status)
            .max_by_key(|status| (status.open, status.consecutive_failures));
        Self {
            destination: name.as_str().to_owned(),
            worst: Breaker::of(worst.copied().unwrap_or_default()),
            protocols: legs
                .iter()
                .filter(|(_, status)| *status != Status::default())
                .map(|(protocol, status)| Leg {
                    protocol: protocol.as_str(),
                    state: Breaker::of(*status),
                })
                .collect(),
        }
    }
}

impl Breaker {
    fn of(status: Status) -> Self {
        Self {
            consecutive_failures: status.consecutive_failures,
            failure_sources: status.failure_sources,
            host_level_failure: status.host_level_failure,
            down: status.open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_shown_as_its_worst_leg_beside_each_of_them() {
        let failing = Status {
            consecutive_failures: 9,
            failure_sources: 1,
            ..Status::default()
        };
        let down = Status {
            open: true,
            consecutive_failures: 5,
            failure_sources: 2,
            host_level_failure: true,
        };
        let legs = [
            (Protocol::Imap, Status::default()),
            (Protocol::Pop3, failing),
            (Protocol::ManageSieve, down),
        ];
        let shown = serde_json::to_value(Destination::of(&DestinationName::from("legacy"), &legs)).unwrap();
        assert_eq!(
            shown,
            serde_json::json!({
                "destination": "legacy",
                "consecutive_failures": 5, "failure_sources": 2, "host_level_failure": true, "down": true,
                "protocols": [
                    { "protocol": "pop3", "consecutive_failures": 9, "failure_sources": 1,
                      "host_level_failure": false, "down": false },
                    { "protocol": "managesieve", "consecutive_failures": 5, "failure_sources": 2,
                      "host_level_failure": true, "down": true },
                ],
            })
        );
    }
}
