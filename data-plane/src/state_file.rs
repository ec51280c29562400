//! What a node remembers across restarts (promise N5, N6, Q5): the table, a journal of changes behind it, and which
//! process of this directory the control plane last knew.
//!
//! - `format`: the bytes of header and records. Pure.
//! - `recover`: a file becomes a table again, or is set aside. Never a wrong mapping.
//! - `journal`: appends, syncs, and rewrites the file when the journal has outgrown the table.
//! - `writer`: the thread that does it, so that no session ever waits for a disk.
//! - `directory`: the lock, and the instances.

mod directory;
mod format;
mod journal;
mod recover;
#[cfg(test)]
mod tests;
mod writer;

pub use directory::{Directory, DirectoryError};
pub use format::Mark;
pub use recover::{Corruption, Recovered, Torn};
pub(crate) use writer::Sync;
pub use writer::{Durable, Prepared, Snapshot, Writer};
