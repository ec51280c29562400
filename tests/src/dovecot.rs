//! A real Dovecot of the test's own, and what its log says: who logged in, from where, until when.

use std::{
    collections::{HashMap, VecDeque},
    io::Write,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    ca::{Ca, Issued},
    place::Place,
    process::Process,
    raw::{Raw, Role},
    template::{self, fill},
    when::Moment,
};

/// How it believes who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announce {
    /// Nobody speaks for another.
    None,
    /// IMAP ID, and XCLIENT in POP3 and ManageSieve, from the loopback network (`login_trusted_networks`).
    Id,
    /// Every connection begins with a PROXY header.
    Proxy,
}

/// Whether a password may come without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plaintext {
    Allowed,
    Refused,
}

/// Who may sign in as anybody, with the password "secret" and an authorization identity.
pub const MASTER: &str = "master@example.org";

#[derive(Debug)]
pub struct Dovecot {
    process: Process,
    pub name: String,
    pub directory: PathBuf,
    /// Plain, and STARTTLS.
    pub imap: SocketAddr,
    /// Implicit TLS.
    pub imaps: SocketAddr,
    /// Plain, and STLS.
    pub pop3: SocketAddr,
    /// Implicit TLS.
    pub pop3s: SocketAddr,
    /// ManageSieve, plain, and STARTTLS.
    pub sieve: SocketAddr,
    /// ManageSieve, implicit TLS.
    pub sieves: SocketAddr,
    /// Plain.
    pub lmtp: SocketAddr,
    pub certificate: Issued,
    pub announce: Announce,
}

/// One login that Dovecot let in, and its end.
#[derive(Debug, Clone)]
pub struct Session {
    /// "imap", "pop3" or "managesieve".
    pub protocol: String,
    pub user: String,
    pub session: String,
    /// The client, as Dovecot believes it to be.
    pub rip: IpAddr,
    /// The address that the client is said to have connected to.
    pub lip: IpAddr,
    pub method: String,
    pub began: Moment,
    /// When it was logged as disconnected; none while it goes on.
    pub ended: Option<Moment>,
    /// When it had answered its last command, where its last line says so.
    pub served: Option<Moment>,
}

