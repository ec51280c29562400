//! `mailswitch-data-plane CONFIG.toml`: a node, alone or in a fleet. The life of the process.

mod process;

use std::process::ExitCode;
use std::sync::Arc;

use mailswitch_config::NodeConfig;
use mailswitch_config::node::Environment;
use mailswitch_data_plane::hand_over::{Before, Passed};
use mailswitch_data_plane::node::reload::Origin;

use crate::process::{Arguments, Failure, Task};

fn main() -> ExitCode {
    let arguments = Arguments::read();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", said(&failure));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let passed = Passed::from_environment()?;
    let checked = NodeConfig::load(arguments.file(), &Environment::of_process())?;
    let task = arguments.task();
    if task != Task::Serve {
        println!("{}: no errors", arguments.file().display());
        process::say_warnings(&checked.warnings);
        return match task {
            Task::Check => process::probe(&checked.config),
            Task::Serve | Task::CheckOffline => Ok(()),
        };
    }
    let config = checked.config;
    process::keep_secrets_out_of_core_dumps();
    let descriptors = process::raise_descriptor_limit();
    let runtime = process::runtime(config.server.threads)?;
    let ended = runtime.block_on(async {
        let telemetry = process::start_telemetry(&config)?;
        process::log_warnings(&checked.warnings);
        let mut stop = process::StopSignals::listen()?;
        let hangups = process::Hangups::listen()?;
        let before = arguments.inherit(&config, passed)?;
        let page = Some(telemetry.page());
        let mut node = mailswitch_data_plane::node::start_behind(config, descriptors, page, before).await?;
        node.reloader().reads(Origin {
            path: arguments.file().to_owned(),
            environment: Environment::of_process(),
            levels: Some(telemetry.levels()),
        });
        tokio::spawn(hangups.reload(Arc::clone(node.reloader())));
        node.take_over().await?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
        let supervisor = process::Supervisor::of_environment();
        supervisor.is_ready();
        let successor = tokio::select! {
            () = stop.next() => None,
            successor = node.offer().taken() => Some(successor),
        };
        if let Some(Before::Retires) = successor.as_ref().map(|successor| successor.we) {
            tokio::select! {
                () = stop.next() => {}
                () = node.retire() => {}
            }
        }
        supervisor.is_stopping();
        let end = async {
            match successor {
                Some(successor) if successor.we == Before::Ends => node.end_behind(successor).await,
                _ => node.stop().await,
            }
        };
        tokio::select! {
            () = end => {}
            () = stop.next() => {
                // At once (behaviour §11): not even for the last traces, whose collector may be what hangs.
                std::process::exit(0);
            }
        }
        telemetry.shutdown().await;
        Ok(())
    });
    // A name that is being looked up, or a file that is being read, does not hold the end up.
    runtime.shutdown_background();
    ended
}

/// The failure and its causes; not those that it has told itself.
fn said(failure: &Failure) -> String {
    failure.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        match said.is_empty() {
            true => cause,
            false if said.contains(&cause) => said,
            false => format!("{said}: {cause}"),
        }
    })
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
