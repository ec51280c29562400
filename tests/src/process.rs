//! A server process of the test's own: started in its own process group, logged to a file, ended by its pid.

use std::{
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use crate::when::wait_until;

const SOON: Duration = Duration::from_secs(10);

/// Dropped: asked to end, and killed if it has not within some seconds. Its children go with it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; what it writes goes to the file `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            ended: None,
        })
    }

    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// What it has written.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Ok while it runs; else how it ended and what it wrote last.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                self.ended = Some(status);
                let output = self.output();
                let tail: Vec<&str> = output.lines().rev().take(30).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                bail!("{} ended ({status}):\n{}", self.name, tail.join("\n"))
            }
        }
    }

    /// Waits until `ready` holds; fails at once when the process ends.
    pub fn wait_ready(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !ready() {
            self.still_runs()?;
            if begun.elapsed() > limit {
                bail!("{} was not ready within {limit:?}:\n{}", self.name, self.output());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Sends a signal to this one process. Stopped by it, it stands when this returns, with all its threads: on a busy
    /// machine one of them may go on for a moment, and answer.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid()), signal).with_context(|| format!("{signal} to {}", self.name))?;
        match signal {
            Signal::SIGSTOP => wait_until("all its threads stand", SOON, || self.stands()),
            _ => Ok(()),
        }
    }

    fn stands(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        let is_stopped = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
            // The state stands behind the name; a thread that has gone meanwhile does nothing.
            stat.map_or(true, |stat| {
                stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
            })
        };
        threads.is_ok_and(|mut threads| threads.all(is_stopped))
    }

    /// `kill -9`, of this process only, and waits for its end.
    pub fn kill_dash_nine(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.ended = Some(self.child.wait()?);
        Ok(())
    }

    /// Sends a signal to it and to all that it has started.
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        killpg(Pid::from_raw(self.pid()), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_end(limit)
    }

    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = Some(status);
                return Ok(status);
            }
            if begun.elapsed() > limit {
                bail!("{} did not end within {limit:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.ended.is_some_and(|status| status.signal() == Some(9))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.pid());
        if self.ended.is_none() {
            let _ = killpg(group, Signal::SIGCONT);
            let _ = self.signal(Signal::SIGTERM);
            if self.wait_end(Duration::from_secs(5)).is_err() {
                let _ = self.signal(Signal::SIGKILL);
                let _ = self.child.wait();
            }
        }
        // Children that outlived it, of the group that it led.
        let _ = killpg(group, Signal::SIGKILL);
    }
}
