//! Traces and metrics over OTLP (gRPC). A collector that is slow or away costs memory for one bounded queue, never a
//! session: what does not fit is dropped and counted by the SDK.

use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

/// One call to the collector.
const CALL: Duration = Duration::from_secs(3);

/// Short enough to see a cutover in a dashboard while it runs.
const METRICS_EVERY: Duration = Duration::from_secs(10);

/// Spans in batches. The share that is kept is decided where a trace starts; everybody else follows.
pub(crate) fn tracers(
    endpoint: &str,
    sample_ratio: f64,
    resource: Resource,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(CALL)
        .build()?;
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            sample_ratio,
        ))))
        .with_batch_exporter(exporter)
        .build())
}

/// Metrics, every few seconds.
pub(crate) fn metrics(endpoint: &str) -> Result<PeriodicReader<MetricExporter>, ExporterBuildError> {
    let exporter = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(CALL)
        .build()?;
    Ok(PeriodicReader::builder(exporter)
        .with_interval(METRICS_EVERY)
        .build())
}
