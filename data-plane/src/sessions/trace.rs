//! How a cutover's trace and the traces of the sessions that it parks or closes find each other (design section 8):
//! by links, both ways. For observability only: nothing here decides anything.

use std::sync::Arc;
use std::time::SystemTime;

use mailswitch_proto::id::HoldId;
use mailswitch_telemetry::name;
use opentelemetry::trace::{Link, Span as _, SpanContext, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use parking_lot::Mutex;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A hold of a shared domain may concern every session there is; a span holds so many links.
const MAX_LINKS: usize = 128;

/// The place of something in a trace; none where nothing is traced.
pub type Trace = Option<Arc<SpanContext>>;

/// Of what is being done now.
#[must_use]
pub fn current() -> Trace {
    let context = tracing::Span::current().context();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| Arc::new(span))
}

/// A hold, from when it was applied until no session is left.
#[derive(Debug)]
pub(crate) struct HoldTrace {
    cause: Trace,
    began: SystemTime,
    sessions: Mutex<Vec<Arc<SpanContext>>>,
}

impl HoldTrace {
    /// Of a hold that is being applied now.
    pub(crate) fn new() -> Self {
        Self {
            cause: current(),
            began: SystemTime::now(),
            sessions: Mutex::default(),
        }
    }

    /// What asked for the hold.
    pub(crate) fn cause(&self) -> &Trace {
        &self.cause
    }

    /// The hold ends this session.
    pub(crate) fn concerns(&self, session: &Trace) {
        if let (Some(session), Some(_)) = (session, &self.cause) {
            let mut sessions = self.sessions.lock();
            if sessions.len() < MAX_LINKS {
                sessions.push(Arc::clone(session));
            }
        }
    }

    /// No session is left: a span in the trace of what asked for the hold, linked to each session that it ended.
    pub(crate) fn quiesced(&self, hold: HoldId) {
        let Some(cause) = &self.cause else {
            return;
        };
        let tracer = opentelemetry::global::tracer(name::SCOPE);
        let links = std::mem::take(&mut *self.sessions.lock());
        tracer
            .span_builder(name::span::QUIESCE)
            .with_start_time(self.began)
            .with_links(
                links
                    .iter()
                    .map(|session| Link::with_context((**session).clone()))
                    .collect(),
            )
            .with_attributes([KeyValue::new(name::HOLD, hold.to_string())])
            .start_with_context(
                &tracer,
                &Context::new().with_remote_span_context((**cause).clone()),
            )
            .end();
    }
}

/// The current span is linked to another trace.
pub(crate) fn link_current(to: &Trace) {
    if let Some(to) = to {
        tracing::Span::current().add_link((**to).clone());
    }
}
