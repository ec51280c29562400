//! What a node remembers across restarts (promise N5, N6, Q5): the table, a journal of changes behind it, and which
//! process of this directory the control plane last knew.
//!
//! - `format`: the bytes of header and records. Pure.
//! - `recover`: a file becomes a table again, or is set aside. Never a wrong mapping.
//! - `journal`: appends, syncs, and rewrites the file when the journal has outgrown the table.
//! - `writer`: the thread that does it, so that no session ever waits for a disk.
//! - `directory`: the lock, and who has it; `instances` is what it says of the processes, `lives` who of them still lives.
//! - `estate`: all of it goes from one process of a node to the next one, and comes back if that one fails.

mod directory;
mod estate;
mod format;
mod instances;
mod journal;
mod lives;
mod recover;
#[cfg(test)]
mod tests;
mod writer;

pub use directory::{Directory, DirectoryError, DirectoryId};
pub use estate::Estate;
pub use format::Mark;
pub use recover::{Corruption, Recovered, Torn};
pub(crate) use writer::Sync;
pub use writer::{Durable, Prepared, Snapshot, Writer};
