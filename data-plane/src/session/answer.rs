//! What a client hears when it gets no bridge: the backend's refusal, or the protocol's temporary failure. Then its
//! connection is closed: it must not stay attached to a backend at which it could log in as somebody else.

use std::time::Duration;

use mailswitch_config::DestinationName;
use mailswitch_dialogue::ClientCommand;
use mailswitch_telemetry::name;
use tokio::time::timeout;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::Front;
use super::admit::TemporaryFailure;
use super::bridge::ending::end_client;
use super::identify::Identified;
use super::legs::{LegError, Reply, Wording};
use crate::drive::Leg;
use crate::error_chain;

/// A client that has not taken its answer by then does not read.
pub(crate) const MAY_TAKE: Duration = Duration::from_secs(2);

/// The backend said no.
pub(super) async fn refused(leg: Leg, reply: Reply, login: &Identified, dialled: Option<&DestinationName>) {
    tracing::Span::current().set_attribute(name::OUTCOME, "refused");
    let command: &ClientCommand = &login.command;
    let (hidden, relay) = match &reply {
        Reply::Refused(_, Wording::Hidden) => (command.authentication_failed(), None),
        Reply::Accepted(relay) | Reply::Refused(relay, Wording::Relayed) | Reply::Temporary(relay) => {
            (Vec::new(), Some(relay))
        }
    };
    tracing::info!(
        destination = dialled.map(DestinationName::as_str),
        "login refused by the backend"
    );
    let relayed = relay.map_or(&*hidden, |relay| relay.as_bytes());
    say_and_close(leg, &[relayed, command.after_refusal()].concat()).await;
}

/// There is no backend for now.
pub(super) async fn temporary_failure(
    leg: Leg,
    failure: &TemporaryFailure<LegError>,
    login: &Identified,
    dialled: Option<&DestinationName>,
    front: &Front,
) {
    let destination = dialled.map(DestinationName::as_str);
    tracing::Span::current().set_attribute(name::OUTCOME, "temporary_failure");
    let words = match failure {
        TemporaryFailure::Held => {
            tracing::info!("login ended: its account was held for longer than a login waits");
            login.command.held(front.node.policy().held_reply())
        }
        TemporaryFailure::Backend(cause) => {
            match cause {
                LegError::Establish(error) => {
                    tracing::warn!(
                        destination,
                        stage = error.stage().as_str(),
                        cause = error_chain(error),
                        "backend unavailable"
                    );
                }
                other => {
                    tracing::warn!(
                        destination,
                        stage = "login",
                        cause = error_chain(other),
                        "backend unavailable"
                    );
                }
            }
            login.command.temporary_failure()
        }
        other => {
            tracing::info!(cause = %other, "login ended with a temporary failure");
            login.command.temporary_failure()
        }
    };
    say_and_close(leg, &words).await;
}

/// Says the last words and closes, so that they reach also a client that has sent more.
pub(super) async fn say_and_close(mut leg: Leg, words: &[u8]) {
    let said = timeout(MAY_TAKE, leg.say(words)).await;
    if let (Ok(Ok(())), (Some(stream), _)) = (said, leg.into_parts()) {
        end_client(stream).await;
    }
}
