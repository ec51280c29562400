//! The parts of a node. `main.rs` shows the life of the process, `session::run` the life of a session.

pub mod backend;
pub mod listen;
pub mod session;
pub mod tls;
