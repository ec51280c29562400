//! Set-up of logs, traces and metrics, for all three programs (design section 8).
//!
//! - [`start`] once in `main`, inside the runtime: logs to stdout or stderr, traces and metrics over OTLP when an
//!   endpoint is set, and the same instruments as a Prometheus page. [`Telemetry::shutdown`] sends what is left.
//! - `name`: every span, metric and attribute that the programs use; `docs/telemetry.md` lists the same.
//! - `redact`: how a person's login appears in them.
//! - `pages`: `/metrics`, `/readyz` and `/healthz`.
//!
//! W3C context over gRPC is in `mailswitch_proto::trace_context`. A span's parent is set before the span is first
//! entered: not inside `#[instrument]`.

pub mod instrument;
mod logfmt;
mod logs;
pub mod name;
mod otlp;
pub mod pages;
pub mod redact;

use std::time::Duration;

use mailswitch_config::table::telemetry::Telemetry as Settings;
use opentelemetry::metrics::Meter;
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_semantic_conventions::resource::{SERVICE_INSTANCE_ID, SERVICE_VERSION};

pub use self::instrument::{ControlPlaneInstruments, LeaseNow, NodeInstruments, observe_lease};
pub use self::logs::{InvalidLevel, Levels, Logs};
pub use self::pages::{Health, Page, Pages};
pub use self::redact::Redactor;

/// Which program speaks.
#[derive(Debug, Clone)]
pub struct Service {
    /// `mailswitch-data-plane`, `mailswitch-control-plane`, `mailswitchctl`.
    pub name: &'static str,
    /// Of the program.
    pub version: &'static str,
    /// The node's or replica's name; none: a random one.
    pub instance: Option<String>,
    /// More that is true of the whole process, such as `name::SITE`.
    pub attributes: Vec<KeyValue>,
}

/// Telemetry that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The exporter of spans or metrics.
    #[error("OTLP cannot be sent to {endpoint}: {source}")]
    Exporter {
        /// `telemetry.otlp_endpoint`.
        endpoint: String,
        /// Why.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// The page of metrics.
    #[error("the page of metrics cannot be set up: {0}")]
    Page(opentelemetry_sdk::error::OTelSdkError),
    /// A second call.
    #[error("telemetry was started twice in one process")]
    Twice,
}

/// Running telemetry. Dropping it sends what is left, for at most a moment; `shutdown` does so without blocking the
/// runtime.
#[must_use = "dropped, it sends nothing more"]
#[derive(Debug)]
pub struct Telemetry {
    tracers: Option<SdkTracerProvider>,
    meters: Option<SdkMeterProvider>,
    page: Page,
    levels: Levels,
}

/// How long the last batch may take. An operator waits for `mailswitchctl` meanwhile.
const LAST_BATCH: Duration = Duration::from_secs(3);

/// Starts logs, traces and metrics of this process. Call it once, inside a tokio runtime, before anything makes an
/// instrument.
///
/// # Errors
/// When it was called before, or the exporter cannot be made. An endpoint that does not answer is no error.
pub fn start(service: &Service, settings: &Settings, logs: &Logs) -> Result<Telemetry, StartError> {
    let resource = resource(service);
    let (page, reader) = pages::page_and_reader().map_err(StartError::Page)?;
    let exporter = |source| StartError::Exporter {
        endpoint: settings.otlp_endpoint.clone().unwrap_or_default(),
        source,
    };
    let mut meters = SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_reader(reader);
    let mut tracers = None;
    if let Some(endpoint) = &settings.otlp_endpoint {
        meters = meters.with_reader(otlp::metrics(endpoint).map_err(exporter)?);
        tracers = Some(otlp::tracers(endpoint, settings.sample_ratio, resource).map_err(exporter)?);
    }
    let meters = meters.build();
    let levels = logs::install(logs, settings.log_format, tracers.as_ref()).map_err(|_| StartError::Twice)?;
    global::set_text_map_propagator(TraceContextPropagator::new());
    global::set_meter_provider(meters.clone());
    if let Some(tracers) = &tracers {
        global::set_tracer_provider(tracers.clone());
    }
    Ok(Telemetry {
        tracers,
        meters: Some(meters),
        page,
        levels,
    })
}

/// Where every instrument of our programs comes from. Before `start` it is one that records nothing.
#[must_use]
pub fn meter() -> Meter {
    global::meter(name::SCOPE)
}

impl Telemetry {
    /// The page of metrics, for `Pages`.
    #[must_use]
    pub fn page(&self) -> Page {
        self.page.clone()
    }

    /// To change the log level while the program runs.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.levels.clone()
    }

    /// Sends what is left, and ends. Waits a few seconds at most.
    pub async fn shutdown(mut self) {
        let (tracers, meters) = (self.tracers.take(), self.meters.take());
        // The exporters' threads need this runtime to send: it must not be blocked by the waiting.
        let _ = tokio::task::spawn_blocking(move || end(tracers, meters)).await;
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        end(self.tracers.take(), self.meters.take());
    }
}

/// What cannot be sent is lost: there is nobody left to tell.
fn end(tracers: Option<SdkTracerProvider>, meters: Option<SdkMeterProvider>) {
    if let Some(tracers) = tracers {
        let _ = tracers.shutdown_with_timeout(LAST_BATCH);
    }
    if let Some(meters) = meters {
        let _ = meters.shutdown_with_timeout(LAST_BATCH);
    }
}

fn resource(service: &Service) -> Resource {
    let instance = service
        .instance
        .clone()
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    Resource::builder()
        .with_service_name(service.name)
        .with_attribute(KeyValue::new(SERVICE_VERSION, service.version))
        .with_attribute(KeyValue::new(SERVICE_INSTANCE_ID, instance))
        .with_attributes(service.attributes.iter().cloned())
        .build()
}
