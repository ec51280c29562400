//! The tables of the files, one per file here: the typed value, its defaults, and how it is read.

pub mod admin;
pub mod capabilities;
pub mod cutover;
pub mod destination;
pub mod http;
pub mod link;
pub mod listener;
pub mod mapping;
pub mod metrics;
pub mod oauth;
pub mod routing;
pub mod server;
pub mod telemetry;
pub mod tls;
