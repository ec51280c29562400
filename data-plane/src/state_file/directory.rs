//! The state directory: one process at a time, and which one the control plane last knew (promise N1).
//!
//! An instance that was never welcomed has acknowledged nothing; its id is taken up again by the next start. So the
//! control plane never keeps an instance registered of which this directory knows nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use mailswitch_proto::id::InstanceId;
use sha2::{Digest as _, Sha256};

use super::journal::{FILE, Journal, replace_file, sync_directory};
use super::recover::{self, Recovered};

const LOCK: &str = "lock";
const INSTANCE: &str = "instance";
const MACHINE: &str = "machine";
const CORRUPT: &str = "state.corrupt";
const MACHINE_ID: &str = "/etc/machine-id";

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it.
    #[error("{}: another mailswitch-data-plane runs with this state directory; each node needs its own", .0.display())]
    InUse(PathBuf),
    /// It cannot be read or written.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// A locked state directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    instance: InstanceId,
    replaces: Option<InstanceId>,
    process: InstanceId,
    machine: [u8; 16],
    /// Held as long as the process lives; the system gives it back when the process is gone, however it went.
    _lock: File,
}

impl Directory {
    /// Locks the directory, making it where it is missing, and settles who we are.
    ///
    /// # Errors
    /// When another process has it, or it cannot be used.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        std::fs::create_dir_all(path).map_err(io_error(path, "cannot be made"))?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(io_error(&lock_path, "cannot be opened"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DirectoryError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io_error(&lock_path, "cannot be locked")(source)),
        }
        let instances_path = path.join(INSTANCE);
        let mut instances =
            Instances::read(&instances_path).map_err(io_error(&instances_path, "cannot be read"))?;
        let instance = *instances.announced.get_or_insert_with(InstanceId::random);
        replace_file(&instances_path, instances.text().as_bytes())
            .map_err(io_error(&instances_path, "cannot be written"))?;
        Ok(Self {
            instance,
            replaces: instances.welcomed,
            process: InstanceId::random(),
            machine: machine(path)?,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// This process.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// On no disk: a copy of this directory cannot have it.
    #[must_use]
    pub fn process(&self) -> InstanceId {
        self.process
    }

    /// The process of this directory that was welcomed last before this one. It is gone: we have the lock.
    #[must_use]
    pub fn replaces(&self) -> Option<InstanceId> {
        self.replaces
    }

    /// Stands for the machine.
    #[must_use]
    pub fn machine(&self) -> [u8; 16] {
        self.machine
    }

    /// The control plane has registered this instance: the next start replaces it. On disk before anything is
    /// acknowledged to it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn welcomed(&self) -> Result<(), DirectoryError> {
        let path = self.path.join(INSTANCE);
        let instances = Instances {
            welcomed: Some(self.instance),
            announced: None,
        };
        replace_file(&path, instances.text().as_bytes()).map_err(io_error(&path, "cannot be written"))
    }

    /// This process goes on under another instance, as a restart would: what it said of itself before does not concern the
    /// new one (promise N2), or its instance is also that of a copy of this directory (N1).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn renew(&mut self) -> Result<(), DirectoryError> {
        let path = self.path.join(INSTANCE);
        let instances = Instances {
            welcomed: Some(self.instance),
            announced: Some(InstanceId::random()),
        };
        replace_file(&path, instances.text().as_bytes()).map_err(io_error(&path, "cannot be written"))?;
        self.replaces = instances.welcomed;
        self.instance = instances.announced.unwrap_or(self.instance);
        Ok(())
    }

    /// Reads the state file. One that cannot be trusted is set aside, for whoever wants to know what happened.
    pub(super) fn recover(&self) -> Result<(Recovered, Option<Journal>), DirectoryError> {
        let path = self.path.join(FILE);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Recovered::Nothing, None)),
            Err(source) => return Err(io_error(&path, "cannot be opened")(source)),
        };
        match recover::read(&file) {
            Ok((table, tail, torn)) => {
                let journal = Journal::resume(file, tail).map_err(io_error(&path, "cannot be written"))?;
                Ok((Recovered::Table(Box::new(table), torn), Some(journal)))
            }
            Err(corruption) => {
                std::fs::rename(&path, self.path.join(CORRUPT))
                    .map_err(io_error(&path, "cannot be set aside"))?;
                sync_directory(&self.path).map_err(io_error(&self.path, "cannot be synced"))?;
                Ok((Recovered::Corrupt(corruption), None))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The instances of this directory: the last one that was welcomed, and one that is not yet.
#[derive(Debug, Default)]
struct Instances {
    welcomed: Option<InstanceId>,
    announced: Option<InstanceId>,
}

impl Instances {
    fn read(path: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let field = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .find(|(key, _)| *key == name)
                .and_then(|(_, id)| InstanceId::from_str(id.trim()).ok())
        };
        Ok(Self {
            welcomed: field("welcomed"),
            announced: field("announced"),
        })
    }

    fn text(&self) -> String {
        let line =
            |name: &str, id: Option<InstanceId>| id.map_or_else(String::new, |id| format!("{name} {id}\n"));
        line("welcomed", self.welcomed) + &line("announced", self.announced)
    }
}

/// The machine's own id, hashed: it is not ours to give away. Without one, a random one that is kept here.
fn machine(directory: &Path) -> Result<[u8; 16], DirectoryError> {
    let hashed = |id: &str| {
        let sum = Sha256::digest(format!("mailswitch {}", id.trim()));
        let mut machine = [0; 16];
        machine.copy_from_slice(&sum[..16]);
        machine
    };
    if let Ok(id) = std::fs::read_to_string(MACHINE_ID)
        && !id.trim().is_empty()
    {
        return Ok(hashed(&id));
    }
    let path = directory.join(MACHINE);
    if let Ok(id) = std::fs::read_to_string(&path) {
        return Ok(hashed(&id));
    }
    let id = InstanceId::random().to_string();
    replace_file(&path, id.as_bytes()).map_err(io_error(&path, "cannot be written"))?;
    Ok(hashed(&id))
}

fn io_error(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::Io { path, what, source }
}
