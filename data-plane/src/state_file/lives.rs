//! Whether a process lives that handed the state directory over (promise N1). It keeps the file `instance.<id>` locked for as
//! long as it lives, and the system gives the lock back however it went: who gets the lock knows that it is gone, and may
//! name it as replaced. No flip waits longer for it than that, and none goes on without it sooner.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use mailswitch_proto::id::InstanceId;

const PREFIX: &str = "instance.";

fn path_of(directory: &Path, instance: InstanceId) -> PathBuf {
    directory.join(format!("{PREFIX}{instance}"))
}

/// Our own: held from now on.
pub(super) fn begin(directory: &Path, instance: InstanceId) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path_of(directory, instance))?;
    file.try_lock()?;
    Ok(file)
}

/// For all we know. A file that is missing proves nothing: somebody removed it, and the process may live.
pub(super) fn lives(directory: &Path, instance: InstanceId) -> bool {
    match OpenOptions::new().write(true).open(path_of(directory, instance)) {
        Ok(file) => file.try_lock().is_err(),
        Err(error) => {
            tracing::debug!(%instance, %error, "whether this process lives is not known: it counts");
            true
        }
    }
}

/// Removes the files of those that are replaced.
pub(super) fn sweep(directory: &Path, retiring: &[InstanceId]) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let instance = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let instance = instance.and_then(|id| InstanceId::from_str(id).ok());
        if instance.is_some_and(|instance| !retiring.contains(&instance)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
