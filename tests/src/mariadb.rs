//! A real MariaDB of the test's own, with the database `mail` and the user `router`, whose password is `pw`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{ca::Issued, place::Place, process::Process, when::wait_until};

#[derive(Debug)]
pub struct MariaDb {
    pub process: Process,
    pub address: SocketAddr,
    directory: PathBuf,
    certificate: Option<(PathBuf, PathBuf)>,
}

impl MariaDb {
    pub fn start(place: &Place, certificate: Option<&Issued>) -> Result<Self> {
        let directory = place.folder("mariadb")?;
        let made = Command::new("mariadb-install-db")
            .args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--user=root",
            ])
            .arg(format!("--datadir={}", directory.join("data").display()))
            .arg(format!("--tmpdir={}", directory.display()))
            .output()
            .context("mariadb-install-db: tests/install.sh --tests")?;
        ensure!(
            made.status.success(),
            "mariadb-install-db: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let address = place.port(place.server())?;
        let certificate = certificate.map(|issued| (issued.cert.clone(), issued.key.clone()));
        let process = spawn(&directory, address, certificate.as_ref())?;
        let mariadb = Self {
            process,
            address,
            directory,
            certificate,
        };
        mariadb.wait_answers()?;
        mariadb.sql("CREATE DATABASE mail; GRANT ALL ON mail.* TO router@'%' IDENTIFIED BY 'pw'")?;
        Ok(mariadb)
    }

    fn wait_answers(&self) -> Result<()> {
        wait_until("MariaDB answers", Duration::from_secs(60), || {
            self.sql("SELECT 1").is_ok()
        })
    }

    /// Runs statements as root.
    pub fn sql(&self, statements: &str) -> Result<String> {
        let output = Command::new("mariadb")
            .args(["--no-defaults", "-u", "root", "-N", "-B", "-e", statements])
            .arg(format!("--socket={}", self.directory.join("socket").display()))
            .output()?;
        ensure!(
            output.status.success(),
            "{statements}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// For `mapping.sql.url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mysql://router:pw@{}/mail", self.address)
    }

    /// Starts it again behind a `kill -9`.
    pub fn restart(&mut self) -> Result<()> {
        self.process = spawn(&self.directory, self.address, self.certificate.as_ref())?;
        self.wait_answers()
    }
}

fn spawn(directory: &Path, address: SocketAddr, certificate: Option<&(PathBuf, PathBuf)>) -> Result<Process> {
    let mut command = Command::new("mariadbd");
    command
        .args(["--no-defaults", "--user=root", "--skip-name-resolve"])
        .arg(format!("--datadir={}", directory.join("data").display()))
        .arg(format!("--socket={}", directory.join("socket").display()))
        .arg(format!("--tmpdir={}", directory.display()))
        .arg(format!("--pid-file={}", directory.join("pid").display()))
        .arg(format!("--bind-address={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    if let Some((cert, key)) = certificate {
        command
            .arg(format!("--ssl-cert={}", cert.display()))
            .arg(format!("--ssl-key={}", key.display()));
    }
    Process::start("MariaDB", command, &directory.join("log"))
}
