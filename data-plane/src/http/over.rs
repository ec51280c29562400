//! The end of a request: its leg is followed to the backend's end, and its last log line is written (promise Q2, behaviour
//! §12).

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use mailswitch_config::DestinationName;
use mailswitch_config::protocol::Keyword as _;

use crate::report::Report;
use crate::route::Route;
use crate::session::admit::Guard;
use crate::session::bridge::EndReason;
use crate::sessions::{About, End};

/// What is said of a request when it is over.
#[derive(Debug)]
pub(super) struct Over {
    about: About,
    report: Arc<Report>,
    destination: DestinationName,
    since: Instant,
    status: StatusCode,
}

impl Over {
    pub(super) fn new(guard: &Guard, route: &Route, since: Instant, status: StatusCode) -> Self {
        Self {
            about: guard.registered().about().clone(),
            report: Arc::clone(guard.registered().sessions().report()),
            destination: route.destination.clone(),
            since,
            status,
        }
    }

    /// Follows the leg to its end, then says so.
    pub(super) async fn end(
        self,
        guard: Guard,
        leg_ends: impl Future<Output = ()>,
        reason: EndReason,
        to_backend: u64,
        to_client: u64,
    ) {
        let how = guard.end_leg(leg_ends).await;
        self.tell(how, reason, to_backend, to_client);
    }

    /// A line of a request whose span has ended.
    pub(super) fn debug(&self, error: &hyper::Error, what: &'static str) {
        let about = &self.about;
        tracing::debug!(
            session = %about.id,
            listener = %about.listener,
            protocol = about.protocol.as_str(),
            peer = %about.client,
            destination = self.destination.as_str(),
            error = crate::error_chain(error),
            "{what}"
        );
    }

    /// No path and no query: they hold secrets as often as not.
    pub(super) fn tell(&self, how: End, reason: EndReason, to_backend: u64, to_client: u64) {
        let about = &self.about;
        self.report
            .bridged(&self.destination, about.protocol, to_backend, to_client);
        tracing::info!(
            session = %about.id,
            listener = %about.listener,
            protocol = about.protocol.as_str(),
            peer = %about.client,
            destination = self.destination.as_str(),
            status = self.status.as_u16(),
            bytes_to_backend = to_backend,
            bytes_to_client = to_client,
            secs = self.since.elapsed().as_secs(),
            reason = reason.as_str(),
            leg = ?how,
            "session closed"
        );
    }
}
