//! The thread that writes the state file. What arrives together is written together and synced once (promise Q5);
//! what need not be on disk before it is acknowledged is synced a moment later.
//!
//! A disk that fails does not stop the node: it goes on serving from memory, acknowledges nothing that it could not
//! keep, says so, and tries to write the whole file anew.
//!
//! A process that has handed its directory over has no disk: from then on what it knows may be acknowledged from memory,
//! because nobody ever starts again as this instance (decision 0027).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::id::FleetId;
use mailswitch_proto::revision::{Digest, Position, Revision};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::directory::{Directory, DirectoryError, TakenBack};
use super::format::Mark;
use super::journal::Journal;
use super::recover::Recovered;
use crate::table::{Serving, Table};

/// How long a change that nobody waits for may stay in the system's memory only.
const WRITE_BEHIND: Duration = Duration::from_secs(1);
/// Between attempts to write the file anew after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// The table at one position, to be written whole.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Of which fleet.
    pub fleet: Option<FleetId>,
    /// Its head.
    pub begin: wire::SnapshotBegin,
    /// Its changes.
    pub changes: Vec<wire::Change>,
}

impl Snapshot {
    /// None of a table that missed a part of a change: written whole, it would serve as if nothing were missing (N7).
    #[must_use]
    pub fn of(table: &Table) -> Option<Self> {
        if table.serving() == Serving::NotSynced && table.position() != Position::NONE {
            return None;
        }
        Some(Self {
            fleet: table.fleet(),
            begin: table.snapshot_begin(),
            changes: table.snapshot_changes(),
        })
    }

    fn position(&self) -> Position {
        Position {
            revision: Revision(self.begin.revision),
            digest: Digest::try_from(self.begin.digest.as_slice()).unwrap_or(Digest::NONE),
        }
    }
}

/// Up to where what is applied may be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// Everything up to here is written, and what has to be on disk is on disk. None: nothing yet.
    pub position: Option<Position>,
    /// Why it does not go on.
    pub failure: Option<String>,
    /// The mark that is on the disk.
    pub mark: Mark,
}

/// Whether a change has to be on disk before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// A hold or an arming is in it.
    First,
    /// Written behind.
    Behind,
}

enum Command {
    Append {
        at: Position,
        payload: Bytes,
        sync: Sync,
    },
    Rewrite,
    Mark(Mark),
    HandOver(Arc<Directory>, oneshot::Sender<Result<(), DirectoryError>>),
    TakeBack(Arc<Directory>, oneshot::Sender<Result<TakenBack, DirectoryError>>),
}

/// Where the thread writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Ours,
    /// Another process has it.
    HandedOver,
}

/// The way to the thread, for whoever hands the directory over. It outlives the writer, and then reaches nobody.
#[derive(Debug, Clone)]
pub(super) struct Keeper(Arc<Mutex<Option<Sender<Command>>>>);

impl Keeper {
    /// Everything is on the disk, with the mark and without this instance; from then on nothing is written.
    pub(super) fn hand_over(&self, directory: &Arc<Directory>) -> Result<(), DirectoryError> {
        self.ask(|reply| Command::HandOver(Arc::clone(directory), reply))
            .unwrap_or_else(|| Err(DirectoryError::HandedOver(directory.path().to_owned())))
    }

    /// Everything is on the disk again.
    pub(super) fn take_back(&self, directory: &Arc<Directory>) -> Result<TakenBack, DirectoryError> {
        self.ask(|reply| Command::TakeBack(Arc::clone(directory), reply))
            .unwrap_or_else(|| Err(DirectoryError::HandedOver(directory.path().to_owned())))
    }

    /// None: the thread is gone.
    fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.lock().as_ref()?.send(command(reply)).ok()?;
        answer.blocking_recv().ok()
    }
}

/// Hands changes to the thread.
#[derive(Debug)]
pub struct Writer {
    commands: Keeper,
    durable: watch::Receiver<Durable>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Reads what the directory holds. The writing starts with `Prepared::start`, once there is a table.
    ///
    /// # Errors
    /// When the directory cannot be used; a file that cannot be trusted is no error.
    pub fn recover(directory: &Directory) -> Result<(Recovered, Prepared), DirectoryError> {
        let (recovered, journal) = directory.recover()?;
        let position = match &recovered {
            Recovered::Table(table, _) => Some(table.position()),
            Recovered::Nothing | Recovered::Corrupt(_) => None,
        };
        let prepared = Prepared {
            directory: directory.path().to_owned(),
            journal,
            position,
        };
        Ok((recovered, prepared))
    }

