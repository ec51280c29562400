//! A real Cyrus IMAP of the test's own: imapd, pop3d, timsieved, lmtpd, and httpd with JMAP, CalDAV and CardDAV.
//!
//! It cannot be installed beside Dovecot, so `tests/install.sh --tests` unpacks it into the build's directory. It logs
//! to syslog only, which a test does not have: who is connected is read in its own process table instead, the files
//! under `proc/`.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    ca::{Ca, Issued},
    dovecot::{chown_nobody, listens},
    place::Place,
    process::Process,
    raw::{Raw, Role},
    template::{self, fill},
    tools,
};

/// Ends with the value; so do the services that its master has started.
#[derive(Debug)]
pub struct Cyrus {
    process: Process,
    pub name: String,
    pub directory: PathBuf,
    /// Plain, and STARTTLS.
    pub imap: SocketAddr,
    /// Implicit TLS.
    pub imaps: SocketAddr,
    /// Plain, and STLS.
    pub pop3: SocketAddr,
    /// Plain, and STARTTLS.
    pub sieve: SocketAddr,
    /// Plain; takes mail for everybody without a login.
    pub lmtp: SocketAddr,
    /// Plain. JMAP: `/.well-known/jmap`, with Basic authentication.
    pub http: SocketAddr,
    /// Implicit TLS.
    pub https: SocketAddr,
    pub certificate: Issued,
}

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// "imap", "imaps", "pop3", "sieve", "http", …
    pub service: String,
    /// The other end of the connection, as Cyrus sees it.
    pub client: IpAddr,
    pub user: String,
}

impl Cyrus {
    /// Starts one named `name` in the place, on the servers' address; every user (a whole address) has the password
    /// "secret" and an INBOX.
    pub fn start(place: &Place, ca: &Ca, name: &str, users: &[&str]) -> Result<Self> {
        let unpacked = tools::path("cyrus/usr/lib/cyrus/bin/master")?;
        let bin = unpacked.parent().context("its folder")?;
        let directory = place.folder(name)?;
        let address = place.server();
        let certificate = ca.issue(&directory, &format!("{name}.test"), address)?;
        let ports: Vec<SocketAddr> = (0..7).map(|_| place.port(address)).collect::<Result<_>>()?;
        let domain = users
            .first()
            .and_then(|user| user.split_once('@'))
            .map_or("internal", |(_, domain)| domain);
        let listeners = ports.iter().map(ToString::to_string).collect::<Vec<_>>();
        let words = [
            ("NAME", name),
            ("DIR", &directory.display().to_string()),
            ("BIN", &bin.display().to_string()),
            ("DOMAIN", domain),
            ("IMAP", &listeners[0]),
            ("IMAPS", &listeners[1]),
            ("POP3", &listeners[2]),
            ("SIEVE", &listeners[3]),
            ("LMTP", &listeners[4]),
            ("HTTP", &listeners[5]),
            ("HTTPS", &listeners[6]),
        ];
        std::fs::write(directory.join("imapd.conf"), fill(template::CYRUS_IMAPD, &words)?)?;
        std::fs::write(directory.join("cyrus.conf"), fill(template::CYRUS, &words)?)?;
        for folder in ["config", "spool", "sieve", "proc", "lock"] {
            chown_nobody(&place.folder(&format!("{name}/{folder}"))?)?;
        }
        for user in users {
            set_password(&directory.join("sasldb"), user)?;
        }
        // Its services read them as nobody.
        for file in ["sasldb", "key.pem"] {
            if directory.join(file).exists() {
                chown_nobody(&directory.join(file))?;
            }
        }
        let mut command = Command::new(&unpacked);
        command
            .arg("-D")
            .arg("-C")
            .arg(directory.join("imapd.conf"))
            .arg("-M")
            .arg(directory.join("cyrus.conf"))
            .arg("-p")
            .arg(directory.join("master.pid"))
            .env("LD_LIBRARY_PATH", libraries()?)
            .env("TZ", "UTC");
        let mut process = Process::start(name, command, &directory.join("stderr.log"))?;
        process.wait_ready(Duration::from_secs(20), || {
            ports.iter().all(|port| listens(*port))
        })?;
        let cyrus = Self {
            process,
            name: name.to_owned(),
            directory,
            imap: ports[0],
            imaps: ports[1],
            pop3: ports[2],
            sieve: ports[3],
            lmtp: ports[4],
            http: ports[5],
            https: ports[6],
            certificate,
        };
        for user in users {
            cyrus.make_mailbox(user, ca)?;
        }
        Ok(cyrus)
    }

