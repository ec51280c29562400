//! Ends the private PostgreSQL of a test that was killed: nothing of a killed process runs, but its end of a pipe is
//! closed. The server is ended by the process id in its own directory, if that process still works there.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const WAIT_AND_END: &str = r#"
cat >/dev/null
pid=$(head -n 1 "$1/postgresql/postmaster.pid" 2>/dev/null) || exit 0
[ "$(readlink "/proc/$pid/cwd")" = "$1/postgresql" ] || exit 0
kill -QUIT "$pid"
while [ -e "/proc/$pid/cwd" ]; do sleep 0.1; done
rm -rf -- "$1"
"#;

/// Watches this process; to be dropped after the server was stopped.
#[derive(Debug)]
pub struct Watchdog(Child);

impl Watchdog {
    /// Over the server of this state directory, which is gone afterwards.
    pub fn over(state_dir: &Path) -> Self {
        let child = Command::new("sh")
            .args(["-c", WAIT_AND_END, "watchdog"])
            .arg(state_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // Whoever ends the test's group does not end it.
            .process_group(0)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// As if this process had been killed.
    pub fn bite(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Watchdog {
    /// The test has ended by itself, and its server with it.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
