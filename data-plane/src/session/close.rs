//! From the admitted login to the bridge's task, and from the bridge's end to the last log line.
//!
//! The task owns two streams and this `Bridged`: registration, permit, place among the connections. The registration
//! ends when the backend's leg is over, not when the client's is.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::{Instant, SystemTime};

use mailswitch_config::DestinationName;
use mailswitch_config::protocol::Keyword as _;

use mailswitch_telemetry::name;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, Span as _, Tracer as _};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::Client;
use super::admit::{Admitted, Guard};
use super::bridge::{self, ClientSide, EndReason, Legs, Overseer, Owner, Stopped, Wish};
use super::control::{Connection, Told};
use super::legs::{BackendLeg, Reply};
use crate::drive::Leg;
use crate::listen::Permit;
use crate::report::Report;
use crate::sessions::{About, DrainCause, End, Order, Trace};

/// What a bridged session holds beside its streams.
pub(crate) struct Bridged {
    guard: Guard,
    connection: Connection,
    _permit: Option<Permit>,
    destination: DestinationName,
    since: Instant,
}

/// Begins to bridge, on a task of its own. The client reads the backend's OK as the bridge's first bytes.
pub(super) fn bridge(client_leg: Leg, admitted: Admitted<BackendLeg, Reply>, client: Client) {
    let span = tracing::Span::current();
    span.set_attribute(name::OUTCOME, "accepted");
    let Admitted {
        leg,
        reply,
        route,
        guard,
    } = admitted;
    let round_trip = leg.round_trip;
    let (client_stream, from_client) = client_leg.into_parts();
    let (backend_stream, from_backend) = leg.into_leg().into_parts();
    let (Some(client_stream), Some(backend_stream)) = (client_stream, backend_stream) else {
        return;
    };
    let mut first_to_client = match reply {
        Reply::Accepted(relay) | Reply::Refused(relay, _) | Reply::Temporary(relay) => {
            relay.as_bytes().to_vec()
        }
    };
    first_to_client.extend_from_slice(&from_backend.into_rest());
    let legs = Legs {
        client: client_stream,
        backend: backend_stream,
        first_to_backend: from_client.into_rest().to_vec(),
        first_to_client,
        round_trip,
    };
    let Client {
        mut permit,
        connection,
        ..
    } = client;
    permit.signed_in();
    let since = Instant::now();
    connection.control().bridged(since);
    tracing::debug!(destination = %route.destination, "bridged");
    let bridged = Bridged {
        guard,
        connection,
        _permit: Some(permit),
        destination: route.destination,
        since,
    };
    tokio::spawn(bridge::Task::new(legs, bridged));
}

impl Bridged {
    /// Of a session whose streams come from elsewhere. No permit: it is one of several on its client's connection.
    pub(crate) fn new(
        guard: Guard,
        connection: Connection,
        permit: Option<Permit>,
        destination: DestinationName,
        since: Instant,
    ) -> Self {
        Self {
            guard,
            connection,
            _permit: permit,
            destination,
            since,
        }
    }
}

impl Overseer for Bridged {
    fn wish(&self, cx: &Context<'_>) -> Wish {
        match self.connection.control().told(cx) {
            Told::Nothing => {}
            Told::Idle => return Wish::Stop(EndReason::Idle),
            Told::Stop => return Wish::Stop(EndReason::Shutdown),
        }
        match self.guard.registered().poll_order(cx) {
            // A session is never recalled: it would have to look again with its client signed in.
            Order::Stay | Order::Recall => Wish::Move,
            Order::Drain { cause, deadline } => Wish::Quiet {
                until: deadline,
                reason: match cause {
                    DrainCause::Hold(_) => EndReason::Hold,
                    DrainCause::Node => EndReason::Drain,
                },
            },
            Order::Kick => Wish::Stop(EndReason::Kick),
            Order::Shutdown => Wish::Stop(EndReason::Shutdown),
            Order::Reset => Wish::Reset(EndReason::Reset),
        }
    }

    fn may_move(&self) -> bool {
        self.guard.registered().may_move()
    }

    fn moved(&self, now: Instant) {
        self.connection.control().moved(now);
    }
}