    /// The first login makes it.
    fn make_mailbox(&self, user: &str, ca: &Ca) -> Result<()> {
        let mut raw = Raw::connect(self.imap)?;
        let dialogue =
            format!("S: * OK …\nC: a LOGIN {user} secret\nS: a OK …\nC: b LOGOUT\nS: * BYE …\nS: b OK …");
        raw.play(Role::Client(ca.pem()), &dialogue)
    }

    /// Delivers a message (CRLF, no line that begins with a dot) over LMTP.
    pub fn deliver(&self, user: &str, message: &str) -> Result<()> {
        let mut raw = Raw::connect(self.lmtp)?;
        raw.line()?;
        raw.send("LHLO mx.test\r\n")?;
        while raw.line()?.starts_with("250-") {}
        for (command, code) in [
            ("MAIL FROM:<mx@mx.test>", "250"),
            (&format!("RCPT TO:<{user}>"), "250"),
            ("DATA", "354"),
            (&format!("{message}."), "250"),
        ] {
            raw.send(format!("{command}\r\n"))?;
            let reply = raw.line()?;
            ensure!(reply.starts_with(code), "{command}: {reply}");
        }
        Ok(())
    }

    /// Who is signed in now.
    pub fn connected(&self) -> Result<Vec<Connected>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.directory.join("proc"))? {
            // A process that has just ended takes its file along.
            if let Ok(text) = std::fs::read_to_string(entry?.path()) {
                all.extend(parse_process(&text));
            }
        }
        Ok(all)
    }

    #[must_use]
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn set_password(database: &Path, user: &str) -> Result<()> {
    let (local, domain) = user.split_once('@').context("a user is a whole address")?;
    let mut child = Command::new("/usr/sbin/saslpasswd2")
        .args(["-p", "-c", "-f"])
        .arg(database)
        .args(["-u", domain, local])
        .stdin(Stdio::piped())
        .spawn()
        .context("saslpasswd2 is missing: run tests/install.sh --tests")?;
    child.stdin.take().context("its input")?.write_all(b"secret\n")?;
    ensure!(child.wait()?.success(), "saslpasswd2 failed for {user}");
    Ok(())
}

/// Where its own libraries lie: `usr/lib/x86_64-linux-gnu`, or another machine's.
fn libraries() -> Result<PathBuf> {
    let lib = tools::path("cyrus/usr/lib")?;
    for entry in std::fs::read_dir(&lib)? {
        let path = entry?.path();
        if path.join("libcyrus.so.0").exists() {
            return Ok(path);
        }
    }
    anyhow::bail!("no libcyrus.so.0 below {}", lib.display())
}

/// `imap<TAB>localhost [127.0.0.1]<TAB>alice@example.org<TAB>example.org!user.alice<TAB>Idle`
fn parse_process(text: &str) -> Option<Connected> {
    let mut fields = text.trim_end_matches('\n').split('\t');
    let service = fields.next()?.to_owned();
    let (_, address) = fields.next()?.rsplit_once('[')?;
    let client = address.trim_end_matches(']').parse().ok()?;
    let user = fields.next()?.to_owned();
    (!user.is_empty()).then_some(Connected {
        service,
        client,
        user,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_connected_is_read_from_the_process_table() {
        let read = parse_process("imap\tlocalhost [127.0.0.1]\ta@x.test\tx.test!user.a\t\n");
        let expected = Connected {
            service: "imap".to_owned(),
            client: IpAddr::from([127, 0, 0, 1]),
            user: "a@x.test".to_owned(),
        };
        assert_eq!(read, Some(expected));
        assert_eq!(parse_process("imap\t[127.1.2.3]\t\t\t\n"), None);
    }
}
