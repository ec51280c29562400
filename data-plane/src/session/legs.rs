//! How a login reaches its backend: what admission asks of the mail protocols (dial, replay, end).
//!
//! The credential leaves here and nowhere else, behind the dialogue's guard; it is wiped when the login is
//! answered.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::table::destination::Destination;
use mailswitch_config::{DestinationName, Forwarding};
use mailswitch_dialogue::{
    Answer, ClientAttributes, Hops, PlaintextAuth, Ready, Relay, ReplayError, SessionId, Transport,
};
use mailswitch_telemetry::name;
use tokio::time::timeout;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::admit::{Authenticated, Backend};
use super::bridge::ending::end_backend;
use super::identify::Identified;
use super::{Client, Front};
use crate::backend::establish::{Caller, EstablishError, Established};
use crate::drive::{DriveError, Leg, Upgrade};
use crate::route::Route;
use crate::tls::Encryption;

/// One login's way to its backends.
pub(super) struct Path<'a> {
    login: &'a Identified,
    client: &'a Client,
    front: &'a Front,
    transport: Transport,
    /// Where it was dialled last, for the log.
    dialled: Option<DestinationName>,
}

/// A leg, ready for the credential or signed in.
#[derive(Debug)]
pub(super) struct BackendLeg {
    leg: Leg,
    /// None once the credential was sent.
    ready: Option<Ready>,
    backend: Arc<crate::backend::Backend>,
    pub(super) round_trip: Duration,
}

/// The backend's words, for the client.
#[derive(Debug)]
pub(super) enum Reply {
    /// The login is good.
    Accepted(Relay),
    /// It is not. `Hide`: `hide_auth_errors` of the destination.
    Refused(Relay, Wording),
    /// The backend cannot say now: relayed in any case.
    Temporary(Relay),
}

/// Whether a client reads the backend's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wording {
    Relayed,
    Hidden,
}

/// Why there is no leg, or no answer on it.
#[derive(Debug, thiserror::Error)]
pub(super) enum LegError {
    #[error(transparent)]
    Establish(#[from] EstablishError),
    #[error("the session passed too many proxies: a loop")]
    TooManyHops,
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("the backend's connection failed while the login was being answered")]
    Lost(#[source] DriveError),
    #[error("the backend did not answer the login within backend_timeout")]
    Silent,
}

impl<'a> Path<'a> {
    pub(super) fn new(login: &'a Identified, leg: &Leg, client: &'a Client, front: &'a Front) -> Self {
        let transport = match leg.stream().map(crate::tls::Stream::encryption) {
            Some(Encryption::Tls) => Transport::Tls,
            Some(Encryption::None) | None => Transport::Insecure,
        };
        Self {
            login,
            client,
            front,
            transport,
            dialled: None,
        }
    }

    /// Where the login was dialled last.
    pub(super) fn into_dialled(self) -> Option<DestinationName> {
        self.dialled
    }

    fn attributes(&self) -> Result<ClientAttributes, LegError> {
        let inbound = self
            .login
            .hops
            .unwrap_or(Hops(self.front.node.machine().server.proxy_ttl));
        Ok(ClientAttributes {
            client: self.client.ends.client,
            destination: self.client.ends.local,
            // Made by us in that shape.
            session: SessionId::new(self.client.id.as_str()).map_err(|_| LegError::TooManyHops)?,
            ttl: inbound.forwarded().ok_or(LegError::TooManyHops)?,
            transport: self.transport,
        })
    }
}

impl Backend for Path<'_> {
    type Leg = BackendLeg;
    type Reply = Reply;
    type Failure = LegError;

    async fn dial(&mut self, route: &Route) -> Result<BackendLeg, LegError> {
        let destination = &route.destination;
        let span = tracing::Span::current();
        span.set_attribute(name::DESTINATION, destination.to_string());
        tracing::debug!(%destination, rule = ?route.rule, "routed");
        self.dialled = Some(destination.clone());
        let backends = self.front.node.backends();
        let backend = backends.get(destination)?;
        let endpoint = backend.destination.endpoint(self.front.listener.protocol);
        // Hops are counted where they are told: a leg without XCLIENT and ID is no part of a chain (behaviour §7.4).
        let attributes = match endpoint.map(|endpoint| endpoint.forwarding) {
            Some(Forwarding::Xclient) => Some(self.attributes()?),
            Some(Forwarding::Proxy | Forwarding::None) | None => None,
        };
        let caller = Caller {
            ends: self.client.ends,
            command: &self.login.command,
            helo: self.login.helo.as_ref(),
            hostname: self.front.node.machine().hostname.clone(),
            plaintext: match backend.destination.allow_plaintext_auth {
                true => PlaintextAuth::Allowed,
                false => PlaintextAuth::Refused,
            },
            attributes,
        };
        let Established {
            leg,
            ready,
            round_trip,
        } = backends
            .establish(&backend, self.front.listener.protocol, &caller)
            .await?;
        Ok(BackendLeg {
            leg,
            ready: Some(ready),
            backend,
            round_trip,
        })
    }

    async fn authenticate(&mut self, leg: &mut BackendLeg) -> Authenticated<Reply, LegError> {
        let span = tracing::info_span!(name::span::REPLAY);
        match self.replay(leg).instrument(span).await {
            Ok(Answer::Accepted { relay }) => Authenticated::Accepted(Reply::Accepted(relay)),
            Ok(Answer::Refused { relay }) => {
                let wording = match leg.config().hide_auth_errors {
                    true => Wording::Hidden,
                    false => Wording::Relayed,
                };
                Authenticated::Refused(Reply::Refused(relay, wording))
            }
            Ok(Answer::Temporary { relay }) => Authenticated::Refused(Reply::Temporary(relay)),
            Err(error) => {
                let protocol = self.front.listener.protocol;
                let client = self.client.ends.client.ip();
                let backends = self.front.node.backends();
                backends.no_answer(&leg.config().name, protocol, client, &error);
                Authenticated::Unusable(error)
            }
        }
    }

    // Boxed: an opaque type would capture the lifetimes of the login, which ends before its leg.
    #[expect(refining_impl_trait)]
    fn end(leg: BackendLeg) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let (Some(stream), _) = leg.leg.into_parts() {
                end_backend(stream).await;
            }
        })
    }
}

impl Path<'_> {
    async fn replay(&self, backend: &mut BackendLeg) -> Result<Answer, LegError> {
        let ready = backend
            .ready
            .take()
            .ok_or(LegError::Replay(ReplayError::Closed))?;
        let mut dialogue = ready.replay(&self.login.credential);
        let answer = backend.leg.drive(&mut *dialogue, Upgrade::Never);
        match timeout(self.front.node.machine().server.backend_timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(DriveError::Closed)) => Err(ReplayError::Closed.into()),
            Ok(Err(error)) => Err(LegError::Lost(error)),
            Err(_) => Err(LegError::Silent),
        }
    }
}

impl BackendLeg {
    fn config(&self) -> &Destination {
        &self.backend.destination
    }

    /// For the bridge.
    pub(super) fn into_leg(self) -> Leg {
        self.leg
    }
}
