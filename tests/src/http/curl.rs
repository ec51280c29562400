//! curl, as a user would run it.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// One call; several paths are asked for one behind the other, over one connection where it stays open.
#[derive(Debug, Clone)]
pub struct Curl {
    base: String,
    arguments: Vec<String>,
}

/// One answer.
#[derive(Debug, Clone, Default)]
pub struct Got {
    pub status: u16,
    /// "1.1" or "2".
    pub version: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// How many connections this request had to open.
    pub connects: u32,
}

impl Got {
    /// All values of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("{self:?}"))
    }

    /// What `/whoami` of a webmail says: the server.
    pub fn server(&self) -> Result<String> {
        let said = self.json()?;
        said["server"]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("{self:?}"))
    }
}

/// Behind the body of each answer.
const MARK: &str = "\n@@@ ";

impl Curl {
    #[must_use]
    pub fn tls(server: SocketAddr, ca: &Path) -> Self {
        Self {
            base: format!("https://{server}"),
            arguments: vec!["--cacert".to_owned(), ca.display().to_string()],
        }
    }

    #[must_use]
    pub fn plain(server: SocketAddr) -> Self {
        Self {
            base: format!("http://{server}"),
            arguments: Vec::new(),
        }
    }

    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    #[must_use]
    pub fn http1(self) -> Self {
        self.with(&["--http1.1"])
    }

    /// Basic, with the password of everybody.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.with(&["--basic", "--user", &format!("{user}:secret")])
    }

    /// The client's own address.
    #[must_use]
    pub fn from(self, source: IpAddr) -> Self {
        self.with(&["--interface", &source.to_string()])
    }

    /// The command itself, for a test that runs it beside other things.
    #[must_use]
    pub fn command(&self, paths: &[&str]) -> Command {
        let mut command = Command::new("curl");
        for (number, path) in paths.iter().enumerate() {
            if number > 0 {
                command.arg("--next");
            }
            command
                .args(["-sS", "-i", "--max-time", "60"])
                .args(["-w", &format!("{MARK}%{{http_version}} %{{num_connects}}\n")])
                .args(&self.arguments)
                .arg(format!("{}{path}", self.base));
        }
        command.stdin(Stdio::null());
        command
    }

    /// Asks for one path.
    pub fn get(&self, path: &str) -> Result<Got> {
        self.all(&[path])?.pop().context("an answer")
    }

    /// Asks for each of them.
    pub fn all(&self, paths: &[&str]) -> Result<Vec<Got>> {
        let output = self.command(paths).output().context("curl is missing")?;
        if !output.status.success() {
            bail!("curl {paths:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        read(&String::from_utf8_lossy(&output.stdout))
    }
}

/// What curl has written with `-i`.
pub fn read(text: &str) -> Result<Vec<Got>> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some((answer, behind)) = rest.split_once(MARK) {
        let (numbers, next) = behind.split_once('\n').context("its line")?;
        rest = next;
        let (version, connects) = numbers.split_once(' ').context("two words")?;
        let mut answer = answer;
        // Interim answers come before the one that counts.
        let got = loop {
            let (head, body) = answer.split_once("\r\n\r\n").with_context(|| answer.to_owned())?;
            let mut lines = head.split("\r\n");
            let status: u16 = lines
                .next()
                .and_then(|line| line.split(' ').nth(1))
                .context("a status line")?
                .parse()?;
            if (100..200).contains(&status) && status != 101 {
                answer = body;
                continue;
            }
            break Got {
                status,
                version: version.to_owned(),
                headers: lines
                    .filter_map(|line| line.split_once(':'))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                    .collect(),
                body: body.to_owned(),
                connects: connects.parse()?,
            };
        };
        all.push(got);
    }
    Ok(all)
}
