//! The life of a command: arguments, telemetry, the verb under its span, what it has to say, its exit code.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use mailswitch_config::table::telemetry::Telemetry as Settings;
use mailswitch_telemetry::{Logs, Service, Telemetry, name};
use mailswitchctl::arguments::Arguments;
use mailswitchctl::exit::{Exit, Failure};
use mailswitchctl::verb;
use tokio::runtime::{Builder, Runtime};
use tracing::{Instrument as _, Span, field};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let ended = run(arguments);
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprint!("{}", failure.text());
            failure.exit.into()
        }
    }
}

/// Two runtimes: a task that the verb leaves behind keeps the command's span open until it is gone, which is sure
/// only when its runtime is; and the span must have ended before telemetry, on the other one, sends the last batch.
fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let sending = runtime(1)?;
    let telemetry = {
        let _inside = sending.enter();
        start(arguments.otlp_endpoint.clone())?
    };
    let working = runtime(2)?;
    let span = tracing::info_span!(
        name::span::COMMAND,
        { name::VERB } = arguments.verb.name(),
        { name::ERROR } = field::Empty,
        otel.status_code = field::Empty,
    );
    let ended = working.block_on(verb::run(arguments).instrument(span.clone()));
    working.shutdown_timeout(LEFT_BEHIND);
    record(&span, &ended);
    drop(span);
    sending.block_on(telemetry.shutdown());
    ended
}

/// How long a blocking call that a verb has left behind (reading stdin) may keep the program.
const LEFT_BEHIND: Duration = Duration::from_millis(200);

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
}

fn start(otlp_endpoint: Option<String>) -> Result<Telemetry, Failure> {
    let service = Service {
        name: "mailswitchctl",
        version: env!("CARGO_PKG_VERSION"),
        instance: None,
        attributes: Vec::new(),
    };
    let settings = Settings {
        otlp_endpoint,
        ..Settings::default()
    };
    mailswitch_telemetry::start(&service, &settings, &Logs::Command)
        .map_err(|error| Failure::usage(error.to_string()).remedy("see --otlp-endpoint"))
}

fn record(span: &Span, ended: &Result<Exit, Failure>) {
    let exit = ended.as_ref().map_or_else(|failure| failure.exit, |exit| *exit);
    if exit != Exit::Done {
        span.record(name::ERROR, format!("exit {}", exit as u8));
    }
    if ended.is_err() {
        span.record("otel.status_code", "ERROR");
    }
}

/// `--help` and `--version` are answers; all else that clap has to say is exit 1, not its own 2, which is `diff`'s.
fn usage(error: &clap::Error) -> ExitCode {
    // A reader that has gone away is no error.
    let _ = error.print();
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Done.into()
    }
}
