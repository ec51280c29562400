//! Where a node that runs alone has its mappings from (configuration 3.6, behaviour section 10).
//!
//! - `mappings`: what sessions and the management API ask: route, get, put, delete, reload, invalidate, stats.
//! - `file`, `redis`, `sql`: the sources, each in its own file. They answer what is written there, and know nothing
//!   of caches, defaults or declared destinations.
//! - `cache`: what was answered, for how long it counts, and what is remembered for when the store fails.
//! - `epochs`: why no answer outlives a change that it did not see.
//! - `flights`: one lookup for all who miss the same identifier.
//! - `list`: all that a store has, for an import into a fleet.
//! - `health`: a store that fails is said once, not once per login.
//! - `probe`: a store is asked once, for `check`.
//!
//! It is a crate of its own so that the drivers are built once (`docs/decisions/0024-sources-are-a-crate.md`). It knows no sessions and no sockets
//! of clients. Tables hold keyed hashes, never logins.

mod cache;
mod destinations;
mod epochs;
pub mod file;
mod flights;
mod health;
pub mod list;
mod mappings;
mod probe;
mod redis;
mod sql;
mod store;

pub use destinations::{Served, Uncovered};
pub use file::FileError;
pub use mappings::{
    Counted, Found, Mappings, OpenError, Origin, Prepared, Removal, Seen, Setup, Stats, What, WriteError,
};
pub use probe::{Probed, TakesChanges, probe};
pub use store::StoreError;
