//! The parts of a node. `main.rs` shows the life of the process, `session::run` the life of a session.

pub mod backend;
pub mod listen;
pub mod report;
pub mod route;
pub mod session;
pub mod sessions;
pub mod source;
pub mod table;
pub mod tls;
