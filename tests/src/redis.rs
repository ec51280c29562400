//! A real Redis of the test's own, which keeps what it was told across a `kill -9`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{ca::Issued, place::Place, process::Process, when::wait_until};

#[derive(Debug)]
pub struct Redis {
    pub process: Process,
    pub address: SocketAddr,
    /// For `rediss://`; a certificate for the name `redis.test`.
    pub tls: Option<SocketAddr>,
    directory: PathBuf,
    certificate: Option<(PathBuf, PathBuf)>,
}

/// What clients have to say to it.
pub const PASSWORD: &str = "open-sesame";

impl Redis {
    pub fn start(place: &Place, certificate: Option<&Issued>) -> Result<Self> {
        let directory = place.folder("redis")?;
        let address = place.port(place.server())?;
        let tls = certificate.map(|_| place.port(place.server())).transpose()?;
        let certificate = certificate.map(|issued| (issued.cert.clone(), issued.key.clone()));
        let process = spawn(&directory, address, tls, certificate.as_ref())?;
        let redis = Self {
            process,
            address,
            tls,
            directory,
            certificate,
        };
        redis.wait_answers()?;
        Ok(redis)
    }

    fn wait_answers(&self) -> Result<()> {
        wait_until("Redis answers", Duration::from_secs(20), || {
            self.ask(&["PING"]).is_ok_and(|answer| answer == "PONG")
        })
    }

    /// Runs a command, and gives its answer.
    pub fn ask(&self, command: &[&str]) -> Result<String> {
        let output = Command::new("redis-cli")
            .args([
                "-h",
                &self.address.ip().to_string(),
                "-p",
                &self.address.port().to_string(),
            ])
            .env("REDISCLI_AUTH", PASSWORD)
            .args(command)
            .output()
            .context("redis-cli: tests/install.sh --tests")?;
        let answer = String::from_utf8(output.stdout)?.trim_end().to_owned();
        ensure!(
            output.status.success(),
            "redis-cli {}: {answer}",
            command.join(" ")
        );
        Ok(answer)
    }

    /// For `mapping.redis.url`, without what stands behind the port.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@{}", self.address)
    }

    /// Starts it again behind a `kill -9`.
    pub fn restart(&mut self) -> Result<()> {
        self.process = spawn(&self.directory, self.address, self.tls, self.certificate.as_ref())?;
        self.wait_answers()
    }
}

fn spawn(
    directory: &Path,
    address: SocketAddr,
    tls: Option<SocketAddr>,
    certificate: Option<&(PathBuf, PathBuf)>,
) -> Result<Process> {
    let mut command = Command::new("redis-server");
    command
        .args([
            "--bind",
            &address.ip().to_string(),
            "--port",
            &address.port().to_string(),
        ])
        .args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
        .args(["--requirepass", PASSWORD, "--dir"])
        .arg(directory);
    if let (Some(tls), Some((cert, key))) = (tls, certificate) {
        command
            .args([
                "--tls-port",
                &tls.port().to_string(),
                "--tls-auth-clients",
                "no",
                "--tls-cert-file",
            ])
            .arg(cert)
            .arg("--tls-key-file")
            .arg(key);
    }
    Process::start("Redis", command, &directory.join("log"))
}
