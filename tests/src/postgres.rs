//! A real PostgreSQL of the test's own, as an operator would run it: on a host of its own, reached over TCP.

use std::{
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, chown},
};

use crate::{dovecot::listens, place::Place, process::Process};

#[derive(Debug)]
pub struct Postgres {
    process: Process,
    pub address: SocketAddr,
    directory: PathBuf,
    binaries: PathBuf,
}

impl Postgres {
    /// Makes a cluster with the database `mailswitch` of the superuser `mailswitch`, whom it trusts from anywhere.
    pub fn start(place: &Place) -> Result<Self> {
        let directory = place.folder("postgres")?;
        let owner = User::from_name("postgres")?.context("no user postgres")?;
        chown(&directory, Some(owner.uid), Some(owner.gid))?;
        let binaries = newest_binaries()?;
        let data = directory.join("data");
        let made = Command::new(binaries.join("initdb"))
            .args([
                "--username",
                "mailswitch",
                "--auth",
                "trust",
                "--no-sync",
                "--encoding",
                "UTF8",
                "-D",
            ])
            .arg(&data)
            .uid(owner.uid.as_raw())
            .gid(owner.gid.as_raw())
            .output()?;
        ensure!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let rules = "local all all trust\nhost all all 0.0.0.0/0 trust\n";
        std::fs::write(data.join("pg_hba.conf"), rules)?;
        let address = place.port(place.server())?;
        let process = Self::spawn(&binaries, &directory, address)?;
        let postgres = Self {
            process,
            address,
            directory,
            binaries,
        };
        postgres.wait_answers()?;
        postgres.sql("postgres", "CREATE DATABASE mailswitch")?;
        Ok(postgres)
    }

    fn spawn(binaries: &Path, directory: &Path, address: SocketAddr) -> Result<Process> {
        let owner = User::from_name("postgres")?.context("no user postgres")?;
        let mut command = Command::new(binaries.join("postgres"));
        command
            .arg("-D")
            .arg(directory.join("data"))
            // A killed server loses nothing by this; a machine without current would.
            .args(["-c", "fsync=off", "-c", "log_timezone=UTC", "-c"])
            .arg(format!("listen_addresses={}", address.ip()))
            .arg("-c")
            .arg(format!("unix_socket_directories={}", directory.display()))
            .args(["-p", &address.port().to_string()])
            .uid(owner.uid.as_raw())
            .gid(owner.gid.as_raw());
        Process::start("PostgreSQL", command, &directory.join("log"))
    }

    fn wait_answers(&self) -> Result<()> {
        crate::when::wait_until("PostgreSQL answers", Duration::from_secs(30), || {
            listens(self.address) && self.sql("postgres", "SELECT 1").is_ok()
        })
    }

    /// For `[database] url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "postgres://mailswitch@{}/mailswitch?sslmode=disable",
            self.address
        )
    }

    /// Runs statements; rows come as lines with `|` between their columns.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String> {
        let output = Command::new(self.binaries.join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "mailswitch",
                "-h",
            ])
            .arg(&self.directory)
            .args([
                "-p",
                &self.address.port().to_string(),
                "-d",
                database,
                "-c",
                statements,
            ])
            .output()?;
        ensure!(
            output.status.success(),
            "{statements}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Sends a signal to each of its processes.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        for pid in self.processes()? {
            // One that has ended meanwhile is none of them.
            let _ = kill(pid, signal);
        }
        Ok(())
    }

    /// `kill -9` of all of them, and waits for the end of the first.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.process.wait_end(Duration::from_secs(10)).map(|_| ())
    }

    /// The first and its children; each leads a process group of its own.
    fn processes(&self) -> Result<Vec<Pid>> {
        let first = self.process.pid();
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"))?;
        let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        Ok([first].into_iter().chain(pids).map(Pid::from_raw).collect())
    }

    /// Starts it again behind a `kill`; to be called on its host.
    pub fn restart(&mut self) -> Result<()> {
        self.process = Self::spawn(&self.binaries, &self.directory, self.address)?;
        self.wait_answers()
    }
}

/// The newest version that is installed, as Debian lays them out.
fn newest_binaries() -> Result<PathBuf> {
    std::fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL is not installed: tests/install.sh")?
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let binaries = entry.path().join("bin");
            binaries.join("initdb").exists().then_some((version, binaries))
        })
        .max()
        .map(|(_, binaries)| binaries)
        .context("PostgreSQL is not installed: tests/install.sh")
}
