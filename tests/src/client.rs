//! Real clients: Python's imaplib, poplib and smtplib, mbsync, swaks. What they say is what a user would have seen; where
//! they ended up is read in the backends' logs.

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One login; what is not set is not done. See `tests/clients/once.py`.
#[derive(Debug, Clone)]
pub struct Login(Map<String, Value>);

/// How it went, in the client's own eyes.
#[derive(Debug, Clone, Deserialize)]
pub struct Outcome {
    pub ok: bool,
    #[serde(default)]
    pub error: String,
    /// From the connect to the accepted login; 0 when there was none.
    #[serde(default)]
    pub login_seconds: f64,
    #[serde(default)]
    pub messages: usize,
}

impl Login {
    #[must_use]
    pub fn imap(server: SocketAddr, user: &str) -> Self {
        Self::new("imap", server, user)
    }

    #[must_use]
    pub fn pop3(server: SocketAddr, user: &str) -> Self {
        Self::new("pop3", server, user)
    }

    /// Puts a script, reads it back and makes it the active one.
    #[must_use]
    pub fn sieve(server: SocketAddr, user: &str) -> Self {
        Self::new("sieve", server, user)
    }

    #[must_use]
    pub fn submission(server: SocketAddr, user: &str) -> Self {
        Self::new("submission", server, user)
    }

    fn new(protocol: &str, server: SocketAddr, user: &str) -> Self {
        let fields = json!({
            "protocol": protocol, "host": server.ip(), "port": server.port(), "user": user, "password": "secret",
        });
        Self(fields.as_object().cloned().unwrap_or_default())
    }

    /// Sets a field of `once.py`.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    /// "plain", "starttls" or "implicit"; the server's certificate is checked against `ca`.
    #[must_use]
    pub fn tls(self, tls: &str, ca: &Path) -> Self {
        self.with("tls", tls).with("ca", ca.display().to_string())
    }

    /// The client's own address.
    #[must_use]
    pub fn from(self, source: IpAddr) -> Self {
        self.with("source", source.to_string())
    }

    /// Sends a message with this Message-ID to the user itself.
    #[must_use]
    pub fn sending(self, message_id: &str) -> Self {
        self.with("send", message_id)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("python3");
        command
            .arg(script("once.py"))
            .arg(Value::Object(self.0.clone()).to_string());
        command
    }

    /// Runs it to its end.
    pub fn run(&self) -> Result<Outcome> {
        let output = self.command().stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text
            .lines()
            .last()
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok(serde_json::from_str(last)?)
    }

    /// Runs it to its end and expects that it got what it wanted.
    pub fn succeed(&self) -> Result<Outcome> {
        let outcome = self.run()?;
        if !outcome.ok {
            bail!("{}", outcome.error);
        }
        Ok(outcome)
    }

    /// Starts it and returns at once; the login goes on by itself.
    pub fn start(&self) -> Result<Running> {
        let mut child = self
            .clone()
            .with("stay", true)
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Running { child, stdin, stdout })
    }

    /// Logs in and stays.
    pub fn stay(&self) -> Result<Running> {
        let mut running = self.start()?;
        running.wait_in()?;
        Ok(running)
    }
}

/// A client that is signing in, or is in and stays.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Returns when it is logged in; fails when the login fails.
    pub fn wait_in(&mut self) -> Result<()> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        if line.trim() != "in" {
            bail!("did not get in: {line}");
        }
        Ok(())
    }

    /// Tells it to log out (after which it sends its message, if it has one) and waits for that.
    pub fn leave(mut self) -> Result<Outcome> {
        drop(self.stdin.take());
        self.end()
    }

    /// Waits until the server has ended it.
    pub fn end(&mut self) -> Result<Outcome> {
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line)? == 0 {
                bail!("the client said nothing");
            }
            if line.starts_with('{') {
                self.child.wait()?;
                return Ok(serde_json::from_str(&line)?);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of a client script.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// Fetches a whole mailbox with mbsync into `directory`; the number of messages there. With TLS the server's
/// certificate must be one of [`Ca::issue_for_mbsync`](crate::ca::Ca::issue_for_mbsync).
pub fn mbsync(directory: &Path, server: SocketAddr, tls: &str, ca: &Path, user: &str) -> Result<usize> {
    std::fs::create_dir_all(directory.join("box"))?;
    let tls_type = match tls {
        "implicit" => "IMAPS",
        "starttls" => "STARTTLS",
        _ => "None",
    };
    let config = format!(
        "IMAPAccount a\nHost {}\nPort {}\nUser {user}\nPass secret\nSSLType {tls_type}\nCertificateFile {}\n\
         SystemCertificates no\nAuthMechs *\n\n\
         IMAPStore far\nAccount a\n\nMaildirStore near\nPath {d}/box/\nInbox {d}/box/INBOX\n\n\
         Channel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n",
        server.ip(),
        server.port(),
        ca.display(),
        d = directory.display(),
    );
    let file = directory.join("mbsyncrc");
    std::fs::write(&file, config)?;
    let output = Command::new("mbsync").arg("-c").arg(&file).arg("c").output()?;
    if !output.status.success() {
        bail!("mbsync: {}", String::from_utf8_lossy(&output.stderr));
    }
    let count =
        |folder: &str| std::fs::read_dir(directory.join("box/INBOX").join(folder)).map(Iterator::count);
    Ok(count("new")? + count("cur")?)
}

/// Sends one message with swaks over STARTTLS and the given mechanism; its whole transcript.
pub fn swaks(
    server: SocketAddr,
    source: IpAddr,
    user: &str,
    mechanism: &str,
    message_id: &str,
) -> Result<String> {
    let output = Command::new("swaks")
        .args([
            "--server",
            &server.ip().to_string(),
            "--port",
            &server.port().to_string(),
        ])
        .args([
            "--tls",
            "--auth",
            mechanism,
            "--auth-user",
            user,
            "--auth-password",
            "secret",
        ])
        .args([
            "--from",
            user,
            "--to",
            user,
            "--local-interface",
            &source.to_string(),
        ])
        .args([
            "--header",
            // As in its own template, which it replaces then.
            &format!("Message-Id: {message_id}"),
            "--timeout",
            "30",
        ])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("swaks: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}
