//! The real binary against a control plane whose answers the test writes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod cutover;
mod import;
mod nodes;
mod support;
