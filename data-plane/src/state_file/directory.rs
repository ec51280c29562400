//! The state directory: one process at a time, and which ones the control plane may know (promise N1).
//!
//! An instance that was never welcomed has acknowledged nothing; its id is taken up again by the next start. So the
//! control plane never keeps an instance registered of which this directory knows nothing.
//!
//! A process that hands its directory over lives on, as an instance that nobody replaces while it lives: `lives.rs`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mailswitch_proto::id::InstanceId;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::instances::Instances;
use super::journal::{FILE, Journal, replace_file, sync_directory};
use super::lives;
use super::recover::{self, Recovered};

const LOCK: &str = "lock";
const INSTANCES: &str = "instance";
const MACHINE: &str = "machine";
const CORRUPT: &str = "state.corrupt";
const MACHINE_ID: &str = "/etc/machine-id";

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it.
    #[error("{}: another mailswitch-data-plane runs with this state directory; each node needs its own", .0.display())]
    InUse(PathBuf),
    /// This process had it, and handed it over.
    #[error("{}: handed over to another process of this node", .0.display())]
    HandedOver(PathBuf),
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

/// Which directory it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryId {
    /// The file system.
    pub device: u64,
    /// The directory on it.
    pub inode: u64,
}

impl DirectoryId {
    /// None: there is no such directory.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// Whether another process has the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakenBack {
    /// It is ours again.
    Yes,
    /// The process that got it lives.
    NotYet,
}

/// A state directory that this process has, or had.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    process: InstanceId,
    machine: [u8; 16],
    ours: Mutex<Ours>,
}

#[derive(Debug)]
struct Ours {
    instance: InstanceId,
    welcomed: bool,
    /// Processes of this directory that are gone, and may be registered. The last one was here before us.
    gone: Vec<InstanceId>,
    /// Processes that handed it over, and live for all we know.
    retiring: Vec<InstanceId>,
    hold: Hold,
}

/// Held as long as the process lives; the system gives it back when the process is gone, however it went.
#[derive(Debug)]
enum Hold {
    /// The directory's lock.
    Directory { _lock: File },
    /// It is handed over: only the lock that says that we live.
    Life { _lock: File },
}

