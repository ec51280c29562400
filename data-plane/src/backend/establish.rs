//! A backend leg, from the breaker's gate to the point where a credential could be sent (behaviour §4, steps 1 to 9).
//!
//! One budget for all attempts together. What was refused in protocol is not retried: it would be refused again. The
//! breaker hears one failure per client connection, after its retries.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::{DestinationName, Forwarding, Protocol, TlsMode};
use mailswitch_dialogue::{
    Announce, BackendLeg, ClientAttributes, ClientCommand, HandshakeConfig, HandshakeError, Helo, Ready,
    Retry, handshake,
};
use mailswitch_telemetry::name;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::announce::{ClientEnds, proxy_v2_header};
use super::breaker::Failure;
use super::dial::{Connected, DialError};
use super::{Backend, Backends, endpoint};
use crate::drive::{DriveError, Leg, Upgrade};
use crate::tls::{ClientTlsError, Stream, UpgradeError};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// On whose behalf a leg is made.
#[derive(Debug)]
pub struct Caller<'a> {
    /// The client's connection.
    pub ends: ClientEnds,
    /// The login that waits.
    pub command: &'a ClientCommand,
    /// The client's EHLO argument.
    pub helo: Option<&'a Helo>,
    /// `server.hostname`.
    pub hostname: Option<Arc<str>>,
    /// What XCLIENT and ID say.
    pub attributes: ClientAttributes,
}

/// A leg that waits for the credential.
#[derive(Debug)]
pub struct Established {
    /// The connection, and what the backend sent ahead.
    pub leg: Leg,
    /// The backend's side of the login.
    pub ready: Ready,
    /// Measured at the connect.
    pub round_trip: Duration,
}

/// How far an attempt had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Name, connect.
    Connect,
    /// TLS before the dialogue.
    Tls,
    /// PROXY header, greeting, STARTTLS, XCLIENT.
    Handshake,
}

impl Stage {
    /// As logged.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Handshake => "handshake",
        }
    }
}

/// Why there is no leg.
#[derive(Debug, thiserror::Error)]
pub enum EstablishError {
    /// The mapping names a destination that the configuration does not have.
    #[error("destination {0} is not configured")]
    Unknown(DestinationName),
    /// It does not serve this protocol.
    #[error("destination.{destination}.protocol.{protocol} is not configured")]
    NoEndpoint {
        /// Which.
        destination: DestinationName,
        /// What the client speaks.
        protocol: Protocol,
    },
    /// Its certificate settings cannot be used.
    #[error("TLS to destination {destination} cannot be set up")]
    NoTls {
        /// Which.
        destination: DestinationName,
        /// Why.
        #[source]
        source: Arc<ClientTlsError>,
    },
    /// The breaker is open.
    #[error("destination {0} is marked down")]
    Down(DestinationName),
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection failed.
    #[error("the connection to the backend failed{hint}")]
    Io {
        /// How far it had come.
        stage: Stage,
        /// What may help.
        hint: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS failed.
    #[error("{source}{hint}")]
    Upgrade {
        /// What may help.
        hint: &'static str,
        /// Why.
        #[source]
        source: UpgradeError,
    },
    /// The backend's side of the dialogue.
    #[error("{source}{hint}")]
    Handshake {
        /// What may help.
        hint: &'static str,
        /// Why.
        #[source]
        source: HandshakeError,
    },
    /// `backend_timeout` is over.
    #[error("no answer within backend_timeout ({}){hint}", .stage.as_str())]
    TimedOut {
        /// How far the last attempt had come.
        stage: Stage,
        /// What may help.
        hint: &'static str,
    },
}

impl EstablishError {
    /// How far it had come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Io { stage, .. } | Self::TimedOut { stage, .. } => *stage,
            Self::Upgrade { .. } | Self::NoTls { .. } => Stage::Tls,
            Self::Handshake { .. } => Stage::Handshake,
            Self::Unknown(_) | Self::NoEndpoint { .. } | Self::Down(_) | Self::Dial(_) => Stage::Connect,
        }
    }

    /// What the breaker counts (behaviour §7.2). None: the destination is not at fault.
    fn failure(&self, ends: &ClientEnds) -> Option<Failure> {
        match self {
            Self::Unknown(_) | Self::NoEndpoint { .. } | Self::NoTls { .. } | Self::Down(_) => None,
            Self::Dial(DialError::Loop(_) | DialError::NoSourceAddress { .. }) => None,
            Self::Dial(DialError::Resolve { .. } | DialError::Connect { .. }) => Some(Failure::HostLevel),
            Self::TimedOut {
                stage: Stage::Connect,
                ..
            } => Some(Failure::HostLevel),
            Self::Io { .. } | Self::Upgrade { .. } | Self::Handshake { .. } | Self::TimedOut { .. } => {
                Some(Failure::ClientAttributed(ends.client.ip()))
            }
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Dial(DialError::Resolve { .. } | DialError::Connect { .. })
            | Self::Io { .. }
            | Self::Upgrade { .. } => Retry::Yes,
            Self::Handshake { source, .. } => source.retry(),
            Self::Unknown(_)
            | Self::NoEndpoint { .. }
            | Self::NoTls { .. }
            | Self::Down(_)
            | Self::Dial(_)
            | Self::TimedOut { .. } => Retry::No,
        }
    }
}