    /// Writes one revision behind the others.
    pub(crate) fn append(&self, at: Position, payload: Bytes, sync: Sync) {
        self.send(Command::Append { at, payload, sync });
    }

    /// The table was replaced: write all of it.
    pub(crate) fn rewrite(&self) {
        self.send(Command::Rewrite);
    }

    /// Sets the mark, or takes it back: `durable` says when it is on the disk.
    pub(crate) fn mark(&self, mark: Mark) {
        self.send(Command::Mark(mark));
    }

    /// What may be acknowledged, and its changes.
    pub(crate) fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.clone()
    }

    pub(super) fn keeper(&self) -> Keeper {
        self.commands.clone()
    }

    fn send(&self, command: Command) {
        if let Some(commands) = &*self.commands.0.lock() {
            // A thread that is gone says so by never acknowledging.
            let _ = commands.send(command);
        }
    }
}

impl Drop for Writer {
    /// What was handed over is on disk when the writer is gone.
    fn drop(&mut self) {
        *self.commands.0.lock() = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A recovered file, before anything is written.
#[derive(Debug)]
pub struct Prepared {
    directory: PathBuf,
    journal: Option<Journal>,
    position: Option<Position>,
}

impl Prepared {
    /// The mark that the file bears.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.journal.as_ref().map_or(Mark::None, Journal::mark)
    }

    /// Starts the thread. `snapshot` gives the table as it is when it is asked, if it may be kept.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self, snapshot: impl Fn() -> Option<Snapshot> + Send + 'static) -> std::io::Result<Writer> {
        let (commands, received) = mpsc::channel();
        let (published, durable) = watch::channel(Durable {
            position: self.position,
            failure: None,
            mark: self.mark(),
        });
        let worker = Worker {
            mark: self.mark(),
            directory: self.directory,
            journal: self.journal,
            written: self.position,
            snapshot: Box::new(snapshot),
            published,
            synced_at: Instant::now(),
            disk: Disk::Ours,
        };
        let thread = std::thread::Builder::new()
            .name("state-file".to_owned())
            .spawn(move || worker.run(&received))?;
        Ok(Writer {
            commands: Keeper(Arc::new(Mutex::new(Some(commands)))),
            durable,
            thread: Some(thread),
        })
    }
}

struct Worker {
    directory: PathBuf,
    journal: Option<Journal>,
    written: Option<Position>,
    /// Wanted; on the disk once there is a file that was written without a failure.
    mark: Mark,
    snapshot: Box<dyn Fn() -> Option<Snapshot> + Send>,
    published: watch::Sender<Durable>,
    synced_at: Instant,
    disk: Disk,
}

