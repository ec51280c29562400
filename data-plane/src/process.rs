//! The process around a node: arguments, limits, signals, logging.

use std::path::{Path, PathBuf};

use clap::Parser;
use mailswitch_config::{Findings, NodeConfig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Why the process ends with 1. `main` prints it with its causes.
pub(crate) type Failure = anyhow::Error;

/// A node of Mailswitch: terminates mail protocols, reads each login, and bridges the session to where the account
/// lives.
#[derive(Debug, Parser)]
#[command(name = "mailswitch-data-plane", version, arg_required_else_help = false)]
pub(crate) struct Arguments {
    /// The configuration.
    #[arg(
        value_name = "CONFIG.toml",
        env = "PROXY_CONFIG",
        required_unless_present = "check"
    )]
    config: Option<PathBuf>,

    /// Only check a configuration: nothing is bound. Ends with 0 or 1.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn file(&self) -> &Path {
        let file = self.check.as_ref().or(self.config.as_ref());
        file.map_or(Path::new(""), PathBuf::as_path)
    }

    pub(crate) fn only_check(&self) -> bool {
        self.check.is_some()
    }
}

/// Credentials pass through this memory: a crash must not write it to a disk.
pub(crate) fn keep_secrets_out_of_core_dumps() {
    let limited = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let undumpable = nix::sys::prctl::set_dumpable(false);
    if let Err(error) = limited.and(undumpable) {
        eprintln!("warning: core dumps cannot be turned off: {error}");
    }
}

/// Each session is two connections: takes as many descriptors as the system lets us have.
pub(crate) fn raise_descriptor_limit() -> u64 {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(_) => soft,
        },
        // The least that any system gives.
        Err(_) => 1024,
    }
}

pub(crate) fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

pub(crate) fn start_logging(config: &NodeConfig) {
    let from_file = || EnvFilter::new(&config.server.log_level);
    let filter = match std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty()) {
        Some(text) => EnvFilter::try_new(&text).unwrap_or_else(|_| from_file()),
        None => from_file(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
}

pub(crate) fn say_warnings(warnings: &Findings) {
    if !warnings.is_empty() {
        eprintln!("{warnings}");
    }
}

pub(crate) fn log_warnings(warnings: &Findings) {
    for warning in warnings.iter() {
        tracing::warn!("{warning}");
    }
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
