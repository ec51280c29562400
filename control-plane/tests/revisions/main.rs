//! One chain of revisions on one database: `chain` (writers and readers), `doubt` (a database that went back in time),
//! `server` (the private PostgreSQL under it).

// A test says with a panic what it did not expect.
#![allow(clippy::unwrap_used)]

mod chain;
mod doubt;
#[path = "../scene/mod.rs"]
mod scene;
mod server;