impl Worker {
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let first = match commands.recv_timeout(self.patience()) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let together: Vec<Command> = first.into_iter().chain(commands.try_iter()).collect();
            self.write(together);
        }
        if let Some(journal) = self.journal.as_mut().filter(|journal| journal.is_dirty())
            && let Err(error) = journal.sync()
        {
            tracing::error!(%error, "the state file could not be synced at the end");
        }
    }

    fn patience(&self) -> Duration {
        match &self.journal {
            Some(journal) if journal.is_dirty() => WRITE_BEHIND.saturating_sub(self.synced_at.elapsed()),
            Some(_) => Duration::from_secs(3600),
            None if self.disk != Disk::Ours => Duration::from_secs(3600),
            None if self.published.borrow().failure.is_some() => RETRY,
            None => Duration::from_secs(3600),
        }
    }

    fn write(&mut self, together: Vec<Command>) {
        let retry = together.is_empty() && self.published.borrow().failure.is_some();
        let outcome = if retry {
            self.rewrite()
        } else {
            self.append_all(together)
        };
        let failure = match outcome {
            Ok(()) => None,
            Err(error) => {
                // What the file holds behind its last sync is not known: only a new file is.
                self.journal = None;
                self.written = self.published.borrow().position;
                tracing::error!(%error, directory = %self.directory.display(), "the state file cannot be written: holds are not acknowledged until it can");
                Some(error.to_string())
            }
        };
        let position = if failure.is_none() {
            self.written
        } else {
            self.published.borrow().position
        };
        self.published.send_if_modified(|durable| {
            let mark = if failure.is_none() {
                self.mark
            } else {
                durable.mark
            };
            let new = Durable {
                position,
                failure,
                mark,
            };
            let changed = *durable != new;
            *durable = new;
            changed
        });
    }

    fn append_all(&mut self, together: Vec<Command>) -> std::io::Result<()> {
        let mut sync = Sync::Behind;
        for command in together {
            match command {
                Command::HandOver(directory, reply) => {
                    let _ = reply.send(self.hand_over(&directory));
                }
                Command::TakeBack(directory, reply) => {
                    let _ = reply.send(self.take_back(&directory));
                }
                command if self.disk != Disk::Ours => self.remember(command),
                Command::Rewrite => self.rewrite()?,
                Command::Mark(mark) => {
                    self.mark = mark;
                    match &mut self.journal {
                        Some(journal) => journal.set_mark(mark)?,
                        None => self.rewrite()?,
                    }
                }
                // A file that was written anew holds it already.
                Command::Append { at, .. }
                    if self
                        .written
                        .is_some_and(|written| at.revision <= written.revision) => {}
                Command::Append {
                    at,
                    payload,
                    sync: wanted,
                } => {
                    if wanted == Sync::First {
                        sync = Sync::First;
                    }
                    match &mut self.journal {
                        Some(journal) => {
                            journal.append(at.revision, &payload)?;
                            self.written = Some(at);
                        }
                        // No file yet, or one that failed.
                        None => self.rewrite()?,
                    }
                }
            }
        }
        if self.journal.as_ref().is_some_and(Journal::wants_rewriting) {
            self.rewrite()?;
        }
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        if journal.is_dirty() && (sync == Sync::First || self.synced_at.elapsed() >= WRITE_BEHIND) {
            journal.sync()?;
            self.synced_at = Instant::now();
        }
        Ok(())
    }

    /// The mark first: whoever starts in this directory from now on serves nobody before it has been registered and has synced,
    /// so that what is acknowledged from memory binds it, too. Then this instance leaves the directory.
    fn hand_over(&mut self, directory: &Directory) -> Result<(), DirectoryError> {
        if self.disk != Disk::Ours {
            return Ok(());
        }
        let wanted = self.mark;
        self.mark = Mark::Left;
        let marked = match &mut self.journal {
            Some(journal) => journal.set_mark(Mark::Left),
            None => self.rewrite(),
        };
        let handed_over = marked
            .map_err(|source| DirectoryError::Io {
                path: self.directory.clone(),
                what: "the state file cannot be written",
                source,
            })
            .and_then(|()| directory.hand_over());
        match handed_over {
            Ok(()) => {
                self.journal = None;
                self.disk = Disk::HandedOver;
                self.mark = wanted;
            }
            Err(_) => {
                self.mark = wanted;
                if let Some(journal) = &mut self.journal
                    && journal.set_mark(wanted).is_err()
                {
                    // It bears the mark: a restart would sync first. The next file is right.
                    self.journal = None;
                }
            }
        }
        handed_over
    }

    fn take_back(&mut self, directory: &Directory) -> Result<TakenBack, DirectoryError> {
        if self.disk == Disk::Ours {
            return Ok(TakenBack::Yes);
        }
        let taken = directory.take_back(|| self.rewrite());
        match taken {
            Ok(TakenBack::Yes) => self.disk = Disk::Ours,
            Ok(TakenBack::NotYet) | Err(_) => self.journal = None,
        }
        taken
    }

    /// Without a disk.
    fn remember(&mut self, command: Command) {
        match command {
            Command::Append { at, .. } => self.written = Some(at),
            Command::Rewrite => {
                let snapshot = (self.snapshot)();
                self.written = snapshot.map(|snapshot| snapshot.position()).or(self.written);
            }
            Command::Mark(mark) => self.mark = mark,
            Command::HandOver(..) | Command::TakeBack(..) => {}
        }
    }

    fn rewrite(&mut self) -> std::io::Result<()> {
        let Some(snapshot) = (self.snapshot)() else {
            return Err(std::io::Error::other(
                "the table missed a part of a change and is not kept",
            ));
        };
        // Nothing is known yet: there is nothing to keep.
        if snapshot.position() == Position::NONE {
            self.written = Some(Position::NONE);
            return Ok(());
        }
        let journal = Journal::rewrite(&self.directory, &snapshot, self.mark)?;
        self.journal = Some(journal);
        self.written = Some(snapshot.position());
        self.synced_at = Instant::now();
        Ok(())
    }
}
