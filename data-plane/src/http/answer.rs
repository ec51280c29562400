//! What a client hears, exactly once per request: the backend's answer, or words of ours (behaviour 7.1, 8.1).

use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode, Version};
use mailswitch_config::DestinationName;
use mailswitch_http_rules::{Answer, Refusal, own_answer};
use mailswitch_telemetry::name;
use tokio::sync::oneshot;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::busy::Busy;
use super::connection::Connection;
use super::download::{Download, Frames};
use super::identify::NotIdentified;
use super::path::LegError;
use crate::backend::establish::EstablishError;
use crate::session::admit::TemporaryFailure;

/// When a client may come back whose account is being moved: a cutover takes about this long.
const SOON: Duration = Duration::from_secs(5);

/// The way to the client of one request.
#[derive(Debug)]
pub(super) struct ToClient {
    sender: oneshot::Sender<Response<Download>>,
    busy: Busy,
    version: Version,
    connection: Arc<Connection>,
    last: Last,
}

/// Whether this is the last request of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Yes,
    No,
}

/// Nobody is there to be told.
#[derive(Debug)]
pub(super) struct Gone;

impl ToClient {
    pub(super) fn new(
        connection: &Arc<Connection>,
        busy: Busy,
        version: Version,
        last: Last,
    ) -> (Self, oneshot::Receiver<Response<Download>>) {
        let (sender, receiver) = oneshot::channel();
        let to_client = Self {
            sender,
            busy,
            version,
            connection: Arc::clone(connection),
            last,
        };
        (to_client, receiver)
    }

    /// Ends when the client has gone.
    pub(super) async fn gone(&mut self) {
        self.sender.closed().await;
    }

    /// The backend's head; its body follows through what this gives.
    pub(super) fn relay(self, mut answer: Answer) -> Result<Frames, Gone> {
        if self.last == Last::Yes {
            answer.close_behind();
        }
        let (download, frames) = Download::relayed(answer.body);
        self.say(Response::from_parts(answer.head, download))?;
        Ok(frames)
    }

    /// The backend's head, of a connection that is something else from here on. What this gives keeps its request open: a
    /// stream of HTTP/2 is of a connection that is not idle.
    pub(super) fn switch(self, answer: Answer) -> Result<Busy, Gone> {
        let busy = self.busy.share();
        self.say(Response::from_parts(answer.head, Download::words("")))?;
        Ok(busy)
    }

    /// The request is not passed on because of what it is.
    pub(super) fn refuse(self, refusal: Refusal) {
        tracing::debug!(status = refusal.status().as_u16(), cause = %refusal, "request refused");
        self.answer(refusal.status());
    }

    /// Nobody knows whose request it is.
    pub(super) fn not_identified(self, error: &NotIdentified) {
        match error {
            // The value itself is not for any log.
            NotIdentified::Refused(Refusal::Identifier(cause)) => {
                tracing::warn!(%cause, "request refused: what names its account is no identifier");
            }
            error => tracing::debug!(status = error.status().as_u16(), cause = %error, "request refused"),
        }
        self.answer(error.status());
    }

    /// Words of ours.
    pub(super) fn answer(self, status: StatusCode) {
        self.answer_with(status, None);
    }

    /// Too many of its connection are not over yet.
    pub(super) fn too_many(self) {
        tracing::debug!("request refused: too many before it are not over at their backends");
        self.answer_with(StatusCode::SERVICE_UNAVAILABLE, Some(SOON));
    }

    /// There is no backend for now.
    pub(super) fn temporary_failure(
        self,
        failure: &TemporaryFailure<LegError>,
        dialled: Option<&DestinationName>,
    ) {
        let status = match failure {
            TemporaryFailure::Backend(error) => {
                tracing::warn!(
                    destination = dialled.map(DestinationName::as_str),
                    stage = error.stage(),
                    cause = crate::error_chain(error),
                    "backend unavailable"
                );
                error.status()
            }
            other => {
                tracing::info!(cause = %other, "request ended with a temporary failure");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        let retry_after = match failure {
            TemporaryFailure::Backend(LegError::Establish(EstablishError::Down(_))) => {
                Some(self.connection.front.node.machine().server.host_down_cooldown)
            }
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(SOON),
        };
        self.answer_with(status, retry_after);
    }

    fn answer_with(self, status: StatusCode, retry_after: Option<Duration>) {
        let mut response = own_answer(status, self.version).map(Download::words);
        if let Some(after) = retry_after {
            let seconds = HeaderValue::from(after.as_secs().max(1));
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        // Whoever has gone hears nothing.
        let _ = self.say(response);
    }

    fn say(self, response: Response<Download>) -> Result<(), Gone> {
        let span = tracing::Span::current();
        let status = response.status();
        span.set_attribute(name::HTTP_STATUS, i64::from(status.as_u16()));
        if status.is_server_error() {
            // As the conventions for HTTP servers want it.
            span.set_attribute(name::ERROR, status.as_str().to_owned());
        }
        let response = response.map(|download| download.keeping(self.busy));
        self.sender.send(response).map_err(|_| Gone)
    }
}
