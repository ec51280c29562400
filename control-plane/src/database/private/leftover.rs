//! A server that an earlier crash of ours left running: stopped, so that it runs again as our child.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Stops the server of this data directory, if one runs. We hold the state directory's lock: nobody else uses it.
pub(super) async fn stop(data: &Path) {
    let Some(pid) = running(data) else { return };
    tracing::info!(%pid, "stopping the private PostgreSQL that an earlier run left behind");
    // Fast, immediate, and what even a stopped process obeys.
    for (signal, patience) in [(Signal::SIGINT, 10), (Signal::SIGQUIT, 3), (Signal::SIGKILL, 3)] {
        let _ = kill(pid, signal);
        let give_up = tokio::time::Instant::now() + Duration::from_secs(patience);
        while tokio::time::Instant::now() < give_up {
            if running(data) != Some(pid) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The process of `postmaster.pid`, if it is alive and works in this very directory: the number may have been given to
/// another process since.
fn running(data: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    let works_in = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    (pid > 1 && works_in == data).then(|| Pid::from_raw(pid))
}
