//! The path of a session through a node in this process, in front of backends that a test plays byte by byte: what
//! real servers do only now and then. Real servers are in the end-to-end tests.

mod answers;
mod backend_leg;
mod client_leg;
mod pass_through;
mod rig;
