//! Holds destinations, mappings and cutovers in PostgreSQL, and streams every change to the nodes.
//!
//! The path of a change: `api` (asked for) -> `change` or `cutover` (may it be, what it does) -> `store` (one
//! transaction, one revision) -> `routing` (read from the log into memory) -> `feed` (to every node) -> `nodes` (what
//! they say back). `process` puts them together, `server` listens.

pub mod api;
pub mod backup;
pub mod change;
pub mod cutover;
pub mod database;
pub mod feed;
mod meters;
pub mod nodes;
pub mod process;
pub mod routing;
pub mod server;
pub mod store;
