//! The backend leg: from a destination's name to a connection that waits for a credential (behaviour §4).

pub mod announce;
pub mod breaker;
pub mod dial;
pub mod loops;
pub mod names;
