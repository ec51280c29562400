//! `mailswitch-control-plane CONFIG.toml`: the life of the process on one screen.
//!
//! Exit codes are those of the data plane: 0 after an orderly stop, 1 when it cannot start or has failed, 2 for a usage
//! error. Everything that is wrong with the file is said in one run, and nothing is bound before it is right.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use mailswitch_config::{Checked, ControlPlaneConfig};
use mailswitch_control_plane::database::Waiting;
use mailswitch_control_plane::server::{self, Progress, Stop};

/// Holds destinations, mappings and cutovers in PostgreSQL, and streams every change to the nodes.
#[derive(Debug, clap::Parser)]
#[command(name = "mailswitch-control-plane", version)]
struct Arguments {
    /// The control plane's file
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    // A usage error ends here, with clap's exit code 2.
    let arguments = Arguments::parse();
    let Checked { config, warnings } = match ControlPlaneConfig::load(&arguments.config) {
        Ok(checked) => checked,
        Err(findings) => {
            eprintln!("{findings}");
            return ExitCode::FAILURE;
        }
    };
    if !warnings.is_empty() {
        eprintln!("{warnings}");
    }
    match live(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mailswitch-control-plane: {}", said(&error));
            ExitCode::FAILURE
        }
    }
}

fn live(config: ControlPlaneConfig) -> anyhow::Result<()> {
    server::install_crypto();
    let runtime = runtime(config.server.threads)?;
    runtime.block_on(async {
        let credentials = server::credentials(&config)?;
        let telemetry = server::telemetry(&config, &credentials)?;
        let waiting = Waiting::default();
        let told_to_stop = waiting.stop.clone();
        let stop = Stop::on_signals()?.cancels(told_to_stop.clone(), credentials.clone());
        let progress = Progress::new(waiting.clone());
        server::pages(&config, &telemetry, &progress).await?;
        if let Some(running) = server::start(&config, credentials, waiting).await? {
            progress.runs(&running.plane);
            tracing::info!(version = env!("CARGO_PKG_VERSION"), bind = %running.address, replica = running.plane.replica, "ready");
            told_to_stop.cancelled().await;
            tracing::info!("stopping");
            running.stop(config.server.shutdown_grace).await;
        }
        telemetry.shutdown().await;
        stop.abort();
        Ok(())
    })
}

/// The error and its causes; not those that it has told itself.
fn said(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        match said.is_empty() {
            true => cause,
            false if said.contains(&cause) => said,
            false => format!("{said}: {cause}"),
        }
    })
}

fn runtime(threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let bare = anyhow::anyhow!("disk full")
            .context("the file: disk full")
            .context("no start");
        assert_eq!(said(&bare), "no start: the file: disk full");
    }
}
