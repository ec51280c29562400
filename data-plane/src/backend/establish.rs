//! A backend leg, from the breaker's gate to the point where its purpose begins (behaviour §4, steps 1 to 7).
//!
//! One budget for all attempts together. What was refused in protocol is not retried: it would be refused again. The
//! breaker hears one failure per client connection, after its retries.

mod error;
mod login;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::table::destination::Endpoint;
use mailswitch_config::{Forwarding, Protocol, TlsMode};
use mailswitch_dialogue::{BackendLeg, Retry};
use mailswitch_telemetry::name;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::announce::{ClientEnds, proxy_v2_header};
use super::dial::Connected;
use super::{Backend, Backends, endpoint};
use crate::drive::{DriveError, Leg, Upgrade};
use crate::tls::{ClientTls, HttpVersions, Stream};
use error::failed;
pub(crate) use error::hint;
pub use error::{EstablishError, Stage};
pub use login::{Caller, Established};
pub use unread::{Opened, Unread};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// Dovecot 2.3, on implicit TLS: what comes in the moment in which its ManageSieve login is still writing may never be read.
const SIEVE_SETTLES: Duration = Duration::from_millis(30);

/// What a leg is made for, and what has to be done on a fresh connection for it.
pub trait Purpose: Sync {
    /// What is made.
    type Made: Send;

    /// The client's connection, for the PROXY header and the breaker.
    fn ends(&self) -> &ClientEnds;

    /// What a backend of HTTP is offered to speak.
    fn offers(&self) -> HttpVersions {
        HttpVersions::Http1
    }

    /// Goes on where the connection stands. May be called again, on another one.
    fn begin(
        &self,
        connection: Connection<'_>,
    ) -> impl Future<Output = Result<Self::Made, EstablishError>> + Send;
}

/// A connection to a backend: it was told who the client is, and is encrypted if that comes first.
#[derive(Debug)]
pub struct Connection<'a> {
    /// Nothing was read on it.
    pub leg: Leg,
    /// How it is secured, or is to be.
    pub secured: BackendLeg,
    /// Measured at the connect.
    pub round_trip: Duration,
    /// Its settings.
    pub endpoint: Endpoint,
    /// For a STARTTLS.
    pub tls: Option<&'a ClientTls>,
}

impl Backends {
    /// Makes a leg to a destination, as the caller knows it: what is allowed there was read from the same. The breaker has
    /// heard of the outcome when this returns.
    ///
    /// # Errors
    /// When there is none. Given up before that, the attempt is reset and says nothing about the destination.
    pub async fn establish<P: Purpose>(
        self: &Arc<Self>,
        backend: &Backend,
        protocol: Protocol,
        purpose: &P,
    ) -> Result<P::Made, EstablishError> {
        let destination = &backend.destination.name;
        let passage = self
            .passed(destination, protocol)
            .map_err(|_| EstablishError::Down(destination.clone()))?;
        let span = tracing::info_span!(name::span::DIAL);
        span.set_attribute(name::DESTINATION, destination.to_string());
        span.set_attribute(name::SERVER_ADDRESS, backend.destination.host.to_string());
        let attempts = self.attempts(backend, protocol, purpose);
        let began = Instant::now();
        let result = attempts.instrument(span).await;
        self.report.dialled(destination, protocol, began.elapsed());
        match &result {
            Ok(_) => passage.succeeded(),
            Err(error) => match error.failure(purpose.ends()) {
                Some(failure) => passage.failed(failure, &crate::error_chain(error)),
                None => drop(passage),
            },
        }
        result
    }

    async fn attempts<P: Purpose>(
        &self,
        backend: &Backend,
        protocol: Protocol,
        purpose: &P,
    ) -> Result<P::Made, EstablishError> {
        let limits = **self.limits.load();
        let until = Instant::now() + limits.timeout;
        let mut left = limits.retries;
        loop {
            let mut stage = Stage::Connect;
            let attempt = self.attempt(backend, protocol, purpose, &mut stage);
            let error = match timeout_at(until, attempt).await {
                Ok(Ok(made)) => return Ok(made),
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

    async fn attempt<P: Purpose>(
        &self,
        backend: &Backend,
        protocol: Protocol,
        purpose: &P,
        stage: &mut Stage,
    ) -> Result<P::Made, EstablishError> {
        let connection = self.connect(backend, protocol, purpose, stage).await?;
        *stage = Stage::Handshake;
        purpose.begin(connection).await
    }

    async fn connect<'a, P: Purpose>(
        &self,
        backend: &'a Backend,
        protocol: Protocol,
        purpose: &P,
        stage: &mut Stage,
    ) -> Result<Connection<'a>, EstablishError> {
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
            let header = proxy_v2_header(purpose.ends());
            let written = stream.write_all(&header).await;
            written.map_err(|source| EstablishError::Io {
                stage: *stage,
                hint,
                source,
            })?;
        }
        let mut leg = match (protocol, endpoint.tls) {
            (Protocol::ManageSieve, TlsMode::Implicit) => Leg::new(stream).settles_after_tls(SIEVE_SETTLES),
            _ => Leg::new(stream),
        };
        let secured = match (endpoint.tls, tls) {
            (TlsMode::Plain, _) => BackendLeg::Plain,
            (TlsMode::StartTls, _) => BackendLeg::StartTls,
            (TlsMode::Implicit, None) => return Err(failed(DriveError::NoTls, Stage::Tls, hint)),
            (TlsMode::Implicit, Some(tls)) => {
                *stage = Stage::Tls;
                let started = leg.start_tls(match protocol {
                    Protocol::Http => Upgrade::HttpClient(tls, purpose.offers()),
                    _ => Upgrade::Client(tls),
                });
                let started = started
                    .instrument(tracing::info_span!(name::span::BACKEND_TLS))
                    .await;
                BackendLeg::Encrypted(started.map_err(|error| failed(error, Stage::Tls, hint))?)
            }
        };
        Ok(Connection {
            leg,
            secured,
            round_trip,
            endpoint,
            tls,
        })
    }
}
