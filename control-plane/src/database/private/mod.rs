//! A private PostgreSQL: made on the first start, started with us, stopped with us, started again when it dies.
//!
//! It listens on a unix socket in a directory of its own, and asks for a generated password. When we run as root it
//! runs as an unprivileged user. A lock on the state directory keeps a second control plane away from it; what an
//! earlier crash of ours left running is stopped and started anew.

mod cluster;
mod leftover;
mod user;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::cluster::Cluster;
use super::binaries::NotInstalled;

/// How long crash recovery may take before we say that it does not come up. The log says what it does.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long a fast shutdown may take before an immediate one: it writes a checkpoint.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Why the private PostgreSQL does not run.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// There is nothing to run.
    #[error(transparent)]
    NotInstalled(#[from] NotInstalled),
    /// The data was written by another major version, which is gone.
    #[error(
        "{} was written by PostgreSQL {has}, which is not installed any more (there is {installed}): install \
         postgresql-{has} beside it and start again; to move on to {installed}, then run `mailswitchctl backup`, stop the \
         control plane, move the directory away, start with {installed} and run `mailswitchctl restore`",
        .data.display()
    )]
    OtherMajor {
        /// The data directory.
        data: PathBuf,
        /// What it was written by.
        has: u32,
        /// What is there.
        installed: u32,
    },
    /// A second control plane.
    #[error("{} is used by another control plane: give each its own [control_plane] state_dir", .0.display())]
    Locked(PathBuf),
    /// The unprivileged user cannot get to the data.
    #[error(
        "PostgreSQL runs as user {user}, who cannot pass {}: run `chmod o+x` on it, or take another \
         [control_plane] state_dir",
        .dir.display()
    )]
    NotPassable {
        /// Who.
        user: String,
        /// Which directory.
        dir: PathBuf,
    },
    /// Nobody to run as.
    #[error(
        "started as root, and neither a user postgres nor nobody exists to run PostgreSQL as: create one"
    )]
    NoUser,
    /// initdb.
    #[error("initdb failed: {0}")]
    InitDb(String),
    /// It does not come up.
    #[error("PostgreSQL did not come up; the end of {}:\n{tail}", .log.display())]
    Start {
        /// Its log.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// The file system.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What.
        source: std::io::Error,
    },
}

impl PrivateError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// A running private PostgreSQL.
pub(super) struct Private {
    options: PgConnectOptions,
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl Private {
    /// Makes it if it is not there, and starts it.
    pub(super) async fn start(state_dir: &Path) -> Result<Self, PrivateError> {
        let cluster = Cluster::open(state_dir).await?;
        leftover::stop(cluster.data()).await;
        let child = up(&cluster).await?;
        let options = cluster.options();
        let stop = CancellationToken::new();
        let supervisor = tokio::spawn(supervise(cluster, child, stop.clone()));
        Ok(Self {
            options,
            stop,
            supervisor,
        })
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.supervisor.await {
            tracing::warn!(%error, "the supervisor of the private PostgreSQL ended badly");
        }
    }
}

/// Keeps it running until `stop`.
async fn supervise(cluster: Cluster, mut child: Child, stop: CancellationToken) {
    let mut pause = Duration::from_millis(20);
    loop {
        tokio::select! {
            () = stop.cancelled() => return shut_down(&mut child).await,
            ended = child.wait() => {
                tracing::warn!(?ended, log = %cluster.log().display(), "the private PostgreSQL died; starting it again");
            }
        }
        child = loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            match up(&cluster).await {
                Ok(child) => {
                    tracing::info!("the private PostgreSQL is back");
                    pause = Duration::from_millis(20);
                    break child;
                }
                Err(error) => {
                    tracing::error!(%error, "the private PostgreSQL could not be started again; trying on");
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        };
    }
}

/// Starts the server and waits until it answers.
async fn up(cluster: &Cluster) -> Result<Child, PrivateError> {
    let started = tokio::time::Instant::now();
    let mut child = spawn(cluster)?;
    loop {
        // A server whose predecessor was killed can find its shared memory still in use for a moment, and gives up.
        if let Ok(Some(_)) = child.try_wait() {
            if started.elapsed() > Duration::from_secs(10) {
                return Err(cluster.not_up());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            child = spawn(cluster)?;
        }
        if let Ok(conn) = PgConnection::connect_with(&cluster.options()).await {
            let _ = conn.close().await;
            return Ok(child);
        }
        if started.elapsed() > START_PATIENCE {
            return Err(cluster.not_up());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn spawn(cluster: &Cluster) -> Result<Child, PrivateError> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(cluster.log())
        .map_err(PrivateError::io(cluster.log()))?;
    let mut command: Command = cluster.command(&cluster.binaries().postgres());
    command
        .arg("-D")
        .arg(cluster.data())
        .arg("-k")
        .arg(cluster.socket_dir())
        .args(["-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"])
        .args(["-c", "max_connections=60", "-c", "log_min_messages=warning"])
        .args(["-c", "cluster_name=mailswitch", "-c", "log_line_prefix=%m [%p] "])
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone().map_err(PrivateError::io(cluster.log()))?)
        .stderr(log)
        // A Ctrl-C in the terminal is for us; we stop it when we are done with it.
        .process_group(0)
        .kill_on_drop(true);
    command
        .spawn()
        .map_err(PrivateError::io(&cluster.binaries().postgres()))
}

/// SIGINT is its fast shutdown: open transactions are rolled back, and what is committed is on disk.
async fn shut_down(child: &mut Child) {
    signal(child, Signal::SIGINT);
    if tokio::time::timeout(STOP_PATIENCE, child.wait()).await.is_err() {
        tracing::warn!("the private PostgreSQL does not end; stopping it without a checkpoint");
        signal(child, Signal::SIGQUIT);
        let _ = tokio::time::timeout(Duration::from_secs(5), child.wait()).await;
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
