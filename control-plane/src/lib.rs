//! Holds destinations, mappings and cutovers in PostgreSQL, and streams every change to the nodes.

pub mod nodes;
pub mod routing;