impl Directory {
    /// Locks the directory, making it where it is missing, and settles who we are.
    ///
    /// # Errors
    /// When another process has it, or it cannot be used.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        std::fs::create_dir_all(path).map_err(io_error(path, "cannot be made"))?;
        let lock = lock(path)?.ok_or_else(|| DirectoryError::InUse(path.to_owned()))?;
        let instances = read(path)?;
        let mut ours = Ours {
            instance: instances.announced.unwrap_or_else(InstanceId::random),
            welcomed: false,
            gone: instances.gone(),
            retiring: instances.retiring,
            hold: Hold::Directory { _lock: lock },
        };
        ours.look(path);
        ours.write(path)?;
        lives::sweep(path, &ours.retiring);
        Ok(Self {
            process: InstanceId::random(),
            machine: machine(path)?,
            path: path.to_owned(),
            ours: Mutex::new(ours),
        })
    }

    /// This process.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.ours.lock().instance
    }

    /// On no disk: a copy of this directory cannot have it.
    #[must_use]
    pub fn process(&self) -> InstanceId {
        self.process
    }

    /// The processes of this directory that are gone, and that nobody has replaced yet: the one that was welcomed last before
    /// this one (we have the lock), and such as handed the directory over and have died since.
    #[must_use]
    pub fn replaces(&self) -> Vec<InstanceId> {
        self.ours.lock().gone.clone()
    }

    /// Whether a process lives that handed this directory over, or one has not been replaced yet.
    #[must_use]
    pub fn follows_somebody(&self) -> bool {
        let ours = self.ours.lock();
        !(ours.retiring.is_empty() && ours.gone.is_empty())
    }

    /// Looks whether those that handed the directory over still live.
    pub fn look_for_gone(&self) {
        let mut ours = self.ours.lock();
        if let Hold::Directory { .. } = ours.hold {
            ours.look(&self.path);
        }
    }

    /// Stands for the machine.
    #[must_use]
    pub fn machine(&self) -> [u8; 16] {
        self.machine
    }

    /// The control plane has registered this instance, and removed these: the next start replaces it. On disk before anything
    /// is acknowledged to it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn welcomed(&self, replaced: &[InstanceId]) -> Result<(), DirectoryError> {
        let mut ours = self.ours.lock();
        ours.welcomed = true;
        ours.gone.retain(|gone| !replaced.contains(gone));
        if let Hold::Life { .. } = ours.hold {
            return Ok(());
        }
        ours.write(&self.path)?;
        lives::sweep(&self.path, &ours.retiring);
        Ok(())
    }

    /// This process goes on under another instance, as a restart would: what it said of itself before does not concern the
    /// new one (promise N2), or its instance is also that of a copy of this directory (N1).
    ///
    /// # Errors
    /// When it cannot be written; or the directory is another process's, whose instance counts from now on.
    pub fn renew(&self) -> Result<(), DirectoryError> {
        let mut ours = self.ours.lock();
        if let Hold::Life { .. } = ours.hold {
            return Err(DirectoryError::HandedOver(self.path.clone()));
        }
        let before = (ours.instance, ours.welcomed);
        ours.instance = InstanceId::random();
        ours.welcomed = false;
        ours.gone.push(before.0);
        let written = ours.write(&self.path);
        if written.is_err() {
            ours.gone.pop();
            (ours.instance, ours.welcomed) = before;
        }
        written
    }

    /// The directory is another process's from now on. This one lives on as one that nobody replaces while it lives: it takes
    /// a lock on a file of its own first, then says on the disk who it is, and unlocks last.
    ///
    /// # Errors
    /// When it cannot be written: the directory stays ours.
    pub(super) fn hand_over(&self) -> Result<(), DirectoryError> {
        let mut ours = self.ours.lock();
        if let Hold::Life { .. } = ours.hold {
            return Ok(());
        }
        let life = lives::begin(&self.path, ours.instance)
            .map_err(io_error(&self.path, "the lock of this process cannot be had"))?;
        let mut instances = ours.instances();
        instances.handed_over_by(ours.instance);
        write(&self.path, &instances)?;
        ours.hold = Hold::Life { _lock: life };
        Ok(())
    }

    /// The process that got the directory is dead, and never served: it is ours again, and who had it is to be replaced.
    /// `keep` puts on the disk what we know, before this process counts as one that can be started again.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(super) fn take_back(
        &self,
        keep: impl FnOnce() -> io::Result<()>,
    ) -> Result<TakenBack, DirectoryError> {
        let mut ours = self.ours.lock();
        let Hold::Life { .. } = ours.hold else {
            return Ok(TakenBack::Yes);
        };
        let Some(lock) = lock(&self.path)? else {
            return Ok(TakenBack::NotYet);
        };
        let instances = read(&self.path)?;
        keep().map_err(io_error(&self.path, "the state file cannot be written"))?;
        let before = (ours.gone.clone(), ours.retiring.clone());
        let had_it = instances.gone().into_iter().chain(instances.announced);
        let missing: Vec<InstanceId> = had_it.filter(|one| !ours.gone.contains(one)).collect();
        ours.gone.extend(missing);
        let instance = ours.instance;
        ours.retiring = instances.retiring;
        ours.retiring.retain(|one| *one != instance);
        if let Err(error) = ours.write(&self.path) {
            (ours.gone, ours.retiring) = before;
            return Err(error);
        }
        ours.hold = Hold::Directory { _lock: lock };
        lives::sweep(&self.path, &ours.retiring);
        Ok(TakenBack::Yes)
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

impl Ours {
    fn look(&mut self, path: &Path) {
        let (alive, gone): (Vec<_>, Vec<_>) = self
            .retiring
            .drain(..)
            .partition(|instance| lives::lives(path, *instance));
        self.retiring = alive;
        self.gone.extend(gone);
    }

    fn instances(&self) -> Instances {
        Instances::of((self.instance, self.welcomed), &self.gone, self.retiring.clone())
    }

    fn write(&self, path: &Path) -> Result<(), DirectoryError> {
        write(path, &self.instances())
    }
}

fn read(path: &Path) -> Result<Instances, DirectoryError> {
    let path = path.join(INSTANCES);
    Instances::read(&path).map_err(io_error(&path, "cannot be read"))
}

fn write(path: &Path, instances: &Instances) -> Result<(), DirectoryError> {
    let path = path.join(INSTANCES);
    replace_file(&path, instances.text().as_bytes()).map_err(io_error(&path, "cannot be written"))
}

/// None: another process has it.
fn lock(directory: &Path) -> Result<Option<File>, DirectoryError> {
    let path = directory.join(LOCK);
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error(&path, "cannot be opened"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(io_error(&path, "cannot be locked")(source)),
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
