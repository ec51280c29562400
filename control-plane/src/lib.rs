//! Holds destinations, mappings and cutovers in PostgreSQL, and streams every change to the nodes.

pub mod change;
pub mod cutover;
pub mod database;
pub mod nodes;
pub mod routing;
pub mod store;
