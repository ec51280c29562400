//! What operators can do: over real mTLS, on a real PostgreSQL, with nodes that answer. `changes` (configuration,
//! mappings, backups), `cutovers`, `nodes`.

// A test says with a panic what it did not expect.
#![allow(clippy::unwrap_used)]

mod changes;
mod cutovers;
mod imports;
mod nodes;
#[path = "../stage/mod.rs"]
mod stage;