impl Backends {
    /// Makes a leg to a destination. The breaker has heard of the outcome when this returns.
    ///
    /// # Errors
    /// When there is none. Given up before that, the attempt is reset and says nothing about the destination.
    pub async fn establish(
        self: &Arc<Self>,
        destination: &DestinationName,
        protocol: Protocol,
        caller: &Caller<'_>,
    ) -> Result<Established, EstablishError> {
        let known = self.get(destination);
        let backend = known.ok_or_else(|| EstablishError::Unknown(destination.clone()))?;
        let passage = self
            .passed(destination, protocol)
            .map_err(|_| EstablishError::Down(destination.clone()))?;
        let span = tracing::info_span!(name::span::DIAL);
        span.set_attribute(name::DESTINATION, destination.to_string());
        span.set_attribute(name::SERVER_ADDRESS, backend.destination.host.to_string());
        let attempts = self.attempts(&backend, protocol, caller);
        let began = Instant::now();
        let result = attempts.instrument(span).await;
        self.report.dialled(destination, protocol, began.elapsed());
        match &result {
            Ok(_) => passage.succeeded(),
            Err(error) => match error.failure(&caller.ends) {
                Some(failure) => passage.failed(failure, &crate::error_chain(error)),
                None => drop(passage),
            },
        }
        result
    }

    async fn attempts(
        &self,
        backend: &Backend,
        protocol: Protocol,
        caller: &Caller<'_>,
    ) -> Result<Established, EstablishError> {
        let until = Instant::now() + self.limits.timeout;
        let mut left = self.limits.retries;
        loop {
            let mut stage = Stage::Connect;
            let attempt = self.attempt(backend, protocol, caller, &mut stage);
            let error = match timeout_at(until, attempt).await {
                Ok(Ok(established)) => return Ok(established),
                Ok(Err(error)) => error,
                Err(_) => {
                    let hint = match (stage, endpoint(backend, protocol)) {
                        (Stage::Tls | Stage::Handshake, Some(endpoint)) => hint(endpoint.forwarding),
                        (Stage::Connect, _) | (_, None) => "",
                    };
                    return Err(EstablishError::TimedOut { stage, hint });
                }
            };
            if left == 0 || error.retry() == Retry::No || Instant::now() + PAUSE >= until {
                return Err(error);
            }
            left -= 1;
            tracing::debug!(destination = %backend.destination.name, cause = crate::error_chain(&error), "trying again");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt(
        &self,
        backend: &Backend,
        protocol: Protocol,
        caller: &Caller<'_>,
        stage: &mut Stage,
    ) -> Result<Established, EstablishError> {
        let destination = &backend.destination;
        let endpoint = endpoint(backend, protocol).ok_or_else(|| EstablishError::NoEndpoint {
            destination: destination.name.clone(),
            protocol,
        })?;
        let tls = backend.tls(protocol).map_err(|source| EstablishError::NoTls {
            destination: destination.name.clone(),
            source: Arc::clone(source),
        })?;
        let Connected { tcp, round_trip } = self.dialler.connect(destination, endpoint.port).await?;
        *stage = Stage::Handshake;
        let mut stream = Stream::plain(tcp);
        let hint = hint(endpoint.forwarding);
        if endpoint.forwarding == Forwarding::Proxy {
            let header = proxy_v2_header(&caller.ends);
            stream
                .write_all(&header)
                .await
                .map_err(|source| EstablishError::Io {
                    stage: *stage,
                    hint,
                    source,
                })?;
        }
        let mut leg = Leg::new(stream);
        let backend_leg = match (endpoint.tls, tls) {
            (TlsMode::Plain, _) => BackendLeg::Plain,
            (TlsMode::StartTls, _) => BackendLeg::StartTls,
            (TlsMode::Implicit, None) => return Err(failed(DriveError::NoTls, Stage::Tls, hint)),
            (TlsMode::Implicit, Some(tls)) => {
                *stage = Stage::Tls;
                let started = leg.start_tls(Upgrade::Client(tls));
                let started = started
                    .instrument(tracing::info_span!(name::span::BACKEND_TLS))
                    .await;
                BackendLeg::Encrypted(started.map_err(|error| failed(error, Stage::Tls, hint))?)
            }
        };
        *stage = Stage::Handshake;
        let mut dialogue = handshake(
            caller.command,
            HandshakeConfig {
                leg: backend_leg,
                announce: match endpoint.forwarding {
                    Forwarding::Xclient => Announce::Attributes(caller.attributes.clone()),
                    Forwarding::Proxy | Forwarding::None => Announce::Nothing,
                },
                helo: caller.helo.cloned(),
                hostname: caller.hostname.clone(),
            },
        );
        let upgrade = tls.map_or(Upgrade::Never, Upgrade::Client);
        let ready = leg
            .drive(&mut *dialogue, upgrade)
            .await
            .map_err(|error| failed(error, Stage::Handshake, hint))?
            .map_err(|source| EstablishError::Handshake { hint: "", source })?;
        tracing::debug!(announced = ?ready.announced(), utf8 = ?ready.utf8(), "the backend waits for the credential");
        Ok(Established {
            leg,
            ready,
            round_trip,
        })
    }
}

fn failed(error: DriveError, stage: Stage, hint: &'static str) -> EstablishError {
    match error {
        DriveError::Closed => EstablishError::Handshake {
            hint,
            source: HandshakeError::Closed,
        },
        DriveError::Io(source) => EstablishError::Io { stage, hint, source },
        DriveError::Tls(source) => EstablishError::Upgrade { hint, source },
        DriveError::NoTls => EstablishError::Io {
            stage,
            hint: "",
            source: io::Error::other("this leg has no TLS settings"),
        },
    }
}

/// What an early end often means (behaviour §12).
fn hint(forwarding: Forwarding) -> &'static str {
    match forwarding {
        Forwarding::Proxy => " (a PROXY header was sent: does the backend expect one from this node?)",
        Forwarding::Xclient | Forwarding::None => {
            " (no PROXY header was sent: does the backend expect one from this node?)"
        }
    }
}