impl Dovecot {
    /// Starts one named `name` in the place, on the servers' address; every user has the password "secret".
    pub fn start(
        place: &Place,
        ca: &Ca,
        name: &str,
        announce: Announce,
        plaintext: Plaintext,
        users: &[&str],
    ) -> Result<Self> {
        let directory = place.folder(name)?;
        let address = place.server();
        let certificate = ca.issue(&directory, &format!("{name}.test"), address)?;
        let ports: Vec<SocketAddr> = (0..7).map(|_| place.port(address)).collect::<Result<_>>()?;
        let [imap, imaps, pop3, pop3s, sieve, sieves, lmtp_port] = ports[..] else {
            bail!("seven ports");
        };
        let rows: Vec<String> = users.iter().map(|user| format!("{user}:secret\n")).collect();
        std::fs::write(directory.join("users"), rows.concat())?;
        let mail = place.folder(&format!("{name}/mail"))?;
        chown_nobody(&mail)?;
        let (trusted, haproxy_trusted, haproxy) = match announce {
            Announce::None => ("", "", "no"),
            Announce::Id => (place.trusted(), "", "no"),
            Announce::Proxy => ("", place.trusted(), "yes"),
        };
        let config = fill(
            &[template::DOVECOT, template::DOVECOT_MORE].concat(),
            &[
                ("NAME", name),
                ("DIR", &directory.display().to_string()),
                ("ADDRESS", &address.to_string()),
                ("IMAP_PORT", &imap.port().to_string()),
                ("IMAPS_PORT", &imaps.port().to_string()),
                ("POP3_PORT", &pop3.port().to_string()),
                ("POP3S_PORT", &pop3s.port().to_string()),
                ("SIEVE_PORT", &sieve.port().to_string()),
                ("SIEVES_PORT", &sieves.port().to_string()),
                ("LMTP_PORT", &lmtp_port.port().to_string()),
                ("TRUSTED", trusted),
                ("HAPROXY_TRUSTED", haproxy_trusted),
                ("HAPROXY", haproxy),
                (
                    "DISABLE_PLAINTEXT",
                    if plaintext == Plaintext::Refused {
                        "yes"
                    } else {
                        "no"
                    },
                ),
            ],
        )?;
        let masters = directory.join("masters");
        std::fs::write(&masters, format!("{MASTER}:secret\n"))?;
        let master = format!(
            "passdb {{\n  driver = passwd-file\n  args = scheme=PLAIN username_format=%u {}\n  master = yes\n}}\n",
            masters.display()
        );
        std::fs::write(directory.join("dovecot.conf"), config + &master)?;
        let mut command = Command::new("dovecot");
        command
            .arg("-F")
            .arg("-c")
            .arg(directory.join("dovecot.conf"))
            .env("TZ", "UTC");
        let mut process = Process::start(name, command, &directory.join("stderr.log"))?;
        let (lmtp, sasl) = (directory.join("lmtp"), directory.join("sasl"));
        process
            .wait_ready(Duration::from_secs(20), || {
                lmtp.exists() && sasl.exists() && listens(imaps)
            })
            .with_context(|| log_tail(&directory.join("dovecot.log")))?;
        greeted_once(sieves, announce, ca)
            .with_context(|| format!("{sieves}: {}", log_tail(&directory.join("dovecot.log"))))?;
        Ok(Self {
            process,
            name: name.to_owned(),
            directory,
            imap,
            imaps,
            pop3,
            pop3s,
            sieve,
            sieves,
            lmtp: lmtp_port,
            certificate,
            announce,
        })
    }

    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(self.directory.join("dovecot.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// All logins that it has let in so far, in order.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        parse_sessions(&self.log())
    }

    /// Those of one user.
    #[must_use]
    pub fn sessions_of(&self, user: &str) -> Vec<Session> {
        self.sessions()
            .into_iter()
            .filter(|session| session.user == user)
            .collect()
    }

    /// Runs doveadm with its configuration; its output.
    pub fn doveadm(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("doveadm")
            .arg("-c")
            .arg(self.directory.join("dovecot.conf"))
            .args(arguments)
            .env("TZ", "UTC")
            .output()?;
        if !output.status.success() {
            bail!(
                "doveadm {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Puts a message into a user's INBOX.
    pub fn deliver(&self, user: &str, message: &str) -> Result<()> {
        let mut command = Command::new("doveadm");
        command
            .arg("-c")
            .arg(self.directory.join("dovecot.conf"))
            .args(["save", "-u", user])
            .stdin(Stdio::piped());
        let mut child = command.spawn()?;
        child
            .stdin
            .take()
            .context("its input")?
            .write_all(message.as_bytes())?;
        ensure!(child.wait()?.success(), "doveadm save failed");
        Ok(())
    }

    /// The Message-IDs in a user's INBOX.
    pub fn message_ids(&self, user: &str) -> Result<Vec<String>> {
        let text = self.doveadm(&[
            "-f",
            "flow",
            "fetch",
            "-u",
            user,
            "hdr.message-id",
            "mailbox",
            "INBOX",
        ])?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_once("hdr.message-id="))
            .map(|(_, id)| id.trim().to_owned())
            .collect())
    }

    /// The shell command that makes the user's mailbox in `target` what it is in this one.
    #[must_use]
    pub fn copy_command(&self, user: &str, target: &Self) -> String {
        format!(
            "doveadm -c {} backup -u {user} maildir:{}/mail/{user}/Maildir",
            self.directory.join("dovecot.conf").display(),
            target.directory.display(),
        )
    }

    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    #[must_use]
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Reads the first ManageSieve greeting over implicit TLS. Pigeonhole (2.3.19) sends that of a login process line by line, and
/// at times never reads what a quick client has answered before it is done: nobody's test is to be that client.
fn greeted_once(sieves: SocketAddr, announce: Announce, ca: &Ca) -> Result<()> {
    let mut raw = Raw::connect(sieves)?;
    if announce == Announce::Proxy {
        raw.send("PROXY TCP4 127.0.0.1 127.0.0.1 4000 4190\r\n")?;
    }
    raw.tls(Role::Client(ca.pem()))?;
    while !raw.line()?.starts_with("OK ") {}
    // Hung up without a word: a LOGOUT could be what is never read.
    Ok(())
}

/// Whether somebody listens there. Connects without a byte: a listener with `haproxy` would log a missing header, so it is closed at once.
pub fn listens(address: SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
}

pub(crate) fn log_tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

pub(crate) fn chown_nobody(path: &Path) -> Result<()> {
    let nobody = nix::unistd::User::from_name("nobody")?.context("no user nobody")?;
    nix::unistd::chown(path, Some(nobody.uid), Some(nobody.gid))?;
    Ok(())
}

/// The processes that let in and that serve write by themselves: on a busy machine an end is in the log before its login.
fn parse_sessions(log: &str) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    let mut ends: HashMap<&str, VecDeque<(Moment, Option<Moment>)>> = HashMap::new();
    for line in log.lines() {
        let Some(at) = moment(line) else { continue };
        if let Some((head, rest)) = line.split_once("-login: Info: Login: user=<") {
            let protocol = head.rsplit(' ').next().unwrap_or_default();
            sessions.extend(parse_login(protocol, rest, at));
        } else if let Some(id) = ended_session(line) {
            ends.entry(id)
                .or_default()
                .push_back((at, last_command(line, at)));
        }
    }
    // A login that was dialled anew is two sessions of one name.
    for session in &mut sessions {
        let end = ends
            .get_mut(session.session.as_str())
            .and_then(VecDeque::pop_front);
        session.ended = end.map(|(ended, _)| ended);
        session.served = end.and_then(|(_, served)| served);
    }
    sessions
}

/// `… imap(alice@example.org)<pid><session>: Info: Disconnected: …`; however it ended, its last line has the sums.
fn ended_session(line: &str) -> Option<&str> {
    if !(line.contains(" in=") && line.contains(" out=")) {
        return None;
    }
    let (head, _) = line.split_once(">: Info: ")?;
    Some(head.rsplit_once('<')?.1)
}

/// `Disconnected: Connection closed (NOOP finished 0.201 secs ago) in=109 out=1565`
fn last_command(line: &str, at: Moment) -> Option<Moment> {
    let (_, rest) = line.split_once(" finished ")?;
    let (seconds, _) = rest.split_once(" secs ago")?;
    let ago = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    Some(Moment(at.0.checked_sub(u64::try_from(ago.as_micros()).ok()?)?))
}

/// `alice@example.org>, method=PLAIN, rip=127.9.9.9, …, session=<abc>`, with or without the commas.
fn parse_login(protocol: &str, rest: &str, at: Moment) -> Option<Session> {
    let (user, rest) = rest.split_once('>')?;
    let field = |name: &str| {
        let (_, value) = rest.split_once(&format!(" {name}="))?;
        Some(
            value
                .split([',', ' '])
                .next()
                .unwrap_or_default()
                .trim_matches(['<', '>'])
                .to_owned(),
        )
    };
    Some(Session {
        protocol: protocol.to_owned(),
        user: user.to_owned(),
        session: field("session")?,
        rip: field("rip")?.parse().ok()?,
        lip: field("lip")?.parse().ok()?,
        method: field("method")?,
        began: at,
        ended: None,
        served: None,
    })
}

/// The time at the beginning of a line: "2026-11-23 04:05:06.123456 ", in UTC.
pub(crate) fn moment(line: &str) -> Option<Moment> {
    let stamp = line.get(..26)?;
    let number = |range: std::ops::Range<usize>| stamp.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second, micros) = (number(11..13)?, number(14..16)?, number(17..19)?, number(20..26)?);
    // Days since 1970-01-01 of the proleptic Gregorian calendar, with the year beginning in March.
    let (y, m) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(Moment(
        (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_and_its_end_are_read_from_the_log() {
        let log = "2026-11-23 04:05:06.000007 imap-login: Info: Login: user=<a@x.test>, method=PLAIN, rip=127.1.2.3, \
                   rport=1, lip=127.4.5.6, lport=2, TLS, session=<Qw+/1>\n\
                   2026-11-23 04:05:07.000000 imap(a@x.test)<12><Qw+/1>: Info: Disconnected: Logged out in=1 out=2\n";
        let sessions = parse_sessions(log);
        assert_eq!(sessions.len(), 1);
        assert_eq!(sessions[0].protocol, "imap");
        assert_eq!(sessions[0].rip.to_string(), "127.1.2.3");
        assert_eq!(sessions[0].lip.to_string(), "127.4.5.6");
        assert_eq!(sessions[0].began, Moment(1_795_406_706_000_007));
        assert_eq!(sessions[0].ended, Some(Moment(1_795_406_707_000_000)));
    }

    #[test]
    fn an_end_that_is_logged_before_its_login_is_its_end() {
        let log = "2026-11-23 10:22:11.459331 imap(dave@example.org)<17561><01a2>: Info: Disconnected: Logged out in=97 out=1539\n\
                   2026-11-23 10:22:11.460020 imap-login: Info: Login: user=<dave@example.org>, method=PLAIN, rip=127.1.2.3, \
                   lip=127.4.5.6, TLS, session=<01a2>\n\
                   2026-11-23 10:22:12.000000 imap-login: Info: Login: user=<dave@example.org>, method=PLAIN, rip=127.1.2.3, \
                   lip=127.4.5.6, TLS, session=<01a2>\n";
        let ended: Vec<bool> = parse_sessions(log)
            .iter()
            .map(|session| session.ended.is_some())
            .collect();
        assert_eq!(ended, [true, false]);
    }
}
