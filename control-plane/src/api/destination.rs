//! Destinations by name. A name that the fleet does not have is refused wherever an operator writes one: an empty answer
//! about `lagacy` would be read as one about `legacy`.

use mailswitch_proto::control::v1::{Problem, problem::Kind};

use super::Answer;
use crate::process::ControlPlane;

/// Refuses a destination that is not there.
pub(super) fn known(plane: &ControlPlane, name: &str) -> Answer<()> {
    let config = plane.routing.config();
    if config.destination(name).is_some() {
        return Ok(());
    }
    let known: Vec<&str> = config.destinations.keys().map(|name| name.as_str()).collect();
    let remedy = match known.as_slice() {
        [] => "apply a file with [destination.*] first".to_owned(),
        known => format!("take one of: {}", known.join(", ")),
    };
    let what = format!("{name:?} is no destination of the fleet");
    Err(Problem::new(Kind::Precondition, what, remedy))
}
