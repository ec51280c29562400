//! The life of a session.

pub mod bridge;
pub mod control;
