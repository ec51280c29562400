//! What a process of a node leaves to the next one: its state directory, and the thread that writes there (decision 0027).
//!
//! Handed over, it has no disk and lives on. If the process that got it dies before it serves, it comes back: as long as
//! nobody took the sockets over, nothing has changed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::directory::{Directory, DirectoryError, DirectoryId, TakenBack};
use super::writer::{Keeper, Writer};

/// Between two looks whether the process that got it is gone.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A node's directory, while its process lives.
#[derive(Debug)]
pub struct Estate {
    directory: Arc<Directory>,
    keeper: Keeper,
    /// Goes up with each process that gets it: who waits to take it back from an earlier one gives up.
    turn: AtomicU64,
}

impl Estate {
    pub(crate) fn new(directory: Arc<Directory>, writer: &Writer) -> Arc<Self> {
        Arc::new(Self {
            directory,
            keeper: writer.keeper(),
            turn: AtomicU64::new(0),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Whether it is this directory.
    #[must_use]
    pub fn is(&self, id: DirectoryId) -> bool {
        DirectoryId::of(self.directory.path()) == Some(id)
    }

    /// Another process may lock it when this returns. Blocks for the disk. Done twice, it is done once.
    ///
    /// # Errors
    /// What is to be kept cannot be written: it stays ours.
    pub fn hand_over(&self) -> Result<(), DirectoryError> {
        self.turn.fetch_add(1, Ordering::SeqCst);
        self.keeper.hand_over(&self.directory)
    }

    /// Nobody takes it back any more: the other process serves.
    pub fn is_gone_for_good(&self) {
        self.turn.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until the process that got it is gone, and has it again. Blocks. Ends without it once another one has got it.
    pub fn take_back_when_free(&self) {
        let turn = self.turn.load(Ordering::SeqCst);
        let mut said = false;
        while self.turn.load(Ordering::SeqCst) == turn {
            match self.keeper.take_back(&self.directory) {
                Ok(TakenBack::Yes) => {
                    tracing::warn!(
                        "the process that was to take over is gone, and never served: the state directory is ours again"
                    );
                    return;
                }
                Ok(TakenBack::NotYet) => {}
                Err(DirectoryError::HandedOver(_)) => return,
                Err(error) if !said => {
                    tracing::error!(%error, "the state directory cannot be taken back: trying again");
                    said = true;
                }
                Err(_) => {}
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