impl<C: ClientSide> Owner<C> for Bridged {
    fn end(self, stopped: Stopped<C>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(end(self, stopped))
    }
}

async fn end<C: ClientSide>(bridged: Bridged, stopped: Stopped<C>) {
    let Bridged {
        guard,
        connection,
        _permit,
        destination,
        since,
    } = bridged;
    let about = guard.registered().about().clone();
    let report = Arc::clone(guard.registered().sessions().report());
    let over = Over::of(&stopped, destination, since);
    let held_by = match guard.registered().order() {
        Order::Drain {
            cause: DrainCause::Hold(hold),
            ..
        } => guard.registered().sessions().cause_of_hold(hold),
        _ => None,
    };
    let (client_end, backend_end) = stopped.into_ends();
    let (how, ()) = tokio::join!(guard.end_leg(backend_end), client_end);
    over.tell(&about, how, &held_by, &report);
    drop(connection);
}

/// What is said of a session when both its legs have ended.
pub(super) struct Over {
    destination: DestinationName,
    since: Instant,
    reason: EndReason,
    to_backend: u64,
    to_client: u64,
}

impl Over {
    pub(super) fn of<C>(stopped: &Stopped<C>, destination: DestinationName, since: Instant) -> Self {
        Self {
            destination,
            since,
            reason: stopped.reason,
            to_backend: stopped.to_backend,
            to_client: stopped.to_client,
        }
    }

    /// The last log line of the session, its bytes, its span.
    pub(super) fn tell(&self, about: &About, how: End, held_by: &Trace, report: &Report) {
        export(about, &self.destination, self.since, held_by);
        report.bridged(&self.destination, about.protocol, self.to_backend, self.to_client);
        tracing::info!(
            session = %about.id,
            listener = %about.listener,
            protocol = about.protocol.as_str(),
            peer = %about.client,
            destination = self.destination.as_str(),
            bytes_to_backend = self.to_backend,
            bytes_to_client = self.to_client,
            secs = self.since.elapsed().as_secs(),
            reason = self.reason.as_str(),
            leg = ?how,
            "session closed"
        );
    }
}

/// The span of the bridge: a trace of its own, linked to the session's and to what ended it, and made only now. Nobody
/// has to remember a span that may be a day long.
fn export(about: &About, destination: &DestinationName, since: Instant, held_by: &Trace) {
    let Some(login) = &about.trace else {
        return;
    };
    let links = std::iter::once(login)
        .chain(held_by)
        .map(|trace| Link::with_context((**trace).clone()));
    let tracer = opentelemetry::global::tracer(name::SCOPE);
    let began = SystemTime::now().checked_sub(since.elapsed());
    tracer
        .span_builder(name::span::BRIDGE)
        .with_start_time(began.unwrap_or_else(SystemTime::now))
        .with_links(links.collect())
        .with_attributes([
            KeyValue::new(name::SESSION, about.id.to_string()),
            KeyValue::new(name::PROTOCOL, about.protocol.as_str()),
            KeyValue::new(name::LISTENER, about.listener.to_string()),
            KeyValue::new(name::DESTINATION, destination.to_string()),
            KeyValue::new(name::CLIENT_ADDRESS, about.client.ip().to_string()),
        ])
        .start_with_context(&tracer, &opentelemetry::Context::new())
        .end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::control::Control;
    use crate::session::{Front, run};

    fn future_size<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_session_is_small_and_no_stage_outlives_itself() {
        let task = size_of::<bridge::Task<Bridged>>();
        let before = future_size(run);
        println!(
            "the bridge's task: {task} bytes, of which {} for its owner",
            size_of::<Bridged>()
        );
        println!("a connection's control: {} bytes", size_of::<Control>());
        println!(
            "what the registry shows of a session: {} bytes",
            size_of::<About>()
        );
        println!("everything before the bridge, freed when it begins: {before} bytes");
        println!(
            "what the sessions of a listener share: {} bytes",
            size_of::<Front>()
        );
        // Two pointers' worth of streams, two directions, and the owner. No dialogue, no credential, no dial: what
        // those take is the other future's, which has ended.
        assert!(task <= 448, "{task}");
        assert!(
            before > 4 * task,
            "the stages before the bridge are not in its task: {before}"
        );
    }
}
