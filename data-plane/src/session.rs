//! The life of a session.

pub mod admit;
pub mod bridge;
pub mod control;
