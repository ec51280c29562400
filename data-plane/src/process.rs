//! The process around a node: arguments, limits, signals, logging.

mod notify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};
use mailswitch_config::{Findings, NodeConfig, Source};
use mailswitch_data_plane::hand_over::{Passed, TakeError, Taking};
use mailswitch_data_plane::node::Before;
use mailswitch_data_plane::node::reload::Reloader;
use mailswitch_telemetry::{Logs, Service, StartError, Telemetry, name};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use opentelemetry::KeyValue;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use self::notify::Supervisor;

/// Why the process ends with 1. `main` prints it with its causes.
pub(crate) type Failure = anyhow::Error;

/// A node of Mailswitch: terminates mail protocols, reads each login, and bridges the session to where the account
/// lives.
#[derive(Debug, Parser)]
#[command(name = "mailswitch-data-plane", version, arg_required_else_help = false)]
pub(crate) struct Arguments {
    /// The configuration; without it the one that PROXY_CONFIG names.
    #[arg(value_name = "CONFIG.toml")]
    config: Option<PathBuf>,

    /// Take the sockets over from the node on this machine that has them: as soon as this one can serve, the other
    /// accepts no more, lets its connections end (`shutdown_grace`), and ends. No connection is refused in between.
    /// A process of the same node of a fleet keeps its sessions until they end by themselves.
    #[arg(long, conflicts_with = "check")]
    take_over: bool,

    /// As --take-over; and if no node is there, start as without it: one unit for the boot and for an upgrade.
    #[arg(long, conflicts_with_all = ["check", "take_over"])]
    take_over_if_any: bool,

    /// Only check a configuration, and what it names: each destination is asked up to the login. Nothing is bound, no
    /// credential is sent. Ends with 0 or 1.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,

    /// With --check: only the file; nothing is connected to.
    #[arg(long, requires = "check")]
    offline: bool,
}

/// What the program was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Serve,
    /// The file, and what it names.
    Check,
    /// The file alone.
    CheckOffline,
}

impl Arguments {
    /// Ends the process, with the usage, when no file is named. An empty `PROXY_CONFIG` names none.
    pub(crate) fn read() -> Self {
        let mut read = Self::parse();
        let named = std::env::var_os("PROXY_CONFIG").filter(|path| !path.is_empty());
        read.config = read.config.or(named.map(PathBuf::from));
        if read.config.is_none() && read.check.is_none() {
            let missing = "name a configuration: CONFIG.toml, or PROXY_CONFIG in the environment";
            Self::command()
                .error(ErrorKind::MissingRequiredArgument, missing)
                .exit();
        }
        read
    }

    pub(crate) fn file(&self) -> &Path {
        let file = self.check.as_ref().or(self.config.as_ref());
        file.map_or(Path::new(""), PathBuf::as_path)
    }

    /// The sockets of the configuration that exist already: a supervisor passed them, or the node that runs is asked.
    ///
    /// # Errors
    /// What was passed is not of this configuration; or nobody offers what is asked for.
    pub(crate) fn inherit(&self, config: &NodeConfig, passed: Passed) -> Result<Before, Failure> {
        let listeners = config
            .listeners
            .iter()
            .flat_map(|listener| listener.bind.iter().copied());
        let others = config.metrics.iter().map(|metrics| metrics.bind);
        let admin = config.admin.iter().map(|admin| admin.bind);
        let addresses: Vec<_> = listeners.chain(others).chain(admin).collect();
        let sockets = passed.named(&addresses)?;
        let alone = |sockets| {
            Ok(Before {
                sockets,
                taking: None,
            })
        };
        if !self.take_over && !self.take_over_if_any {
            return alone(sockets);
        }
        let (taking, asked) = match Taking::ask(&addresses, |address| !sockets.has(address)) {
            Err(TakeError::Nobody) if self.take_over_if_any => return alone(sockets),
            asked => asked?,
        };
        sockets.add(asked);
        Ok(Before {
            sockets,
            taking: Some(taking),
        })
    }

    pub(crate) fn task(&self) -> Task {
        match (&self.check, self.offline) {
            (None, _) => Task::Serve,
            (Some(_), false) => Task::Check,
            (Some(_), true) => Task::CheckOffline,
        }
    }
}

/// Probes what the configuration names, and prints what was found.
///
/// # Errors
/// Something does not work as it is configured.
pub(crate) fn probe(config: &NodeConfig) -> Result<(), Failure> {
    let subject = mailswitch_check::Subject::of_node(config);
    let report = runtime(1)?.block_on(mailswitch_check::run(&subject));
    print!("{}", report.text());
    match report.count(mailswitch_check::Status::Failed) {
        0 => Ok(()),
        1 => anyhow::bail!("1 probe failed"),
        many => anyhow::bail!("{many} probes failed"),
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

/// Logs, traces and metrics. A node of a fleet says which it is.
pub(crate) fn start_telemetry(config: &NodeConfig) -> Result<Telemetry, StartError> {
    let (instance, attributes) = match &config.source {
        Source::Alone(_) => (None, Vec::new()),
        Source::ControlPlane(link) => (
            Some(link.node.as_str().to_owned()),
            vec![
                KeyValue::new(name::NODE, link.node.as_str().to_owned()),
                KeyValue::new(name::SITE, link.site.as_str().to_owned()),
            ],
        ),
    };
    let service = Service {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        instance,
        attributes,
    };
    let logs = Logs::Server {
        level: config.server.log_level.clone(),
    };
    mailswitch_telemetry::start(&service, &config.telemetry, &logs)
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

/// SIGHUP. Listened to before anything is served, as those that stop: one that came during the start would end the process.
pub(crate) struct Hangups(Signal);

impl Hangups {
    /// From now on none ends the process.
    pub(crate) fn listen() -> std::io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Reads the configuration anew at each. What came of it is in the log.
    pub(crate) async fn reload(mut self, reloader: Arc<Reloader>) {
        while self.0.recv().await.is_some() {
            let _ = reloader.reload().await;
        }
    }
}

/// SIGTERM and SIGINT. Listened to before anything is served: one that came between the first connection and the end of the
/// start would end the process at once, without a word to its clients.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From now on none is lost.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
