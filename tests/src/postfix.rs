//! A real Postfix of the test's own: submission with Dovecot's passwords, delivery to the same Dovecot.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use crate::{
    ca::{Ca, Issued},
    dovecot::{self, Announce, Dovecot, Plaintext, listens, log_tail},
    place::Place,
    process::Process,
    template::{self, fill},
    when::Moment,
};
use anyhow::{Context, Result};

#[derive(Debug)]
pub struct Postfix {
    pub name: String,
    pub directory: PathBuf,
    /// Plain, and STARTTLS.
    pub submission: SocketAddr,
    /// Implicit TLS.
    pub submissions: SocketAddr,
    /// Its port 25: plain, and STARTTLS, without a login.
    pub smtp: SocketAddr,
    pub certificate: Issued,
    process: Process,
}

/// One message that it took from a signed-in client.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub queue_id: String,
    pub client: IpAddr,
    pub user: String,
    /// The beginning of the second in which it did: its log has no more.
    pub at: Moment,
}

impl Postfix {
    /// Starts one that signs in with, and delivers to, `dovecot`; it is announced to in the same way.
    pub fn start(
        place: &Place,
        ca: &Ca,
        dovecot: &Dovecot,
        plaintext: Plaintext,
        domain: &str,
    ) -> Result<Self> {
        let name = format!("{}-smtp", dovecot.name);
        let directory = place.folder(&name)?;
        let address = place.server();
        let certificate = ca.issue(&directory, &format!("{}.test", dovecot.name), address)?;
        let (submission, submissions) = (place.port(address)?, place.port(address)?);
        let smtp = place.port(address)?;
        let (trusted, upstream) = match dovecot.announce {
            Announce::None => ("", ""),
            Announce::Id => (place.trusted(), ""),
            Announce::Proxy => ("", "haproxy"),
        };
        let words = [
            ("NAME", name.as_str()),
            ("DIR", &directory.display().to_string()),
            ("DOVECOT_DIR", &dovecot.directory.display().to_string()),
            ("ADDRESS", &address.to_string()),
            ("HOST", &format!("{}.test", dovecot.name)),
            ("DOMAIN", domain),
            ("SUBMISSION_PORT", &submission.port().to_string()),
            ("SUBMISSIONS_PORT", &submissions.port().to_string()),
            ("SMTP_PORT", &smtp.port().to_string()),
            ("TRUSTED", trusted),
            ("UPSTREAM_PROXY", upstream),
            (
                "DISABLE_PLAINTEXT",
                if plaintext == Plaintext::Refused {
                    "yes"
                } else {
                    "no"
                },
            ),
        ];
        std::fs::write(directory.join("main.cf"), fill(template::POSTFIX_MAIN, &words)?)?;
        std::fs::write(
            directory.join("master.cf"),
            fill(
                &[template::POSTFIX_MASTER, template::POSTFIX_MORE_MASTER].concat(),
                &words,
            )?,
        )?;
        for queue in ["queue", "data"] {
            place.folder(&format!("{name}/{queue}"))?;
        }
        let postfix = nix::unistd::User::from_name("postfix")?.context("no user postfix")?;
        nix::unistd::chown(&directory.join("data"), Some(postfix.uid), Some(postfix.gid))?;

        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(&directory).arg("start-fg").env("TZ", "UTC");
        let mut process = Process::start(&name, command, &directory.join("stderr.log"))?;
        process
            .wait_ready(Duration::from_secs(30), || listens(submissions))
            .with_context(|| log_tail(&directory.join("postfix.log")))?;
        Ok(Self {
            name,
            directory,
            submission,
            submissions,
            smtp,
            certificate,
            process,
        })
    }

    #[must_use]
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(self.directory.join("postfix.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The messages that it took so far, in order.
    #[must_use]
    pub fn accepted(&self) -> Vec<Accepted> {
        self.log().lines().filter_map(parse_accepted).collect()
    }

    /// Who sent the messages that it took without a login, in order.
    #[must_use]
    pub fn relayed_from(&self) -> Vec<IpAddr> {
        self.log()
            .lines()
            .filter(|line| !line.contains("sasl_username="))
            .filter_map(parse_client)
            .map(|(_, client)| client)
            .collect()
    }

    /// How many messages wait in its queue.
    pub fn queued(&self) -> Result<usize> {
        let mut count = 0;
        for queue in ["maildrop", "incoming", "active", "deferred"] {
            count += files_below(&self.directory.join("queue").join(queue))?;
        }
        Ok(count)
    }

    /// A shell command that returns when all that was accepted is delivered.
    #[must_use]
    pub fn settle_command(&self) -> String {
        let queue = self.directory.join("queue");
        format!(
            "while [ -n \"$(cd {} && find maildrop incoming active deferred -type f)\" ]; do sleep 0.05; done",
            queue.display()
        )
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // The daemon is a grandchild in a session of its own: what we started only waits for it.
        let pid_file = self.directory.join("queue/pid/master.pid");
        if let Some(pid) = std::fs::read_to_string(pid_file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
        {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
            let _ = self.process.wait_end(Duration::from_secs(5));
        }
    }
}

fn files_below(directory: &std::path::Path) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() {
            files_below(&entry.path())?
        } else {
            1
        };
    }
    Ok(count)
}

/// `… legacy-smtp/smtpd[123]: 4ABC: client=unknown[127.1.2.3], sasl_method=PLAIN, sasl_username=alice@x.test`
fn parse_accepted(line: &str) -> Option<Accepted> {
    let (queue_id, client) = parse_client(line)?;
    let (_, user) = line.split_once("sasl_username=")?;
    Some(Accepted {
        queue_id: queue_id.to_owned(),
        client,
        user: user.split([',', ' ']).next()?.to_owned(),
        at: second(line)?,
    })
}

/// The time at the beginning of a line, `Nov 23 10:22:11 `, which names no year: the last one that it can be of.
fn second(line: &str) -> Option<Moment> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = MONTHS.find(line.get(..3)?)? / 3 + 1;
    let (day, time) = (line.get(4..6)?.trim(), line.get(7..15)?);
    let this_year = 1970 + Moment::now().0 / 1_000_000 / 31_556_952;
    (this_year - 1..=this_year + 1)
        .filter_map(|year| dovecot::moment(&format!("{year}-{month:02}-{day:0>2} {time}.000000")))
        .filter(|at| *at <= Moment::now())
        .max()
}

/// The queue id and the client of a line that has both.
fn parse_client(line: &str) -> Option<(&str, IpAddr)> {
    let (head, rest) = line.split_once(": client=")?;
    let (_, queue_id) = head.rsplit_once(' ')?;
    let (_, after) = rest.split_once('[')?;
    let (client, _) = after.split_once(']')?;
    Some((queue_id, client.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_was_taken_is_read_from_the_log() {
        let line = "Nov  3 10:22:11 host legacy-smtp/smtpd[12]: 4ABC: client=unknown[127.1.2.3], sasl_method=PLAIN, sasl_username=a@x.test";
        let taken = parse_accepted(line).expect("it is one");
        assert_eq!(
            (taken.queue_id.as_str(), taken.user.as_str()),
            ("4ABC", "a@x.test")
        );
        assert!(
            taken.at <= Moment::now() && taken.at.plus(Duration::from_secs(367 * 86_400)) > Moment::now()
        );
    }
}
