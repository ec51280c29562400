//! The rows of behaviour 8.1 to 8.3, one file for each function of the crate.

mod answers;
mod extraction;
mod fields;
mod outgoing;
mod reading;
mod repeating;
mod routes;
mod scene;
