//! A command in its own process group: what it starts ends with it. (What leaves the group by `setsid` does not.)

use std::io;
use std::os::fd::AsFd as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdin, Command};

use super::Environment;

/// Between asking a command to end and killing it, where its lease does not say less.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// The command, and beside it, in its group, somebody who waits for the end of our pipe: were we killed ourselves,
/// nobody else would end the command with its lease.
const WATCHED: &str = r#"exec 3<&0 </dev/null
( read -r _ <&3; kill -s KILL 0 ) >/dev/null 2>&1 &
exec /bin/sh -c "$1" 3<&-"#;

/// A command and all that it started. Dropped, it is killed.
pub(super) struct Group {
    child: Child,
    group: Option<Pid>,
    /// Closed when we end, however we end.
    _held: Option<ChildStdin>,
}

impl Group {
    /// Starts it. It reads nothing, and what it writes goes to stderr: stdout is data.
    pub(super) fn spawn(command: &str, environment: &Environment) -> io::Result<Self> {
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", WATCHED, "mailswitchctl", command])
            .envs(environment.0.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(stderr)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        // Waiting for the child would close it.
        let held = child.stdin.take();
        Ok(Self {
            child,
            group,
            _held: held,
        })
    }

    /// Until its first process has ended; what is left of the group is killed then. An error says how it failed.
    pub(super) async fn ended(&mut self) -> Result<(), String> {
        let status = self.child.wait().await;
        self.signal(Signal::SIGKILL);
        self.group = None;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(words(status)),
            Err(error) => Err(format!("it could not be waited for: {error}")),
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Asks it to end, ends it, and waits until it has ended.
    pub(super) async fn end(&mut self) {
        self.terminate();
        if tokio::time::timeout(GRACE, self.ended()).await.is_err() {
            self.kill();
            // How it ended is no news any more.
            let _ = self.ended().await;
        }
    }

    fn signal(&self, signal: Signal) {
        let Some(group) = self.group else { return };
        match killpg(group, signal) {
            // It is gone already.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => eprintln!("warning: the command cannot be sent {signal}: {error}"),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended in an unknown way".to_owned(),
    }
}
