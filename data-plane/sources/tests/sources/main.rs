//! Sources against what they really are: files on a disk, servers of the distribution. Each test has its own.

#![expect(clippy::unwrap_used, reason = "tests")]

mod file;
mod list;
mod races;
mod rig;
mod servers;
mod stores;
mod tls;
