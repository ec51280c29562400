//! Mail programs that are run once and end: fetchmail, msmtp, sieve-connect. (mbsync and swaks: [`client`](crate::client).)

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ran {
    pub code: i32,
    /// Both its outputs.
    pub said: String,
}

impl Ran {
    pub fn succeed(self) -> Result<String> {
        ensure!(self.code == 0, "exit {}:\n{}", self.code, self.said);
        Ok(self.said)
    }
}

/// Whose mailbox, where, and how: "implicit", "starttls" or "plain".
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    pub server: SocketAddr,
    pub tls: &'a str,
    pub ca: &'a Path,
    pub user: &'a str,
    pub password: &'a str,
}

/// What fetchmail takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    All,
    /// What it has not seen before, by UIDL (POP3).
    New,
}

/// Fetches mail over "imap" or "pop3" and leaves it there. What came is appended to `directory/fetched`.
pub fn fetchmail(directory: &Path, protocol: &str, account: Account<'_>, fetch: Fetch) -> Result<Ran> {
    let Account {
        server,
        tls,
        ca,
        user,
        password,
    } = account;
    let mut line = format!(
        "poll {} protocol {protocol} port {} auth password{} user \"{user}\" password \"{password}\" keep{} \
         mda \"/bin/sh -c 'cat >>{}'\"",
        server.ip(),
        server.port(),
        if fetch == Fetch::New { " uidl" } else { "" },
        if fetch == Fetch::All { " fetchall" } else { "" },
        directory.join("fetched").display(),
    );
    match tls {
        "plain" => line.push_str(" sslproto ''"),
        "implicit" => line.push_str(" ssl"),
        _ => line.push_str(" sslproto tls1.2+"),
    }
    if tls != "plain" {
        let _ = write!(line, " sslcertck sslcertfile \"{}\"", ca.display());
    }
    let file = directory.join("fetchmailrc");
    std::fs::write(&file, line + "\n")?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut command = Command::new("fetchmail");
    command
        .args(["--nodetach", "--nosyslog", "-v", "--pidfile"])
        .arg(directory.join("pid"))
        .arg("-f")
        .arg(&file)
        .env("FETCHMAILHOME", directory);
    run(command, b"")
}

/// Sends one message to the user itself.
pub fn msmtp(account: Account<'_>, source: IpAddr, mechanism: &str, message_id: &str) -> Result<Ran> {
    let mut command = Command::new("msmtp");
    command
        .args(["-C", "/dev/null", "--host", &account.server.ip().to_string()])
        .args(["--port", &account.server.port().to_string()])
        .args([
            &format!("--auth={mechanism}"),
            "--user",
            account.user,
            "--passwordeval",
        ])
        .arg(format!("echo {}", account.password))
        .arg(format!(
            "--tls={}",
            if account.tls == "plain" { "off" } else { "on" }
        ))
        .arg(format!(
            "--tls-starttls={}",
            if account.tls == "starttls" { "on" } else { "off" }
        ))
        .arg(format!("--tls-trust-file={}", account.ca.display()))
        .args(["--source-ip", &source.to_string()])
        .args(["--from", account.user, account.user]);
    let message = format!(
        "From: {user}\nTo: {user}\nMessage-ID: {message_id}\nSubject: test\n\nA message of the tests.\n",
        user = account.user
    );
    run(command, message.as_bytes())
}

/// Hands over one message without a login, over "ESMTP" or "LMTP", with STARTTLS where `tls` is "starttls".
pub fn swaks_relay(
    server: SocketAddr,
    protocol: &str,
    tls: &str,
    source: IpAddr,
    to: &str,
    message_id: &str,
) -> Result<Ran> {
    let mut command = Command::new("swaks");
    command
        .args([
            "--server",
            &server.ip().to_string(),
            "--port",
            &server.port().to_string(),
        ])
        .args(["--protocol", protocol, "--from", "x@elsewhere.test", "--to", to])
        .args(["--local-interface", &source.to_string(), "--timeout", "30"])
        .args(["--header", &format!("Message-Id: {message_id}")]);
    if tls == "starttls" {
        command.arg("--tls");
    }
    run(command, b"")
}

/// Runs sieve-connect, which always uses STARTTLS, with a further action: `--list`, `--upload --localsieve FILE`, ….
pub fn sieve_connect(account: Account<'_>, action: &[&str]) -> Result<Ran> {
    let mut command = Command::new("sieve-connect");
    command
        .args(["--server", &account.server.ip().to_string()])
        .args(["--port", &account.server.port().to_string()])
        .args(["--user", account.user, "--passwordfd", "0", "--tlscafile"])
        .arg(account.ca)
        .args(action);
    run(command, format!("{}\n", account.password).as_bytes())
}

fn run(mut command: Command, input: &[u8]) -> Result<Ran> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!(
                "{:?} is missing: run tests/install.sh --tests",
                command.get_program()
            )
        })?;
    // It may end before it has read.
    let _ = child.stdin.take().context("its input")?.write_all(input);
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        said: String::from_utf8_lossy(&said).into_owned(),
    })
}
