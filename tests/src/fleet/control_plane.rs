//! One control plane on its private PostgreSQL, and `mailswitchctl` with an administrator's certificate.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;

use super::{Plan, node_name, program, telemetry};
use crate::{dovecot::listens, place::Place, process::Process};

pub struct ControlPlane {
    pub process: Option<Process>,
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub directory: PathBuf,
    pub config: PathBuf,
    pub(super) pki: PathBuf,
}

/// What a command of `mailswitchctl` said.
#[derive(Debug, Clone)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// The JSON on its standard output.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{self:?}"))
    }

    /// Fails unless the exit code is this one.
    pub fn expect(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == code,
            "exit {} instead of {code}:\n{}{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }
}

impl ControlPlane {
    pub fn start(place: &Place, plan: &Plan<'_>) -> Result<Self> {
        let directory = place.folder("cp")?;
        let pki = place.path().join("pki");
        let address = place.port(place.server())?;
        let metrics = place.port(place.server())?;
        let mut started = Self {
            process: None,
            address,
            metrics,
            config: directory.join("control-plane.toml"),
            directory,
            pki: pki.clone(),
        };
        let pki = pki.display().to_string();
        started.ctl(&["pki", "init", &pki])?.expect(0)?;
        let ip = address.ip().to_string();
        started
            .ctl(&[
                "pki",
                "issue",
                "control-plane",
                "cp1",
                "--dir",
                &pki,
                "--san",
                &ip,
            ])?
            .expect(0)?;
        started
            .ctl(&["pki", "issue", "admin", "operator", "--dir", &pki])?
            .expect(0)?;
        for number in 1..=plan.nodes {
            started
                .ctl(&["pki", "issue", "node", &node_name(number), "--dir", &pki])?
                .expect(0)?;
        }
        std::fs::write(&started.config, started.toml(plan))?;
        started.run()?;
        Ok(started)
    }

    fn toml(&self, plan: &Plan<'_>) -> String {
        let telemetry = telemetry(plan.otlp);
        let database = plan
            .database
            .map(|url| format!("[database]\nurl = \"{url}\"\n\n"))
            .unwrap_or_default();
        format!(
            "[control_plane]\nbind = \"{address}\"\nadvertise = \"https://{address}\"\nstate_dir = \"{state}\"\n\
             ca = \"{pki}/ca.pem\"\ncert = \"{pki}/control-plane-cp1.pem\"\nkey = \"{pki}/control-plane-cp1.key\"\n\n\
             [metrics]\nbind = \"{metrics}\"\n\n{database}{telemetry}",
            address = self.address,
            state = self.directory.join("state").display(),
            pki = self.pki.display(),
            metrics = self.metrics,
        )
    }

    /// Starts the process (again).
    pub fn run(&mut self) -> Result<()> {
        let mut command = Command::new(program("mailswitch-control-plane")?);
        command.arg(&self.config);
        self.process = Some(Process::start(
            "control plane",
            command,
            &self.directory.join("log"),
        )?);
        let mut process = self.process.take().context("just started")?;
        // A listener alone is no answer: on a busy machine the first ones take their time.
        let answers = || listens(self.address) && self.ctl(&["status"]).is_ok_and(|said| said.code == 0);
        let ready = process.wait_ready(Duration::from_secs(60), answers);
        self.process = Some(process);
        ready
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("it runs")?.kill_dash_nine()
    }

    pub fn ctl(&self, arguments: &[&str]) -> Result<Said> {
        let output = self.ctl_command(arguments).stdin(Stdio::null()).output()?;
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    #[must_use]
    pub fn ctl_command(&self, arguments: &[&str]) -> Command {
        let program = program("mailswitchctl").unwrap_or_else(|_| PathBuf::from("mailswitchctl"));
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("MAILSWITCH_ENDPOINT", format!("https://{}", self.address))
            .env("MAILSWITCH_CA", self.pki.join("ca.pem"))
            .env("MAILSWITCH_CERT", self.pki.join("admin-operator.pem"))
            .env("MAILSWITCH_KEY", self.pki.join("admin-operator.key"));
        command
    }

    /// The process id of its private PostgreSQL.
    pub fn postgres(&self) -> Result<Pid> {
        let file = find_file(&self.directory, "postmaster.pid").context("no PostgreSQL runs there")?;
        let text = std::fs::read_to_string(&file)?;
        Ok(Pid::from_raw(
            text.lines().next().unwrap_or_default().trim().parse()?,
        ))
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.process.take());
        if let Ok(pid) = self.postgres() {
            let _ = nix::sys::signal::kill(pid, Signal::SIGQUIT);
        }
    }
}

fn find_file(directory: &Path, name: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|file| file == name) {
            return Some(path);
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Some(found) = find_file(&path, name)
        {
            return Some(found);
        }
    }
    None
}
