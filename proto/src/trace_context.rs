//! W3C trace context on gRPC metadata and in messages that carry a `traceparent` (design section 8).
//!
//! A span's parent must be set before the span is first entered: make it, [`adopt`], then `instrument` the work. A
//! span made by `#[instrument]` is already entered when its function's body runs, and the trace would be cut.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{KeyRef, MetadataKey, MetadataMap};
use tonic::{Request, Status};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const TRACEPARENT: &str = "traceparent";

/// An interceptor for generated clients: sends the context of the span that the call is made in.
///
/// # Errors
/// None; the signature is tonic's.
pub fn propagate(mut request: Request<()>) -> Result<Request<()>, Status> {
    inject(request.metadata_mut());
    Ok(request)
}

/// Writes the current span's context; nothing when there is none.
pub fn inject(metadata: &mut MetadataMap) {
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut Write(metadata));
}

/// The caller's context; an empty one when it sent none.
#[must_use]
pub fn extract(metadata: &MetadataMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Read(metadata))
}

/// Makes `parent` the parent of a span that was not entered yet.
pub fn adopt(span: &Span, parent: Context) {
    if parent.span().span_context().is_valid() {
        // It fails where no OpenTelemetry layer is installed: then there is no trace to continue.
        let _ = span.set_parent(parent);
    }
}

/// The current span's context as a `traceparent`; empty when there is none.
#[must_use]
pub fn traceparent() -> String {
    let mut found = Traceparent(String::new());
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut found);
    found.0
}

/// The context in a `traceparent` field of a message; an empty one when it has none.
#[must_use]
pub fn of_traceparent(text: &str) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Traceparent(text.to_owned()))
}

/// As [`of_traceparent`], for a link instead of a parent.
#[must_use]
pub fn link_of_traceparent(text: &str) -> Option<SpanContext> {
    let context = of_traceparent(text).span().span_context().clone();
    context.is_valid().then_some(context)
}

struct Write<'a>(&'a mut MetadataMap);

impl Injector for Write<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

struct Read<'a>(&'a MetadataMap);

impl Extractor for Read<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0
            .keys()
            .filter_map(|key| match key {
                KeyRef::Ascii(key) => Some(key.as_str()),
                KeyRef::Binary(_) => None,
            })
            .collect()
    }
}

struct Traceparent(String);

impl Injector for Traceparent {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.0 = value;
        }
    }
}

impl Extractor for Traceparent {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::prelude::*;

    use super::*;

    fn traced(work: impl FnOnce()) {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let layers = tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
        tracing::subscriber::with_default(layers, work);
    }

    #[test]
    fn a_trace_goes_on_at_the_other_side() {
        traced(|| {
            let mut metadata = MetadataMap::new();
            let here = tracing::info_span!("here");
            here.in_scope(|| inject(&mut metadata));
            let there = tracing::info_span!("there");
            adopt(&there, extract(&metadata));
            let trace = |span: &Span| span.context().span().span_context().trace_id();
            assert_eq!(trace(&here), trace(&there));
        });
    }

    #[test]
    fn a_message_carries_the_same_context_as_the_metadata() {
        traced(|| {
            tracing::info_span!("here").in_scope(|| {
                let mut metadata = MetadataMap::new();
                inject(&mut metadata);
                assert_eq!(
                    metadata.get(TRACEPARENT).unwrap().to_str().unwrap(),
                    traceparent()
                );
                let here = Span::current().context().span().span_context().trace_id();
                assert_eq!(link_of_traceparent(&traceparent()).unwrap().trace_id(), here);
            });
        });
    }

    #[test]
    fn without_a_trace_nothing_is_sent_and_nothing_is_adopted() {
        let mut metadata = MetadataMap::new();
        inject(&mut metadata);
        assert!(metadata.is_empty());
        assert_eq!(traceparent(), "");
        assert_eq!(link_of_traceparent("00-nonsense"), None);
        traced(|| {
            let span = tracing::info_span!("alone");
            adopt(&span, extract(&metadata));
            assert!(span.context().span().span_context().is_valid());
        });
    }
}
