//! The management API of a node in this process, over real TLS sockets, in front of IMAP backends that a test plays: a test
//! for each endpoint, code, field and refusal of the reference.

mod connections;
mod destinations;
mod fleet;
mod gate;
mod mappings;
mod reload;
mod rig;
mod stores;
mod transport;
