//! Where log lines go, how they look, and which are written (configuration section 1, `RUST_LOG`).

use std::io::IsTerminal as _;

use mailswitch_config::table::telemetry::LogFormat;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::logfmt::{Logfmt, LogfmtFields};
use crate::name;

/// Who reads the log lines.
#[derive(Debug, Clone)]
pub enum Logs {
    /// A server's, on stdout. `RUST_LOG` replaces the level when it is set, not empty, and can be read.
    Server {
        /// `server.log_level`.
        level: String,
    },
    /// A command's, on stderr, because stdout is data: only those that `RUST_LOG` asks for.
    Command,
}

/// Changes which lines are written, while the program runs.
#[derive(Clone)]
pub struct Levels(reload::Handle<EnvFilter, Registry>);

/// A level that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "\"{level}\" is no log level: {why}; write trace, debug, info, warn, error, or a filter such as \"info,mailswitch=debug\""
)]
pub struct InvalidLevel {
    level: String,
    why: String,
}

impl Levels {
    /// Sets `server.log_level` anew. `RUST_LOG` still wins.
    ///
    /// # Errors
    /// When the level cannot be read: the former one stays.
    pub fn set(&self, level: &str) -> Result<(), InvalidLevel> {
        if of_environment().is_some_and(|level| parse(&level).is_ok()) {
            return Ok(());
        }
        let filter = parse(level)?;
        // It fails only when the subscriber is gone, and then nobody logs.
        let _ = self.0.reload(filter);
        Ok(())
    }
}

impl std::fmt::Debug for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Levels")
    }
}

pub(crate) fn install(
    logs: &Logs,
    format: LogFormat,
    tracers: Option<&SdkTracerProvider>,
) -> Result<Levels, TryInitError> {
    let (filter, complaints) = initial_filter(logs, of_environment());
    let (filter, handle) = reload::Layer::new(filter);
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> =
        vec![lines(logs, format).with_filter(filter).boxed()];
    if let Some(tracers) = tracers {
        // Only our own spans: those of the gRPC library would trace the sending of traces.
        let own = Targets::new().with_target("mailswitch", LevelFilter::INFO);
        let spans = tracing_opentelemetry::layer()
            .with_tracer(tracers.tracer(name::SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        layers.push(spans.with_filter(own).boxed());
    }
    tracing_subscriber::registry().with(layers).try_init()?;
    for complaint in complaints {
        tracing::warn!("{complaint}");
    }
    Ok(Levels(handle))
}

fn lines(logs: &Logs, format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    match (logs, format) {
        (Logs::Command, _) => fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .boxed(),
        (Logs::Server { .. }, LogFormat::Json) => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stdout)
            .boxed(),
        (Logs::Server { .. }, LogFormat::Logfmt) => fmt::layer()
            .with_ansi(false)
            .fmt_fields(LogfmtFields)
            .event_format(Logfmt)
            .with_writer(std::io::stdout)
            .boxed(),
    }
}

/// What is used, and what could not be read on the way to it.
fn initial_filter(logs: &Logs, rust_log: Option<String>) -> (EnvFilter, Vec<InvalidLevel>) {
    let configured = match logs {
        Logs::Server { level } => level.as_str(),
        Logs::Command => "off",
    };
    let mut complaints = Vec::new();
    let wanted = [rust_log, Some(configured.to_owned())];
    for level in wanted.into_iter().flatten() {
        match parse(&level) {
            Ok(filter) => return (filter, complaints),
            Err(invalid) => complaints.push(invalid),
        }
    }
    (EnvFilter::new("info"), complaints)
}

fn of_environment() -> Option<String> {
    std::env::var("RUST_LOG")
        .ok()
        .filter(|level| !level.trim().is_empty())
}

/// Libraries that tell their own life: who wants that names them. The SDK does from info on; rustls at debug, without
/// the session that it speaks of, where we say version and cipher ourselves; h2 at debug, with every frame and with what a
/// peer wrote into its GOAWAY.
const QUIET: [&str; 3] = ["opentelemetry", "rustls", "h2"];

fn parse(level: &str) -> Result<EnvFilter, InvalidLevel> {
    let filter = EnvFilter::try_new(level).map_err(|error| InvalidLevel {
        level: level.to_owned(),
        why: error.to_string(),
    })?;
    let talks = filter
        .max_level_hint()
        .is_some_and(|hint| hint >= LevelFilter::INFO);
    let quiet = QUIET.iter().filter(|library| talks && !level.contains(**library));
    Ok(quiet.fold(filter, |filter, library| {
        match format!("{library}=warn").parse() {
            Ok(directive) => filter.add_directive(directive),
            Err(_) => filter,
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(logs: &Logs, rust_log: Option<&str>) -> (String, usize) {
        let (filter, complaints) = initial_filter(logs, rust_log.map(str::to_owned));
        (filter.to_string(), complaints.len())
    }

    #[test]
    fn rust_log_replaces_the_level_and_one_that_cannot_be_read_is_reported_and_ignored() {
        let server = Logs::Server {
            level: "warn".to_owned(),
        };
        assert_eq!(used(&server, None), ("warn".to_owned(), 0));
        assert_eq!(used(&server, Some("error")), ("error".to_owned(), 0));
        assert_eq!(used(&server, Some("a=b=c")), ("warn".to_owned(), 1));
        let broken = Logs::Server { level: "=".repeat(3) };
        assert_eq!(used(&broken, Some("a=b=c")), ("info".to_owned(), 2));
    }

    #[test]
    fn a_command_says_nothing_unless_asked() {
        assert_eq!(used(&Logs::Command, None), ("off".to_owned(), 0));
        assert_eq!(used(&Logs::Command, Some("warn")), ("warn".to_owned(), 0));
    }

    #[test]
    fn the_sdk_is_quiet_at_info_unless_it_is_named() {
        let server = Logs::Server {
            level: "info".to_owned(),
        };
        assert!(used(&server, None).0.contains("opentelemetry=warn"));
        let named = used(&server, Some("info,opentelemetry=debug")).0;
        assert!(
            named.contains("opentelemetry=debug") && !named.contains("opentelemetry=warn"),
            "{named}"
        );
        assert!(
            named.contains("rustls=warn") && named.contains("h2=warn"),
            "{named}"
        );
    }
}
