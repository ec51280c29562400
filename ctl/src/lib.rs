//! The operator's client: one verb a file under `verb/`, named as it is typed.
//!
//! The way of a command: `arguments` (clap) -> `settings` (where, and as whom) -> `connection` (gRPC) -> the verb ->
//! `output` (stdout: data; stderr: talk) -> `exit` (the codes that scripts rely on). Commands that a cutover runs
//! on this machine are in `hook/`; `follow` watches an operation to its end. Nothing is decided here.

pub mod arguments;
pub mod change;
pub mod connection;
pub mod exit;
pub mod file;
pub mod follow;
pub mod hook;
pub mod import;
pub mod interrupt;
pub mod node_api;
pub mod operation;
pub mod output;
pub mod rows;
pub mod settings;
pub mod verb;
