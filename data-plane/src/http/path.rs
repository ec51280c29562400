//! How a request reaches its backend: what admission asks of HTTP (dial, end). What is sent and what comes back is the
//! exchange's: the check before the credentials is the last one (promise A3).

use std::pin::Pin;

use http::StatusCode;
use mailswitch_admission::LastCheck;
use mailswitch_config::{DestinationName, Protocol, TlsMode};
use mailswitch_http_rules::BadAnswer;

use super::connection::Connection;
use super::leg::{ForHttp, Leg};
use crate::backend::establish::{EstablishError, Stage};
use crate::route::Route;
use crate::session::admit::{Authenticated, Backend};
use crate::sessions::ActingFor;
use crate::tls::HttpVersions;

/// One request's way to its backends.
#[derive(Debug)]
pub(super) struct Path<'a> {
    pub(super) connection: &'a Connection,
    pub(super) acting_for: &'a ActingFor,
    /// A WebSocket needs HTTP/1.1 whatever the destination says.
    pub(super) wants: Wants,
    /// A kept connection was closed under the request: another one of its kind would be, too.
    pub(super) may_reuse: MayReuse,
    /// Where it was dialled last, for the log.
    pub(super) dialled: Option<DestinationName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Exchange,
    WebSocket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayReuse {
    Yes,
    No,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LegError {
    #[error(transparent)]
    Establish(#[from] EstablishError),
    #[error("credentials would go in clear to destination {0}, which has no allow_plaintext_auth")]
    Insecure(mailswitch_config::DestinationName),
    #[error("the backend's connection ended before its answer")]
    Lost(#[source] hyper::Error),
    #[error("the backend said nothing within http.relay_idle")]
    Silent,
    #[error(transparent)]
    BadAnswer(#[from] BadAnswer),
}

impl LegError {
    /// What the client is told (behaviour 7.1).
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Establish(EstablishError::Down(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Establish(EstablishError::TimedOut { .. }) | Self::Silent => StatusCode::GATEWAY_TIMEOUT,
            Self::Establish(_) | Self::Insecure(_) | Self::Lost(_) | Self::BadAnswer(_) => {
                StatusCode::BAD_GATEWAY
            }
        }
    }

    /// How far it had come, for the log.
    pub(super) fn stage(&self) -> &'static str {
        match self {
            Self::Establish(error) => error.stage().as_str(),
            Self::Insecure(_) => Stage::Connect.as_str(),
            Self::Lost(_) | Self::Silent | Self::BadAnswer(_) => "answer",
        }
    }
}

impl Backend for Path<'_> {
    type Leg = Leg;
    type Reply = ();
    type Failure = LegError;
    const LAST_CHECK: LastCheck = LastCheck::BeforeCredentials;

    async fn dial(&mut self, route: &Route) -> Result<Leg, LegError> {
        let connection = self.connection;
        let node = &connection.front.node;
        let name = &route.destination;
        tracing::debug!(destination = %name, rule = ?route.rule, "routed");
        self.dialled = Some(name.clone());
        let backends = node.backends();
        let backend = backends.get(name)?;
        let endpoint = backend.destination.endpoint(Protocol::Http);
        let speaks_http2 = endpoint.is_some_and(|endpoint| endpoint.http2);
        let offer = match self.wants {
            Wants::Exchange if speaks_http2 => HttpVersions::Http2,
            Wants::Exchange | Wants::WebSocket => HttpVersions::Http1,
        };
        if endpoint.is_some_and(|endpoint| endpoint.tls == TlsMode::Plain)
            && !backend.destination.allow_plaintext_auth
        {
            return Err(LegError::Insecure(name.clone()));
        }
        if self.may_reuse == MayReuse::Yes
            && let Some(leg) = connection.pool.take(&backend, self.acting_for, offer).await
        {
            return Ok(leg);
        }
        let purpose = ForHttp {
            ends: connection.ends,
            offer,
            max_head_size: node.policy().fleet.http.max_head_size,
            backend,
        };
        Ok(backends
            .establish(&purpose.backend, Protocol::Http, &purpose)
            .await?)
    }

    /// Never asked: an admitted request is sent by its exchange.
    async fn authenticate(&mut self, _: &mut Leg) -> Authenticated<(), LegError> {
        Authenticated::Unusable(LegError::Silent)
    }

    fn unanswered() -> Option<()> {
        Some(())
    }

    // Boxed: an opaque type would capture the lifetimes of the request, which ends before its leg.
    #[expect(refining_impl_trait)]
    fn end(leg: Leg) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        leg.end()
    }
}
